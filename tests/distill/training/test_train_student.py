"""Distilling from end to end on the toy environment."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from handsight import sims
from handsight.distill.report.candidates import gather
from handsight.distill.runs import checkpoint
from handsight.distill.runs.interrupt import Interrupted
from handsight.distill.runs.policy_io import LoadedPolicy, SignatureError, load_policy, policy_tree
from handsight.distill.runs.run import Run
from handsight.distill.training import train_student
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.session import Session, conclusion
from handsight.distill.training.student_config import StudentRunConfig
from handsight.errors import HandsightError
from handsight.sims import EnvConfig
from handsight.students import AugmentConfig, BackboneConfig, StudentConfig
from handsight.teachers import ActorCritic, ActorCriticConfig, RolloutStoppedError

from ..toy_env import Scripted, ToyEnv

SMALL = StudentConfig(memory_size=32, hidden=32, image_features=64)
QUICK = DaggerConfig(gradient_steps=3, batch_sequences=4)
GROUPS = ("state", "proprio", "depth")


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """The path of a teacher that needs no training; it sees depth."""
    path = tmp_path / "teacher" / "best.ckpt"
    checkpoint.save(path, {"seal": 1})
    signature = ToyEnv(("depth", "proprio"), 1).signature
    teacher = LoadedPolicy(Scripted("depth"), signature, EnvConfig(), "Scripted", path, None)
    monkeypatch.setattr(train_student, "load_policy", lambda path, device="cpu": teacher)
    return path


def quick(teacher: Path, **changes) -> StudentRunConfig:
    base = StudentRunConfig(teacher, student=SMALL, dagger=QUICK, num_envs=4, iterations=3)
    return replace(base, **changes)


def saved(run: Run) -> dict:
    return checkpoint.load(checkpoint.latest(run.checkpoints))


def flat(tree, prefix="") -> dict:
    """Leaves of a checkpoint by path."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {path: leaf for key, value in items for path, leaf in flat(value, f"{prefix}/{key}").items()}
    return {prefix: tree}


def assert_same(one, other) -> None:
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for path, leaf in one.items():
        same = torch.equal(leaf, other[path]) if isinstance(leaf, torch.Tensor) else leaf == other[path]
        assert same, f"{path}: {leaf} against {other[path]}"


def test_a_stereo_student_learns_what_a_depth_teacher_does(toy_sims, scripted, tmp_path):
    dagger = DaggerConfig(gradient_steps=16, batch_sequences=16, learning_rate=3e-3)
    config = StudentRunConfig(scripted, dagger=dagger, num_envs=32, iterations=7)
    rows = train_student.train_student(config, run_root=tmp_path / "runs").metrics()
    assert rows[1]["imitation_error"] > 0.4 and rows[-1]["imitation_error"] < 0.15
    assert rows[-1]["loss/action"] < 0.2 * rows[0]["loss/action"]


def test_what_is_logged(toy_sims, scripted, tmp_path):
    run = train_student.train_student(quick(scripted), run_root=tmp_path)
    assert run.path.parent == tmp_path / "student-stereo-from-depth"
    rows = run.metrics()
    assert [row["step"] for row in rows] == [32, 64, 96] and [row["beta"] for row in rows] == [1.0, 0.5, 0.0]
    names = {"imitation_error", "success_at_end", "fps", "loss/action", "loss/object", "loss/spread", "lr", "std"}
    assert names <= set(rows[-1]) and rows[-1]["buffer/sequences"] == 12
    assert [len(list(run.path.glob(name))) for name in ("metrics.csv", "events*", "sequences")] == [1, 1, 0]


def test_every_iteration_meets_other_resets_and_normalisers_take_in_the_rows_that_count(
    toy_sims, scripted, tmp_path, monkeypatch
):
    seeds, rows, collect = [], [], train_student.collect

    def watched(env, teacher, student, config, iteration, seed, tick, **how):
        columns, met = collect(env, teacher, student, config, iteration, seed, tick, **how)
        columns["valid"][-2:, 0] = False  # as after a loss
        seeds.append(seed)
        rows.append(int(columns["valid"].sum()))
        return columns, met

    monkeypatch.setattr(train_student, "collect", watched)
    run = train_student.train_student(quick(scripted), run_root=tmp_path)
    assert len(set(seeds)) == 3 and rows == [4 * 8 - 2] * 3
    assert load_policy(run.path).policy.normalize["proprio"].count == sum(rows)


def test_the_worlds_render_what_is_needed_and_nothing_else(toy_sims, scripted, tmp_path):
    train_student.train_student(quick(scripted, iterations=1), run_root=tmp_path)
    assert set(toy_sims[-1].obs_spec) == {"depth", "stereo", "proprio", "state"}
    no_label = replace(QUICK, object_weight=0.0)
    train_student.train_student(quick(scripted, iterations=1, dagger=no_label), run_root=tmp_path)
    assert set(toy_sims[-1].obs_spec) == {"depth", "stereo", "proprio"}


def test_the_checkpoint_is_a_policy_that_acts_as_the_student_did(toy_sims, scripted, tmp_path):
    pretrained = replace(SMALL, backbone=BackboneConfig(pretrained=True))
    with pytest.warns(UserWarning, match="no pretrained weights"):
        run = train_student.train_student(quick(scripted, student=pretrained), run_root=tmp_path)
    loaded = load_policy(run.path)  # from its own weights: nothing is downloaded, nothing warned of
    assert loaded.kind == "StereoStudent" and loaded.policy.obs_keys == ("stereo", "proprio")
    loaded.check(toy_sims[-1].signature)
    obs = toy_sims[-1].reset(0)
    mean, std, hidden = loaded.policy(obs, loaded.policy.initial_hidden(4))
    assert mean.shape == std.shape == (4, 3) and hidden.shape == (4, 32)


def test_a_control_student_sees_what_its_teacher_sees(toy_sims, scripted, tmp_path):
    run = train_student.train_student(quick(scripted, control=True, iterations=1), run_root=tmp_path)
    assert run.name == "student-control-from-depth" and "stereo" not in toy_sims[-1].obs_spec
    loaded = load_policy(run.path)
    assert loaded.policy.obs_keys == ("depth", "proprio")


class Lazy(Scripted):
    """Does nothing, whatever it sees."""

    def forward(self, obs, hidden):
        mean, std, hidden = super().forward(obs, hidden)
        return torch.zeros_like(mean), std, hidden


@pytest.fixture
def driven(toy_sims, scripted, tmp_path, monkeypatch):
    """A control student's configuration whose driver does nothing."""
    path = tmp_path / "driver" / "iteration_000001.ckpt"
    checkpoint.save(path, {"seal": 2})
    teacher = train_student.load_policy(scripted)
    driver = replace(teacher, policy=Lazy("stereo"), path=path, signature=ToyEnv(("stereo",), 1).signature)
    monkeypatch.setattr(train_student, "load_policy", lambda where, device="cpu": driver if where == path else teacher)
    return quick(scripted, control=True, driver=path, iterations=2)


def test_a_driven_student_learns_on_the_states_of_its_driver(driven, toy_sims, tmp_path):
    run = train_student.train_student(driven, run_root=tmp_path)
    assert set(toy_sims[-1].obs_spec) == {"depth", "proprio", "stereo", "state"}
    assert load_policy(run.path).policy.obs_keys == ("depth", "proprio")
    assert [row["beta"] for row in run.metrics()] == [0.0, 0.0]
    assert {row["success_at_end"] for row in run.metrics()} == {0.0}  # who does nothing has no success
    assert saved(run)["driver"]["sha256"] == checkpoint.digest(driven.driver)


def test_a_driver_that_was_replaced_is_noticed_on_resume(driven, tmp_path):
    run = train_student.train_student(driven, run_root=tmp_path)
    checkpoint.save(driven.driver, {"seal": 3})
    with pytest.raises(HandsightError, match=r"its driver .*iteration_000001.ckpt was replaced"):
        train_student.train_student(resume=run.path)


def test_a_driver_is_refused_where_nothing_is_driven():
    with pytest.raises(HandsightError, match="cannot drive in recorded rollouts"):
        StudentRunConfig(data=Path("data"), driver=Path("driver"))


def test_a_resumed_run_ends_bit_for_bit_like_one_that_went_through(toy_sims, scripted, tmp_path, monkeypatch):
    dagger = replace(QUICK, augment=AugmentConfig(noise=3.0), act="sample")
    config = quick(scripted, dagger=dagger, iterations=4, keep_checkpoints=4)
    whole = train_student.train_student(config, run_root=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(self, save=train_student.StudentTraining.save):
        save(self)
        if self.iteration == 2:
            raise Stop

    torch.manual_seed(99)  # what the process drew before must not matter
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(train_student.StudentTraining, "save", stop)
        train_student.train_student(config, run_root=tmp_path / "broken")
    (folder,) = (tmp_path / "broken").glob("*/*")
    halves = train_student.train_student(resume=folder)
    assert halves.path == folder
    one, other = saved(whole), saved(halves)
    assert_same(one, other)
    columns = ("step", "imitation_error", "success_at_end", "loss/action", "loss/object", "lr")
    assert [[row.get(c) for c in columns] for row in halves.metrics()] == [
        [row.get(c) for c in columns] for row in whole.metrics()
    ]


def test_ctrl_c_leaves_soon_and_nothing_finished_is_done_again(toy_sims, scripted, tmp_path, monkeypatch):
    config = quick(scripted, iterations=4)
    whole = train_student.train_student(config, run_root=tmp_path / "whole")
    asked = []

    def ask(self, *arguments, step=ToyEnv.step):
        if self.seed == train_student.STUDENT_SEED + 2 and not asked:
            asked.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        patch.setattr(ToyEnv, "step", ask)
        train_student.train_student(config, run_root=tmp_path / "broken")
    assert time.monotonic() - asked[0] < 5
    (folder,) = (tmp_path / "broken").glob("*/*")
    assert str(stopped.value) == (
        "stopped by SIGINT: student-stereo-from-depth after iteration 2 of 4; "
        f"handsight train-student --resume {folder} goes on"
    )
    assert saved(Run.open(folder))["sequences"]["appended"] == 2
    seeds = []
    monkeypatch.setattr(
        ToyEnv, "reset", lambda self, seed, reset=ToyEnv.reset: (seeds.append(seed), reset(self, seed))[1]
    )
    assert_same(saved(train_student.train_student(resume=folder)), saved(whole))
    assert seeds == [train_student.STUDENT_SEED + 2, train_student.STUDENT_SEED + 3]


def test_leaving_during_the_first_iteration_can_be_gone_on_from(toy_sims, scripted, tmp_path, monkeypatch):
    def ask(self, *arguments, step=ToyEnv.step):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(ToyEnv, "step", ask)
        train_student.train_student(quick(scripted), run_root=tmp_path)
    (folder,) = tmp_path.glob("student*/*")
    assert len(train_student.train_student(resume=folder).metrics()) == 3


def test_progress_counts_iterations_by_the_time_that_their_parts_take(toy_sims, scripted, tmp_path, monkeypatch):
    ticks, tick = [], Session.tick
    monkeypatch.setattr(Session, "tick", lambda self, n: (ticks.append(n), tick(self, n))[1])
    run = train_student.train_student(quick(scripted, iterations=2), run_root=tmp_path)
    steps, gradients = 8, QUICK.gradient_steps
    assert len(ticks) == 2 * (steps + gradients) and sum(ticks) == pytest.approx(2)
    assert ticks[: steps + gradients] == pytest.approx([0.5 / steps] * steps + [0.5 / gradients] * gradients)
    first = run.metrics()[0]
    share = first["seconds/collect"] / (first["seconds/collect"] + first["seconds/fit"])
    assert ticks[steps + gradients :] == pytest.approx([share / steps] * steps + [(1 - share) / gradients] * gradients)


def test_a_training_ends_with_what_it_reached_and_what_to_type_next(toy_sims, scripted, tmp_path, caplog):
    with caplog.at_level("INFO", "handsight"):
        run = train_student.train_student(quick(scripted), run_root=tmp_path)
    last = caplog.messages[-1]
    reached = [row["success_at_end"] for row in run.metrics() if "success_at_end" in row][-1]
    assert last.startswith("student-stereo-from-depth: 3 iterations, 96 steps\n")
    assert (
        f"success {reached:.3f} of the last iteration's episodes, kept as {run.checkpoints}/iteration_000003.ckpt"
        in last
    )
    assert f"next: handsight compare {run.path}" in last
    run.log({"validation/success_at_end": 0.75}, 64)
    checkpoint.save(run.checkpoints / "best.ckpt", {})
    training = SimpleNamespace(name="teacher-state", iteration=3, steps=96, following="handsight evaluate {run}")
    assert conclusion(training, run).splitlines()[1:] == [
        f"best validation: success 0.750 after 64 steps, kept as {run.checkpoints}/best.ckpt",
        f"next: handsight evaluate {run.path}",
    ]


def test_a_finished_run_has_nothing_left_to_do(toy_sims, scripted, tmp_path):
    run = train_student.train_student(quick(scripted), run_root=tmp_path)
    rows = run.metrics()
    assert train_student.train_student(resume=run.path).metrics() == rows


def test_resume_refuses_a_teacher_that_was_replaced(toy_sims, scripted, tmp_path):
    run = train_student.train_student(quick(scripted), run_root=tmp_path)
    checkpoint.save(scripted, {"seal": 2})
    with pytest.raises(HandsightError, match=r"its teacher .*best.ckpt was replaced"):
        train_student.train_student(resume=run.path)


@pytest.mark.parametrize("moved", ["nothing", "both", "the teacher"])
def test_a_resumed_student_finds_its_teacher_from_any_folder(moved, toy_sims, tmp_path, monkeypatch):
    """Named relative to the folder in which the run began, and moved since, with the run or without it."""
    began, teacher = tmp_path / "began", Path("runs/teacher-depth/2026/checkpoints/best.ckpt")
    began.mkdir()
    monkeypatch.chdir(began)
    teacher_checkpoint(teacher, ToyEnv(("state", "proprio", "depth", "stereo"), 1))
    collect = train_student.collect

    def leave(env, teacher, student, config, iteration, *rest, **more):
        if iteration == 1:
            raise RolloutStoppedError
        return collect(env, teacher, student, config, iteration, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(train_student, "collect", leave)
        run = train_student.train_student(quick(teacher, iterations=2), run_root=Path("runs")).path
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    home = began
    if moved == "both":
        home = began.rename(tmp_path / "archive")
    elif moved == "the teacher":
        (began / teacher).parents[2].rename(began / "runs" / "renamed")
    assert len(train_student.train_student(resume=home / run).metrics()) == 2
    candidates, notes = gather([home / run])
    assert len(candidates) == 2 and not notes


def test_a_teacher_that_is_nowhere_is_named(toy_sims, tmp_path):
    teacher = teacher_checkpoint(tmp_path / "a" / "teacher.ckpt", ToyEnv(("state", "proprio", "depth", "stereo"), 1))
    run = train_student.train_student(quick(teacher), run_root=tmp_path / "runs")
    checkpoint.remove(teacher)
    with pytest.raises(HandsightError, match=r"teacher.ckpt: expected a folder with manifest.json, found nothing"):
        train_student.train_student(resume=run.path)


def teacher_checkpoint(path: Path, env: ToyEnv) -> Path:
    config = ActorCriticConfig(hidden=(8,))
    policy = ActorCritic(config, env.obs_spec, env.action_dim)
    checkpoint.save(path, policy_tree(policy, config, env.action_dim, env.signature, EnvConfig(), policy.train_keys))
    return path


def test_a_trained_teacher_is_loaded_from_its_checkpoint(toy_sims, tmp_path):
    path = teacher_checkpoint(tmp_path / "teacher.ckpt", ToyEnv(GROUPS, 2))
    run = train_student.train_student(quick(path, iterations=1), run_root=tmp_path)
    assert run.name == "student-stereo-from-state"


def test_worlds_that_the_teacher_does_not_know_are_refused_before_a_run_is_made(toy_sims, tmp_path, monkeypatch):
    other = ToyEnv(GROUPS, 2)
    other.signature = {**other.signature, "action_space": "palm6", "control_dt": 0.05}
    path = teacher_checkpoint(tmp_path / "teacher.ckpt", other)
    with pytest.raises(SignatureError, match=r'(?s)action_space: expected "palm6", found "toy3".*control_dt'):
        train_student.train_student(quick(path), run_root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_more_worlds_than_the_buffer_holds_are_refused(toy_sims, scripted, tmp_path):
    tiny = replace(QUICK, buffer_gib=1e-5)
    with pytest.raises(HandsightError, match=r"sequence buffer: 4 sequences .*expected at most 0 environments"):
        train_student.train_student(quick(scripted, dagger=tiny), run_root=tmp_path)


def test_the_cap_is_kept_and_said_once(toy_sims, scripted, tmp_path):
    each = 8 * (2 * 3 * 16 * 16 + 4 * (2 + 3 + 3 + 3) + 2)  # bytes of a sequence of eight steps
    two = replace(QUICK, buffer_gib=2.5 * 4 * each / 2**30)
    with pytest.warns(UserWarning, match="the oldest are forgotten") as caught:
        run = train_student.train_student(quick(scripted, dagger=two, iterations=4), run_root=tmp_path)
    assert sum("forgotten" in str(warning.message) for warning in caught) == 1
    assert [row["buffer/sequences"] for row in run.metrics()] == [4, 8, 8, 8]
    assert [row["buffer/evicted"] for row in run.metrics()] == [0, 0, 4, 8]


def test_mixed_precision_trains_a_student_that_is_saved_in_full(toy_sims, scripted, tmp_path):
    run = train_student.train_student(quick(scripted, precision="bf16-mixed", iterations=2), run_root=tmp_path)
    weights = saved(run)["policy"]["weights"]
    assert weights["head.mean.weight"].dtype == torch.float32
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_neither_config_nor_resume_is_an_error(toy_sims):
    with pytest.raises(HandsightError, match="either a config or a run"):
        train_student.train_student()
    assert sims.make is not None


def test_seeds_out_of_range_are_refused():
    with pytest.raises(HandsightError, match=r"StudentRunConfig.seed: expected a whole number in 0\.\.999, found 1000"):
        StudentRunConfig(Path("x"), seed=1000)
