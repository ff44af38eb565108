"""Policies that come with the package: by name wherever a run is accepted, whole, small, and without an address."""

import dataclasses
import fnmatch
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from handsight.distill.commands import cli
from handsight.distill.runs import checkpoint, zoo
from handsight.distill.runs import policy_io as policy_loading
from handsight.distill.runs.run import Run
from handsight.distill.runs.zoo import ZooError
from handsight.distill.training import train_teacher
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.train_student import train_student
from handsight.students import StudentConfig

from ..training.test_train_teacher import small

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import to_zoo

ROOT = Path(__file__).resolve().parents[3]
MACHINE_PATH = re.compile(r"(?<![\w.])[/~]\w+/|[A-Z]:\\")


@pytest.fixture
def own_zoo(monkeypatch, tmp_path, toy_sims):
    """A zoo of its own, with `zoo:toy` in it; returns the run that it was made from."""
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "zoo")
    monkeypatch.chdir(tmp_path)
    run = train_teacher.train_teacher(small(), run_root=tmp_path / "somewhere")
    to_zoo.add(run.path, "toy", "a test", episodes=16, num_envs=8)
    return run


def test_an_entry_acts_as_the_best_of_its_run(own_zoo):
    ours, theirs = (policy_loading.load_policy(path).policy for path in ("zoo:toy", own_zoo.path))
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name


def test_an_entry_is_a_run_with_its_configuration_metrics_and_evaluation(own_zoo):
    run = policy_loading.load_policy("zoo:toy").run
    assert run is not None and run.name == "teacher-state"
    assert run.config(train_teacher.TeacherConfig) == small()
    assert run.meta["about"] == "a test"
    assert {"git", "versions", "hardware", "seed"} <= set(run.meta)
    assert run.metrics()[-1]["step"] == own_zoo.metrics()[-1]["step"]
    found = json.loads((run.path / "evaluation.json").read_text())
    assert found["summary"]["episodes"] == found["settings"]["episodes"] == 16


def test_nothing_in_an_entry_names_a_place_on_a_machine(own_zoo, tmp_path):
    config = small("depth", warm_start=own_zoo.checkpoints / "best.ckpt", iterations=2)
    config = dataclasses.replace(config, warm=dataclasses.replace(config.warm, iterations=1, gradient_steps=1))
    warm = train_teacher.train_teacher(config, run_root=tmp_path)
    folder = to_zoo.add(warm.path, "warm", "a test", episodes=8, num_envs=8)
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
        if path.suffix == ".json":
            assert not MACHINE_PATH.search(path.read_text()), path
    assert checkpoint.load(folder / zoo.BEST)["warm_started_from"] == "zoo:toy"
    assert Run.open(folder).config(train_teacher.TeacherConfig).warm_start == Path("zoo:toy")


def test_a_warm_start_and_a_student_take_a_name_and_keep_it(own_zoo, tmp_path):
    config = small("depth", warm_start=Path("zoo:toy"), iterations=2)
    config = dataclasses.replace(config, warm=dataclasses.replace(config.warm, iterations=1, gradient_steps=1))
    warm = train_teacher.train_teacher(config, run_root=tmp_path)
    assert checkpoint.load(warm.checkpoints / "best.ckpt")["warm_started_from"] == "zoo:toy"
    student = StudentRunConfig(
        teacher=Path("zoo:toy"), student=StudentConfig(image_features=16, memory_size=8, hidden=8), num_envs=4,
        iterations=1,
    )  # fmt: skip
    run = train_student(student, run_root=tmp_path)
    assert run.config(StudentRunConfig).teacher == Path("zoo:toy")
    to_zoo.add(run.path, "pupil", "a test", episodes=8, num_envs=8)
    kept, trained = (checkpoint.load(policy_loading.find_checkpoint(path)) for path in ("zoo:pupil", run.path))
    assert kept["teacher"] == trained["teacher"] and kept["teacher"]["path"] == "zoo:toy"
    assert "learner" in trained and "learner" not in kept
    ours, theirs = (policy_loading.load_policy(path).policy.state_dict() for path in ("zoo:pupil", run.path))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def test_what_is_found_out_does_not_go_into_the_package(own_zoo, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in zoo.FOLDER.rglob("*")}
    assert cli.main(["evaluate", "zoo:toy", "--episodes", "8", "--num-envs", "8", "--reset-kind", "None"]) == 0
    assert (tmp_path / "runs" / "zoo" / "toy" / "evaluation" / "evaluation.json").is_file()
    assert before == {path: path.stat().st_mtime_ns for path in zoo.FOLDER.rglob("*")}


@pytest.mark.parametrize("words", ["evaluate", "video", "train-student --teacher", "train-teacher depth --warm-start"])
def test_an_unknown_name_lists_what_there_is(own_zoo, capsys, words):
    assert cli.main([*words.split(), "zoo:tou"]) == 2
    assert "zoo:tou is not in the zoo (did you mean zoo:toy?); available: zoo:toy" in capsys.readouterr().err


def test_an_empty_zoo_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    with pytest.raises(ZooError, match="zoo:a is not in the zoo; available: nothing"):
        zoo.resolve("zoo:a")


def test_too_large_an_entry_leaves_the_zoo_as_it_was(own_zoo, monkeypatch):
    monkeypatch.setattr(to_zoo, "MOST_BYTES", 1000)
    with pytest.raises(ZooError, match="expected at most"):
        to_zoo.add(own_zoo.path, "large", "a test", episodes=8, num_envs=8)
    assert zoo.names() == ["toy"]
    assert not list(zoo.FOLDER.glob(".*"))


def test_metrics_are_thinned_but_for_validations(tmp_path):
    rows = [{"step": 10.0 * i, "kl": i / 7} for i in range(250)]
    rows[41] = {"step": 410.0, "validation/success_at_end": 0.5}
    to_zoo.write_thinned(rows, tmp_path / "metrics.csv", most=100)
    kept = [row["step"] for row in Run(tmp_path).metrics()]
    assert kept == [10.0 * i for i in range(0, 250) if i == 41 or (i > 41 and i % 3 == 0) or (i < 41 and i % 3 == 2)]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("/home/me/runs/teacher-state/", "teacher-state"),
        (["--runs", "../x/runs"], ["--runs", "runs"]),
        ({"a": (Path("/x/y.ckpt"), 1)}, {"a": (Path("y.ckpt"), 1)}),
        ("cuda:0*2", "cuda:0*2"),
    ],
)
def test_of_a_path_only_its_last_part_is_left(value, found):
    assert to_zoo.portable(value) == found


def test_the_wheel_takes_the_whole_zoo_along():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["handsight"]
    files = [path.relative_to(ROOT) for path in (ROOT / "teachers" / "zoo").rglob("*") if path.is_file()]
    for file in files:
        assert any(
            fnmatch.fnmatch(str(file), pattern) and len(file.parts) == len(Path(pattern).parts) for pattern in patterns
        ), file


@pytest.mark.parametrize("name", zoo.names())
def test_every_entry_is_whole_and_tells_what_it_is(name):
    loaded = policy_loading.load_policy(f"zoo:{name}")
    assert loaded.run is not None and loaded.run.meta["about"]
    assert f"`zoo:{name}`" in (zoo.FOLDER / "README.md").read_text()
    size = sum(path.stat().st_size for path in (zoo.FOLDER / name).rglob("*"))
    assert size <= to_zoo.MOST_BYTES
    for path in (zoo.FOLDER / name).rglob("*.json"):
        assert not MACHINE_PATH.search(path.read_text()), path
