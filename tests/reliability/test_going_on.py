"""`--resume`: goes on as the run began or says what differs, further than was planned, and with what is left of it."""

import json
import logging
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.runs import checkpoint
from handsight.distill.runs.run import Run, RunError
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.distill.training.train_student import collect, train_student
from handsight.distill.training.train_teacher import train_teacher
from handsight.distill.training.warm_start import WarmStartConfig
from handsight.teachers import ActorCriticConfig, RolloutStoppedError

from . import toy_training

pytestmark = pytest.mark.usefixtures("toy")

TEACHER = replace(toy_training.TEACHER, iterations=4, checkpoint_every=2, validate_every=2)


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory) -> dict[str, Path]:
    """A teacher and a student of it, both finished."""
    root = tmp_path_factory.mktemp("trained")
    teacher = train_teacher(TEACHER, run_root=root).path
    config = replace(toy_training.student(teacher), iterations=3)
    return {"teacher": teacher, "student": train_student(config, run_root=root).path}


@pytest.fixture(params=["teacher", "student"])
def run(request, trained, tmp_path) -> Path:
    """A copy of one of them, which may be changed."""
    return copied(trained[request.param], tmp_path)


def copied(run: Path, root: Path) -> Path:
    return shutil.copytree(run, root / "runs" / run.parent.name / run.name)


def resumed(run: Path, **changes) -> Run:
    train = train_student if run.parent.name.startswith("student") else train_teacher
    return train(resume=run, **changes)


def edit(run: Path, name: str, value) -> None:
    """Set a field of config.json, by its dotted name; None removes it."""
    file = run / "config.json"
    facts = json.loads(file.read_text())
    *path, last = name.split(".")
    node = facts["config"]
    for key in path:
        node = node[key]
    node.pop(last) if value is None else node.update({last: value})
    file.write_text(json.dumps(facts))


def last(run: Run | Path) -> dict:
    return checkpoint.load(checkpoint.latest(Run.open(getattr(run, "path", run)).checkpoints, "iteration_*.ckpt"))


# -- a configuration that was changed --------------------------------------------------------------------------------

CHANGES = {
    "teacher": [
        ("num_envs", 16, "num_envs: expected 8, found 16"),
        ("num_envs", None, "num_envs: expected 8, found 256"),
        ("seed", 1, "seed: expected 0, found 1"),
        ("rollout_steps", 3, "rollout_steps: expected 6, found 3"),
        ("policy.recurrent_size", 16, r"policy\.recurrent_size: expected 8, found 16"),
        ("policy.hidden", [8, 8], r"policy\.hidden: expected \[16\], found \[8, 8\]"),
        ("ppo.rate.initial", 1e-3, r"ppo\.rate\.initial: expected 0\.0005, found 0\.001"),
        ("env.task.randomization.mass", None, r"env\.task\.randomization\.mass: expected \[0\.1, .*, found \[0\.08"),
        ("curriculum.start", {"near": 0.5, "wide": 0.5}, r"curriculum\.start\.near: expected 1\.0, found 0\.5"),
        ("validation_episodes", 16, "validation_episodes: expected 8, found 16"),
    ],
    "student": [
        ("num_envs", 4, "num_envs: expected 8, found 4"),
        ("num_envs", None, "num_envs: expected 8, found 128"),
        ("seed", 5, "seed: expected 0, found 5"),
        ("dagger.gradient_steps", 9, r"dagger\.gradient_steps: expected 3, found 9"),
        ("student.memory", "lstm", r"student\.memory: expected \"gru\", found \"lstm\""),
        ("student.memory_size", 16, r"student\.memory_size: expected 8, found 16"),
        ("control", False, "control: expected true, found false"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def lighter(tmp_path_factory) -> Path:
    """A teacher whose configuration is nowhere the default, as far as the environment goes."""
    env = TEACHER.env
    randomization = replace(env.task.randomization, mass=(0.1, 0.2))
    env = replace(env, task=replace(env.task, randomization=randomization))
    return train_teacher(replace(TEACHER, env=env, iterations=1), run_root=tmp_path_factory.mktemp("lighter")).path


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"), [(kind, *one) for kind, many in CHANGES.items() for one in many]
)
def test_a_changed_configuration_is_named_before_anything_is_done(
    kind, name, value, message, trained, lighter, tmp_path
):
    run = copied(lighter if name.startswith("env") else trained[kind], tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "config.json"}
    edit(run, name, value)
    with pytest.raises(RunError, match=rf"config\.json is not what its newest .*:\n  {message}"):
        resumed(run)
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "config.json"}


def test_what_no_iteration_depends_on_may_be_changed(run):
    for name, value in {"iterations": 5, "checkpoint_every": 1, "keep_checkpoints": 3}.items():
        if name != "checkpoint_every" or "teacher" in run.parent.name:
            edit(run, name, value)
    assert max(row.get("iteration", 0) for row in resumed(run).metrics()) == 5
    assert len(list((run / "checkpoints").glob("iteration_*.ckpt"))) == 3


def test_a_checkpoint_of_before_goes_on(run):
    """It does not say which configuration led to it."""
    newest = checkpoint.latest(run / "checkpoints", "iteration_*.ckpt")
    tree = checkpoint.load(newest)
    assert tree.pop("run_config") == json.loads((run / "config.json").read_text())["config"]
    checkpoint.save(newest, tree)
    edit(run, "iterations", 5)
    assert resumed(run).metrics()[-1]["step"] == Run.open(run).metrics()[0]["step"] * 5
    assert last(run)["run_config"]["iterations"] == 5


# -- metrics.csv -----------------------------------------------------------------------------------------------------


def damage(kind: str, file: Path) -> None:
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    match kind:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "zeroed":
            file.write_bytes(b"\0" * len(whole))
        case "cut":
            file.write_bytes(whole[: len(lines[0]) + len(lines[1]) + 9])
        case "a hole":
            middle = len(lines[0]) + len(lines[1]) + 5
            file.write_bytes(whole[:middle] + b"\0" * 30 + whole[middle + 30 :])
        case "no text":
            file.write_bytes(lines[0] + b"\xff\xfe\x80" * 20 + b"\n" + b"".join(lines[2:]))


@pytest.mark.parametrize("kind", ["missing", "empty", "zeroed", "cut", "a hole", "no text"])
def test_metrics_are_rebuilt_from_the_board_and_it_is_said(kind, run, caplog):
    before = by_step(Run.open(run).metrics())
    damage(kind, run / "metrics.csv")
    with caplog.at_level(logging.WARNING, "handsight"):
        after = by_step(resumed(run).metrics())
    assert list(after) == list(before)
    for step, row in before.items():
        assert after[step].keys() == row.keys()
        for name, value in row.items():
            assert after[step][name] == pytest.approx(value, rel=1e-6, nan_ok=True), (step, name)
    assert sum("metrics.csv lacked" in line for line in caplog.messages) == 1
    assert "are back from TensorBoard's files, to seven digits" in caplog.text and "are lost" not in caplog.text


def by_step(rows):
    """One row for each step: validation is logged beside training."""
    found = {}
    for row in rows:
        found.setdefault(row["step"], {}).update(row)
    return found


def test_rows_that_are_nowhere_are_counted_with_their_steps(run, caplog):
    steps = list(by_step(Run.open(run).metrics()))
    for board in run.glob("events.*"):
        board.write_bytes(board.read_bytes()[:40])
    damage("cut", run / "metrics.csv")
    with caplog.at_level(logging.WARNING, "handsight"):
        rows = resumed(run).metrics()
    assert [row["step"] for row in rows] == steps[:1]
    lost = re.escape(str([int(step) for step in steps[1:]]))
    assert f"lacked {len(steps) - 1} rows: 0 are back from TensorBoard's files" in caplog.text
    assert re.search(f"{len(steps) - 1} are lost, of steps {lost}", caplog.text)


def test_a_whole_file_is_left_as_it_is(run, caplog):
    before = (run / "metrics.csv").read_text()
    with caplog.at_level(logging.WARNING, "handsight"):
        resumed(run)
    assert (run / "metrics.csv").read_text() == before and "lacked" not in caplog.text


def test_points_that_a_resume_made_void_do_not_come_back(tmp_path):
    run = Run.create("a", TEACHER, tmp_path)
    for step in (1, 2, 3):
        run.log({"kl": step / 4}, step)
    run.close()
    again = Run.open(run.path)
    again.rewind(1, 1)
    again.log({"kl": 9.0}, 2)
    again.close()
    (run.path / "metrics.csv").unlink()
    for number, path in enumerate(sorted(run.path.glob("events.*"), key=lambda path: path.stat().st_mtime_ns), 9):
        path.rename(run.path / f"events.out.tfevents.1700000000.a-host-2.77.{number}")  # 10 comes after 9
    last = Run.open(run.path)
    last.rewind(3, 3)
    assert last.metrics() == [{"step": 1, "kl": 0.25}, {"step": 2, "kl": 9.0}]


# -- further than was planned ----------------------------------------------------------------------------------------


def test_an_extended_teacher_is_the_one_that_was_meant_to_go_so_far(trained, tmp_path):
    whole = train_teacher(replace(TEACHER, iterations=6), run_root=tmp_path / "whole")
    run = resumed(copied(trained["teacher"], tmp_path), iterations=6)
    assert json.loads((run.path / "config.json").read_text())["config"]["iterations"] == 6
    assert run.meta["resumed"][-1]["changes"] == {"iterations": 6}
    one, other = last(whole), last(run)
    assert one["iteration"] == other["iteration"] == 6
    assert all(one["policy"]["weights"][name].equal(value) for name, value in other["policy"]["weights"].items())
    assert {row["step"] for row in run.metrics()} == {row["step"] for row in whole.metrics()}


def test_a_student_is_extended_and_a_later_resume_knows(trained, tmp_path, monkeypatch):
    """It is broken off again before the new end; `--resume` alone goes on to there."""
    run = copied(trained["student"], tmp_path)

    def leave(env, teacher, student, config, iteration, *rest, **more):
        if iteration == 4:
            raise RolloutStoppedError
        return collect(env, teacher, student, config, iteration, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr("handsight.distill.training.train_student.collect", leave)
        assert len(resumed(run, iterations=6).metrics()) == 4
    assert len(resumed(run).metrics()) == 6
    rates = [row["lr"] for row in Run.open(run).metrics()]
    assert rates[3] > rates[2] and rates[5] < rates[4] < rates[3]  # the cosine ends at the new end
    assert last(run)["run_config"]["iterations"] == 6


def test_fewer_iterations_than_there_were_are_refused(run):
    with pytest.raises(RunError, match=r"has done [34] iterations: expected no fewer, found 2"):
        resumed(run, iterations=2)
    assert json.loads((run / "config.json").read_text())["config"]["iterations"] > 2
    assert "changes" not in (Run.open(run).meta["resumed"] or [{}])[-1]


def test_a_finished_run_says_that_there_is_nothing_to_do(run, caplog):
    with caplog.at_level(logging.INFO, "handsight"):
        resumed(run)
    assert f"run {run} is finished: nothing to do; --iterations N trains on to N of them" in caplog.messages


def test_values_out_of_range_and_fields_that_are_not_there_are_refused(run):
    with pytest.raises(Exception, match=r"iterations: expected a whole number"):
        resumed(run, iterations=0)
    with pytest.raises(Exception, match=r"iterations change a run that is resumed; found none"):
        train_teacher(TEACHER, iterations=3)


# -- a teacher that was moved ----------------------------------------------------------------------------------------


def test_a_moved_teacher_is_named_and_proves_itself(trained, tmp_path):
    student, away = copied(trained["student"], tmp_path / "a"), copied(trained["teacher"], tmp_path / "b")
    hidden = trained["teacher"].rename(tmp_path / "hidden")
    try:
        with pytest.raises(Exception, match=r"expected a folder|does not exist"):
            resumed(student, iterations=4)
        other = checkpoint.latest(away / "checkpoints", "iteration_*.ckpt")
        with pytest.raises(RunError, match=r"is not its teacher: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"):
            resumed(student, iterations=4, teacher=other)
        with pytest.raises(RunError, match=r"does not exist"):
            resumed(student, iterations=4, teacher=tmp_path / "nowhere")
        run = resumed(student, iterations=4, teacher=away)
    finally:
        hidden.rename(trained["teacher"])
    best = str(away / "checkpoints" / "best.ckpt")
    assert run.meta["resumed"][-1]["changes"]["iterations"] == 4
    assert json.loads((student / "config.json").read_text())["config"]["teacher"] in (str(away), best)
    assert last(run)["teacher"]["path"] == best


WARM = replace(
    TEACHER,
    sight="depth",
    policy=ActorCriticConfig(hidden=(8,), depth_features=8, depth_channels=(4, 4), actor_keys=("depth", "proprio")),
    warm=WarmStartConfig(iterations=3, beta_iterations=2, gradient_steps=2, minibatch=16),
    iterations=4,
    checkpoint_every=1,
    validate_every=0,
)


@pytest.mark.parametrize("how", ["moved with the run", "found by its digest", "named anew", "another"])
def test_a_warm_start_is_found_like_a_teacher(how, tmp_path, monkeypatch):
    """Its state teacher is named relative to the folder in which the run began; it is left while it imitates."""
    monkeypatch.chdir(tmp_path)
    expert_config = replace(TEACHER, policy=replace(TEACHER.policy, recurrent="none"), iterations=2)
    expert = train_teacher(expert_config, run_root=Path("runs")).path

    def leave(self, stop, iterate=TeacherTraining.iterate):
        if self.iteration == 2:
            raise RolloutStoppedError
        return iterate(self, stop)

    with monkeypatch.context() as patch:
        patch.setattr(TeacherTraining, "iterate", leave)
        run = train_teacher(replace(WARM, warm_start=expert / "checkpoints" / "best.ckpt"), run_root=Path("runs")).path
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if how == "moved with the run":
        Path("runs").rename(elsewhere / "runs")
        run = elsewhere / run
        monkeypatch.chdir("/")
        resumed(run)
    elif how == "found by its digest":
        expert.rename(expert.with_name("renamed"))
        resumed(run)
    else:
        away = expert.rename(elsewhere / "expert")
        if how == "another":
            with pytest.raises(RunError, match="is not its warm_start"):
                resumed(run, warm_start=away / "checkpoints" / "iteration_000002.ckpt")
            return
        resumed(run, warm_start=away / "checkpoints" / "best.ckpt")
    assert last(run)["iteration"] == 4 and math.isfinite(last(run)["best"])
