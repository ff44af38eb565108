"""Which runs there are, and the word `latest` for one of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.commands import cli
from handsight.distill.runs.listing import RunsArgs, facts, list_runs
from handsight.distill.runs.run import META, Run, RunError
from handsight.distill.runs.zoo import latest, resolve
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.files import owned, read_json, write_json


def begin(root, name, config, started):
    run = Run.create(name, config, root)
    write_json(run.path / META, run.meta | {"started": started})
    return run


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A student, then a state teacher, then a depth teacher inside a demo's folder, all in runs/."""
    monkeypatch.chdir(tmp_path)
    root, student = Path("runs"), StudentRunConfig(teacher=Path("zoo:state"), iterations=2)
    runs = [
        begin(root, "student-stereo-from-state", student, "2026-01-01T10:00:00"),
        begin(root, "teacher-state", replace(TeacherConfig.state(), iterations=4), "2026-01-02T10:00:00"),
        begin(root / "demo/d/depth-teacher", "teacher-depth", TeacherConfig.depth(), "2026-01-03T10:00:00"),
    ]
    return [run.path for run in runs]


@pytest.mark.parametrize(
    ("word", "which"),
    [
        ("latest", 2), ("latest:teacher", 2), ("latest:student", 0), ("latest:state", 1), ("latest:depth", 2),
        ("latest:stereo", 0), ("latest:teacher-state", 1), ("runs/latest:state", 1), ("runs/demo/latest", 2),
    ],
)  # fmt: skip
def test_latest_is_the_run_that_began_last_of_its_kind(word, which, three):
    assert resolve(word) == three[which]


def test_a_kind_of_which_there_is_no_run_is_answered_by_those_that_there_are(three):
    with pytest.raises(RunError, match=r"latest:demo: .* kind demo below runs; available: .*teacher-depth, teacher-st"):
        latest(Path("latest:demo"))


def test_what_is_called_latest_is_itself(three):
    Path("latest").mkdir()
    assert latest(Path("latest")) == Path("latest")


def test_options_say_which_run_latest_was_and_not_that_it_was_latest(three):
    words = ["--teacher", "runs/latest:state", "--driver", "latest:student", "--preset", "cpu"]
    config, *_ = cli.read_training(StudentRunConfig, words, "handsight train-student", None)
    assert (config.teacher, config.driver) == (three[1], three[0])
    teacher, *_ = cli.read_training(TeacherConfig, ["--warm-start", "latest:state"], "handsight", "depth")
    assert teacher.warm_start == three[1]
    for command, field in (("evaluate", "policy"), ("video", "policy"), ("export", "policy")):
        args = cli.read(cli._found(f"commands.arguments.{cli.COMMANDS[command].config}"), ["latest"], command)
        assert getattr(args, field) == three[2]


def test_runs_are_told_with_how_far_and_how_good_they_are(three, capsys):
    run = Run(three[1])
    run.log({"iteration": 3, "success_at_end": 0.5, "validation/success_at_end": 0.75}, 300)
    run.log({"iteration": 4, "validation/success_at_end": 0.25}, 400)
    run.close()
    found = facts(three[1])
    wanted = {"iteration": 4, "iterations": 4, "success": 0.75, "measured": "validation", "state": "finished"}
    assert found | wanted == found and found["bytes"] > 500
    write_json(three[1] / "evaluation/evaluation.json", {"summary": {"success_at_end": {"value": 0.9}}})
    assert (facts(three[1])["success"], facts(three[1])["measured"]) == (0.9, "held-out")
    with owned(three[0]):
        assert facts(three[0])["state"] == "running"
    assert facts(three[0])["state"] == "stopped"
    assert list_runs(RunsArgs(Path("runs"))) == [facts(path) for path in three]
    assert "4/4" in capsys.readouterr().out
    list_runs(RunsArgs(Path("runs"), json=True))
    assert json.loads(capsys.readouterr().out) == [facts(path) for path in three]


def test_a_damaged_run_is_told_of_and_hides_no_other(three):
    (three[1] / "config.json").write_text("[]")
    assert [one["state"] for one in list_runs(RunsArgs(Path("runs")))] == ["stopped", "damaged", "stopped"]
    assert read_json(three[0] / META)["name"] == "student-stereo-from-state"


def test_runs_answers_without_loading_torch(three, capsys):
    assert cli.main(["runs"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["runs", "nowhere"]) == 2
