"""NaN and infinite numbers: left out and counted; where nothing else comes, the training stops; none is ever kept."""

import dataclasses
import itertools

import pytest
import torch

from handsight import sims
from handsight.distill.commands.cli import main
from handsight.distill.runs import checkpoint
from handsight.distill.runs.checkpoint import CheckpointError
from handsight.distill.runs.run import Run, runs_under
from handsight.distill.training import session
from handsight.distill.training.train_student import train_student
from handsight.distill.training.train_teacher import train_teacher
from handsight.policies.finite import FiniteSteps, NotFiniteError
from handsight.teachers import AdaptiveRate, PPOConfig

from ..toy_env import ToyEnv
from .test_train_student import quick, scripted  # noqa: F401
from .test_train_teacher import SMALL, small

GRU = dataclasses.replace(SMALL, actor_keys=("state", "proprio"), recurrent="gru", recurrent_size=4)
FLOOD = AdaptiveRate(target_kl=None)
object.__setattr__(FLOOD, "initial", 1e30)  # far beyond the range that the configuration would allow


def infinite_reward(step):
    step.reward[0] = float("inf")


def nan_observation(step):
    step.obs["proprio"][0, 1] = float("nan")


def infinite_observation(step):
    step.obs["state"][0, 0] = -float("inf")


@pytest.fixture
def faulty(monkeypatch):
    """Worlds in which a function has its way with some steps: `faulty(fault, [3, 4])`; None: with all."""

    def use(fault, steps=None):
        class Faulty(ToyEnv):
            counts = itertools.count(1)

            def step(self, action):
                assert action.isfinite().all(), "worlds are never given an action that is not finite"
                found = super().step(action)
                if steps is None or next(self.counts) in steps:
                    fault(found)
                return found

        monkeypatch.setattr(sims, "make", lambda config, observe, num_envs, *rest, **words: Faulty(observe, num_envs))

    return use


def finite(run: Run) -> int:
    """How many checkpoints the run has, all of them with finite weights."""
    kept = list(run.checkpoints.iterdir())
    for path in kept:
        assert all(one.isfinite().all() for one in checkpoint.load(path)["policy"]["weights"].values()), path
    return len(kept)


@pytest.mark.parametrize(
    "policy", [dataclasses.replace(SMALL, actor_keys=("state", "proprio")), GRU], ids=["mlp", "gru"]
)
@pytest.mark.parametrize("fault", [infinite_reward, nan_observation, infinite_observation])
def test_a_teacher_leaves_out_the_rows_that_are_not_finite_and_counts_them(faulty, tmp_path, fault, policy):
    faulty(fault, [7])  # of the second rollout, the first being the one that the normalisers are shown
    run = train_teacher(small(policy=policy, validate_every=0), run_root=tmp_path)
    rows = run.metrics()
    # an observation that is not finite spoils the step that led to it and the one from it
    assert [row["nonfinite"] for row in rows] == [1.0 if fault is infinite_reward else 2.0, 0, 0, 0]
    assert all(row["skipped"] == 0 for row in rows)
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in rows)
    assert finite(run) == 2


def test_a_teacher_that_is_given_nothing_else_stops(faulty, tmp_path):
    faulty(lambda step: step.reward.fill_(float("nan")))
    with pytest.raises(NotFiniteError, match=r"stopped: 10 gradient steps in a row .*; kept: iteration_000002"):
        train_teacher(small(iterations=40, validate_every=0), run_root=tmp_path)
    assert finite(Run.open(runs_under(tmp_path)[0])) == 1  # four steps in an iteration: the tenth in the third


@pytest.mark.parametrize("steps", [1, 4], ids=["one step an iteration", "sixteen"])
def test_a_teacher_that_loses_itself_keeps_what_it_was(toy_sims, tmp_path, steps):
    ppo = PPOConfig(epochs=steps, minibatches=steps, rate=FLOOD)
    with pytest.raises(NotFiniteError, match=r"run .* stopped: .*; kept: iteration_000000\.ckpt"):
        train_teacher(small(ppo=ppo, checkpoint_every=1, validate_every=0), run_root=tmp_path)
    assert finite(Run.open(runs_under(tmp_path)[0])) == 1


@pytest.mark.parametrize("fault", [infinite_reward, nan_observation, infinite_observation])
def test_a_student_leaves_out_the_rows_that_are_not_finite(faulty, scripted, tmp_path, fault):  # noqa: F811
    faulty(fault, [3])
    run = train_student(quick(scripted), run_root=tmp_path)
    # an episode of eight steps, of which nothing counts from there on
    assert [row["nonfinite"] for row in run.metrics()] == [6.0 if fault is infinite_reward else 5.0, 0, 0]
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in run.metrics())
    assert finite(run) == 2


@pytest.mark.parametrize("gradient_steps", [1, 2])
def test_a_student_that_loses_itself_keeps_what_it_was(toy_sims, scripted, tmp_path, gradient_steps):  # noqa: F811
    config = quick(scripted)
    dagger = dataclasses.replace(config.dagger, gradient_steps=gradient_steps)
    object.__setattr__(dagger, "learning_rate", 1e30)
    with pytest.raises(NotFiniteError, match=r"run .* stopped: .*; kept: iteration_000000\.ckpt"):
        train_student(dataclasses.replace(config, dagger=dagger), run_root=tmp_path)
    assert finite(Run.open(runs_under(tmp_path)[0])) == 1


def test_nine_in_a_row_are_borne_and_ten_are_not():
    guard, bad, good = FiniteSteps(), torch.tensor(float("nan")), torch.tensor(1.0)
    one_row = torch.tensor(1)
    assert [guard.may(norm, one_row) for norm in (*[bad] * 9, good, *[bad] * 9)] == [False] * 9 + [True] + [False] * 9
    assert guard.taken() == 18 and guard.taken() == 0
    with pytest.raises(NotFiniteError, match="10 gradient steps in a row"):
        guard.may(torch.tensor(0.0), torch.tensor(0))


@pytest.fixture
def lost(toy_sims, tmp_path, monkeypatch) -> Run:
    """A run of an older version, whose best and newest checkpoints are of a policy that is not finite."""
    run = train_teacher(small(validate_every=0), run_root=tmp_path / "runs")
    tree = checkpoint.load(run.checkpoints / "iteration_000004.ckpt")
    tree["policy"]["weights"]["head.mean.bias"][0] = float("nan")
    with monkeypatch.context() as before:
        before.setattr(checkpoint, "_check_finite", lambda *_: None)
        checkpoint.save(run.checkpoints / "best.ckpt", tree)
        checkpoint.save(run.checkpoints / "iteration_000004.ckpt", tree)
    return run


def test_a_policy_that_is_not_finite_is_neither_kept_nor_resumed(lost):
    with pytest.raises(CheckpointError, match=r"expected finite weights, found NaN .* policy/weights/head\.mean\.bias"):
        checkpoint.load(lost.checkpoints / "best.ckpt")
    with pytest.warns(UserWarning, match="passed over a damaged checkpoint"):
        train_teacher(resume=lost.path)
    assert lost.metrics()[-1]["step"] == 160
    tree = checkpoint.load(lost.checkpoints / "iteration_000004.ckpt")
    tree["policy"]["weights"]["head.mean.bias"][0] = float("inf")
    with pytest.raises(CheckpointError, match="expected finite weights"):
        checkpoint.save(lost.checkpoints / "iteration_000005.ckpt", tree)
    assert not (lost.checkpoints / "iteration_000005.ckpt").exists()


@pytest.mark.parametrize(
    "words",
    ["evaluate RUN", "compare RUN RUN", "video RUN", "record --policy RUN --out OUT",
     "record --policy zoo:state --teacher RUN --out OUT", "train-student --teacher RUN --runs OUT",
     "export RUN --onnx --out OUT/a.onnx"],
)  # fmt: skip
def test_every_command_refuses_a_policy_that_is_not_finite(lost, tmp_path, capsys, words):
    filled = [word.replace("RUN", str(lost.path)).replace("OUT", str(tmp_path / "out")) for word in words.split()]
    assert main(filled) == 2
    assert "expected finite weights, found NaN or infinite ones" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))


def test_what_was_left_out_is_said_aloud():
    assert session.losses({"skipped": 2.0, "nonfinite": 3.0, "diverged": 20.0}, 100) == (
        "2 gradient steps were skipped: NaN or infinite gradients; "
        "3 of 100 steps had NaN or infinite numbers and are not learnt from"
    )
    assert (
        session.losses({"diverged": 21.0}, 100) == "21% of the steps diverged: the physics of these worlds is not sound"
    )
    assert session.losses({"skipped": 0.0, "nonfinite": 0.0, "diverged": 1.0}, 100) == ""
