import dataclasses
import math
import os
import signal
import threading
from types import SimpleNamespace

import pytest
import torch

from handsight.distill.evaluation import VALIDATION_SEED
from handsight.distill.runs import checkpoint
from handsight.distill.runs.interrupt import Interrupted
from handsight.distill.runs.policy_io import BEST, load_policy
from handsight.distill.runs.run import Run, RunError
from handsight.distill.training import session, teacher_training, train_teacher
from handsight.distill.training.curriculum import CurriculumConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.distill.training.warm_start import WarmStartConfig
from handsight.errors import HandsightError
from handsight.files import owned
from handsight.sims.scenes import SCENES
from handsight.teachers import ActorCriticConfig, AdaptiveRate, PPOConfig, RolloutStoppedError

from ..toy_env import ToyEnv

SMALL = ActorCriticConfig(hidden=(16, 8), depth_features=8, depth_channels=(4, 4))
NEAR_TO_WIDE = CurriculumConfig(start={"near": 1.0}, goal={"wide": 1.0}, gate="near", low=0.1, high=0.5)


def small(sight="state", **changes):
    config = TeacherConfig(
        sight=sight,
        policy=dataclasses.replace(SMALL, actor_keys=(sight, "proprio")),
        ppo=PPOConfig(epochs=2, minibatches=2),
        curriculum=NEAR_TO_WIDE,
        num_envs=8,
        rollout_steps=5,
        iterations=4,
        checkpoint_every=2,
        validate_every=2,
        validation_episodes=8,
    )
    return dataclasses.replace(config, **changes)


def final(run):
    return checkpoint.load(run.checkpoints / "iteration_000004.ckpt")


def same(one, other, where="tree"):
    """Every leaf equal, tensors bit for bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{i}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif hasattr(one, "tolist"):
        assert one.tolist() == other.tolist(), where
    else:
        assert one == other, where


LSTM = dataclasses.replace(SMALL, actor_keys=("depth", "proprio"), recurrent="lstm", auxiliary=("object_size",))


@pytest.mark.parametrize("changes", [{}, {"sight": "depth", "policy": LSTM}], ids=["state", "recurrent depth"])
def test_a_resumed_run_is_bit_exact(toy_sims, tmp_path, changes):
    whole = train_teacher.train_teacher(small(**changes), run_root=tmp_path / "whole")
    part = train_teacher.train_teacher(small(**changes), run_root=tmp_path / "part")
    checkpoint.remove(part.checkpoints / "iteration_000004.ckpt")
    torch.manual_seed(12345)
    train_teacher.train_teacher(resume=part.path)
    one, other = final(whole), final(part)
    same({**one, "best": 0}, {**other, "best": 0})
    steps = [[row["step"] for row in run.metrics()] for run in (whole, part)]
    assert steps[0] == steps[1]


def test_ctrl_c_saves_the_last_whole_iteration(toy_sims, tmp_path, monkeypatch):
    whole = train_teacher.train_teacher(small(), run_root=tmp_path / "whole")
    rollouts, collect = [], teacher_training.collect

    def interrupted(env, actor, buffer, obs, hidden, episodes, stop=lambda: False, version=0):
        rollouts.append(env)
        if len(rollouts) == 4:  # the first one is for the normalisers; this is the third iteration
            step = env.step

            def then_press(action):
                os.kill(os.getpid(), signal.SIGINT)
                return step(action)

            env.step = then_press
        return collect(env, actor, buffer, obs, hidden, episodes, stop, version)

    monkeypatch.setattr(teacher_training, "collect", interrupted)
    with pytest.raises(Interrupted):
        train_teacher.train_teacher(small(), run_root=tmp_path / "part")
    monkeypatch.undo()
    path = next((tmp_path / "part").glob("*/*"))
    assert checkpoint.latest(path / "checkpoints", "iteration_*.ckpt").name == "iteration_000002.ckpt"
    monkeypatch.setattr("handsight.sims.make", lambda *a, **k: toy_again(*a, **k))
    train_teacher.train_teacher(resume=path)
    same({**final(whole), "best": 0}, {**final(Run.open(path)), "best": 0})
    assert threading.active_count() < 20


def toy_again(config, observe, num_envs, world_offset=0, device="cpu"):
    from ..toy_env import ToyEnv

    return ToyEnv(observe, num_envs, world_offset)


def test_a_run_holds_a_policy_that_acts_as_it_did(toy_sims, tmp_path):
    run = train_teacher.train_teacher(small("depth"), run_root=tmp_path)
    loaded = load_policy(run.checkpoints / "iteration_000004.ckpt")
    assert loaded.policy.obs_keys == ("depth", "proprio")
    assert set(loaded.signature["obs"]) == {"depth", "proprio"}
    assert run.name == "teacher-depth"
    assert final(run)["warm_started_from"] is None
    assert (run.checkpoints / "best.ckpt").is_dir()


def test_metrics_have_the_promised_names(toy_sims, tmp_path):
    run = train_teacher.train_teacher(small(), run_root=tmp_path)
    names = {name for row in run.metrics() for name, value in row.items() if value is not None}
    promised = {"success_at_end", "success_once", "return", "length", "fps", "kl", "lr", "loss/policy", "loss/value"}
    assert promised | {"reward/reach", "validation/success_at_end", "curriculum"} <= names
    assert max(row["step"] for row in run.metrics()) == 4 * 8 * 5


def test_the_curriculum_reaches_the_worlds(toy_sims, tmp_path):
    training = TeacherTraining.start(small(), run=Run.create("teacher", small(), tmp_path))
    assert training.env.mix == {"near": 1.0, "wide": 0.0}
    training.curriculum.progress = 1.0
    training.iterate()
    assert training.env.mix == {"near": 0.0, "wide": 1.0}


def test_the_mix_of_resets_moves_with_success(toy_sims, tmp_path):
    training = TeacherTraining.start(small(), run=Run.create("teacher", small(), tmp_path))
    training.curriculum.update = lambda ended: setattr(training.curriculum, "progress", 0.25)
    training.iterate()
    assert training.env.mix == {"near": 0.75, "wide": 0.25}


def test_best_is_the_first_checkpoint_with_the_highest_success_at_the_end_of_held_out_resets(
    toy_sims, tmp_path, monkeypatch
):
    found, asked = iter([0.25, 0.75, 0.75, 0.5]), []

    def judged(env, policy, *, episodes, seed, watch):
        asked.append((env.mix, env.num_envs, episodes, seed))
        wins = torch.arange(8) < 8 * next(found)
        return SimpleNamespace(
            success_at_end=wins.numpy(), success_once=~wins.numpy(), episode_return=torch.zeros(8).numpy()
        )

    monkeypatch.setattr(teacher_training, "evaluate_in", judged)
    run = train_teacher.train_teacher(
        small(validate_every=1, checkpoint_every=1, keep_checkpoints=9, validation_kind="wide"), run_root=tmp_path
    )
    kept = [checkpoint.load(run.checkpoints / name)["policy"]["weights"] for name in ("iteration_000002.ckpt", BEST)]
    same(*kept)
    assert final(run)["best"] == 0.75
    assert asked == [({"wide": 1.0}, 8, 8, VALIDATION_SEED)] * 4
    rows = [row["validation/success_at_end"] for row in run.metrics() if "validation/success_at_end" in row]
    assert rows == [0.25, 0.75, 0.75, 0.5]


def test_a_resumed_run_remembers_how_good_its_best_was(toy_sims, tmp_path, monkeypatch):
    found = iter([1.0, 0.5])

    def judged(env, policy, **asked):
        wins = (torch.arange(8) < 8 * next(found)).numpy()
        return SimpleNamespace(success_at_end=wins, success_once=wins, episode_return=torch.zeros(8).numpy())

    monkeypatch.setattr(teacher_training, "evaluate_in", judged)
    run = train_teacher.train_teacher(small(), run_root=tmp_path)  # validated after iterations 2 and 4
    checkpoint.remove(run.checkpoints / "iteration_000004.ckpt")
    found = iter([0.5])
    train_teacher.train_teacher(resume=run.path)
    same(
        checkpoint.load(run.checkpoints / BEST)["policy"]["weights"],
        checkpoint.load(run.checkpoints / "iteration_000002.ckpt")["policy"]["weights"],
    )


def test_clocks_of_a_teachers_worlds_are_spread_so_that_not_all_episodes_end_at_once(toy_sims, tmp_path, monkeypatch):
    spread = []
    monkeypatch.setattr(ToyEnv, "stagger", lambda env: spread.append(env.total_steps))
    TeacherTraining.start(small(), run=Run.create("teacher", small(), tmp_path))
    assert spread == [0]  # once, before the first step


def test_with_lag_the_environments_are_led_by_the_weights_that_were_just_learnt(toy_sims, tmp_path):
    training = TeacherTraining.start(small(lag=True), run=Run.create("teacher", small(lag=True), tmp_path))
    training.iterate()
    before = {name: value.clone() for name, value in training.policy.state_dict().items()}
    training.iterate()
    led = training.actor.state_dict()
    assert all(torch.equal(led[name], before[name]) for name in before)
    training.close()


def test_normalisers_know_the_worlds_before_the_first_update(toy_sims, tmp_path):
    training = TeacherTraining.start(small(), run=Run.create("teacher", small(), tmp_path))
    assert training.policy.normalizers["state"].count == 5 * 8  # the first rollout's rows
    assert training.iteration == 0


def test_worlds_beyond_the_memory_budget_are_refused(toy_sims, tmp_path):
    with pytest.raises(HandsightError, match=r"8 worlds x 5 steps .* worlds fit"):
        train_teacher.train_teacher(small(memory_budget_gib=1e-6), run_root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_sight_without_its_policy_is_refused():
    with pytest.raises(HandsightError, match=r"start from TeacherConfig.depth\(\)"):
        TeacherConfig(sight="depth")


def test_the_presets_are_the_recipe():
    state, depth = TeacherConfig.state(), TeacherConfig.depth()
    assert (state.ppo.gamma, state.ppo.lam, state.num_envs, state.rollout_steps) == (0.985, 0.95, 256, 16)
    assert (state.ppo.epochs, state.ppo.minibatches, state.ppo.clip, state.ppo.value_clip) == (4, 4, 0.2, None)
    assert (depth.ppo.epochs, depth.ppo.value_clip, depth.ppo.aux_warmup_iterations) == (3, None, 6)
    assert depth.policy.critic_keys == ("state", "proprio")


def test_a_warm_started_teacher_is_named_so_and_imitates_first(toy_sims, tmp_path):
    expert = train_teacher.train_teacher(small(), run_root=tmp_path)
    config = small("depth", warm_start=expert.path, warm=WarmStartConfig(iterations=2, gradient_steps=2, minibatch=16))
    run = train_teacher.train_teacher(config, run_root=tmp_path)
    assert run.name == run.meta["name"] == "teacher-depth-warm-started"
    assert final(run)["warm_started_from"] == str(expert.path)
    warm = [row.get("warm_start") for row in run.metrics() if row.get("fps")]
    assert warm[:2] == [1.0, 1.0]
    assert not any(warm[2:])


def test_a_warm_start_resumes_bit_exactly_in_its_middle(toy_sims, tmp_path):
    expert = train_teacher.train_teacher(small(), run_root=tmp_path)
    warm = WarmStartConfig(iterations=3, beta_iterations=3, gradient_steps=12, minibatch=16)
    config = small("depth", warm_start=expert.path, warm=warm)
    whole = train_teacher.train_teacher(config, run_root=tmp_path / "whole")
    part = Run.create("part", config, tmp_path)
    training = TeacherTraining.start(config, run=part)
    training.iterate()
    training.iterate()
    training.save()
    assert len(list((part.path / "warm_start").glob("*.ckpt"))) == 2
    train_teacher.train_teacher(resume=part.path)
    same({**final(whole), "best": 0}, {**final(part), "best": 0})
    assert not list((part.path / "warm_start").glob("*.ckpt"))  # PPO has no use for them


def test_an_update_that_is_broken_off_leaves_no_trace(toy_sims, tmp_path):
    whole = train_teacher.train_teacher(small(), run_root=tmp_path / "whole")
    part = Run.create("part", small(), tmp_path)
    training, asked = TeacherTraining.start(small(), run=part), []
    training.iterate()
    with pytest.raises(RolloutStoppedError):
        training.iterate(lambda: asked.append(0) or len(asked) > 7)  # 5 steps, then 4 gradient steps
    training.save()
    assert [path.name for path in part.checkpoints.iterdir()] == ["iteration_000001.ckpt"]
    train_teacher.train_teacher(resume=part.path)
    same({**final(whole), "best": 0}, {**final(part), "best": 0})


def test_mixed_precision_keeps_weights_and_decisions_in_full(toy_sims, tmp_path):
    run = train_teacher.train_teacher(small("depth", precision="bf16-mixed", iterations=2), run_root=tmp_path)
    weights = checkpoint.load(run.checkpoints / "iteration_000002.ckpt")["policy"]["weights"]
    assert all(value.dtype in (torch.float32, torch.float64) for value in weights.values())
    assert all(value.isfinite().all() for value in weights.values())


def test_a_depth_policy_that_sees_less_far_than_the_cameras_is_refused(tmp_path):
    config = small("depth", env=dataclasses.replace(SCENES["open"], threads=1))
    with pytest.raises(
        HandsightError, match=r"depth_max_m is 0.6 m, but the cameras of these worlds see as far as 1.1 m"
    ):
        train_teacher.train_teacher(config, run_root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_simulator_is_told_of_once_and_its_successor_once():
    failed, back = {"remote/replaced": 1.0}, {"remote/seconds_restart": 0.84}
    first = "1 of the simulators failed, its worlds are missing and not learnt from"
    assert session.losses(failed, 40) == first
    assert session.losses(back, 40) == "a successor took over after 0.8 s"
    assert session.losses(failed | back, 40) == f"{first}; a successor took over after 0.8 s"
    meanwhile = {"remote/replaced": 0.0, "remote/seconds_restart": 0.0, "remote/lost_rows": 256.0}
    assert session.losses(meanwhile, 40) == session.losses({}, 40) == ""


def test_a_validation_that_was_broken_off_is_made_when_the_run_goes_on(toy_sims, tmp_path, monkeypatch):
    evaluate_in = teacher_training.evaluate_in

    def leave(env, policy, **settings):
        os.kill(os.getpid(), signal.SIGINT)
        return evaluate_in(env, policy, **settings)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(teacher_training, "evaluate_in", leave)
        train_teacher.train_teacher(small(validate_every=4), run_root=tmp_path / "cut")
    cut = Run.open(next((tmp_path / "cut").glob("*/*")))
    assert checkpoint.load(checkpoint.latest(cut.checkpoints))["iteration"] == 3
    train_teacher.train_teacher(resume=cut.path)
    whole = train_teacher.train_teacher(small(validate_every=4), run_root=tmp_path / "whole")
    same(final(cut), final(whole))
    assert [row["step"] for row in cut.metrics()] == [40, 80, 120, 160, 160]
    assert "validation/return" in cut.metrics()[-1]


def test_a_run_has_one_owner(toy_sims, tmp_path):
    run = train_teacher.train_teacher(small(iterations=2), run_root=tmp_path)
    with owned(run.path), pytest.raises(RunError, match=rf"at work in this folder: .*process {os.getpid()}, since"):
        train_teacher.train_teacher(resume=run.path)


def test_a_finished_run_says_that_there_is_nothing_to_do(toy_sims, tmp_path, caplog):
    run = train_teacher.train_teacher(small(iterations=2), run_root=tmp_path)
    with caplog.at_level("INFO"):
        train_teacher.train_teacher(resume=run.path)
    assert f"run {run.path} is finished: nothing to do" in caplog.text


MEMORY = dataclasses.replace(SMALL, actor_keys=("state",), recurrent="gru")


@pytest.mark.parametrize(
    ("changes", "most"), [({"num_envs": 1, "rollout_steps": 1}, 1), ({"policy": MEMORY, "num_envs": 1}, 1)]
)
def test_more_minibatches_than_a_rollout_has_are_refused(changes, most):
    with pytest.raises(HandsightError, match=f"ppo.minibatches=2 is more than a rollout has: expected at most {most}"):
        dataclasses.replace(small(), **changes)


def test_a_recurrent_rollout_deals_as_many_minibatches_as_are_asked_for(toy_sims, tmp_path):
    ppo = PPOConfig(epochs=1, minibatches=16, rate=AdaptiveRate(initial=1e-9, target_kl=None))
    training = TeacherTraining.start(small(policy=MEMORY, ppo=ppo, num_envs=18, rollout_steps=4))
    flat = training.buffer.reward
    assert sorted(part.first.shape[1] for part in training.buffer.minibatches(16, flat, flat)) == [1] * 14 + [2] * 2
    entropy = 3 * (math.log(0.6) + 0.5 * (1 + math.log(2 * math.pi)))  # of three actions, initial_std 0.6
    assert training.iterate()["entropy"] == pytest.approx(entropy, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curriculum": CurriculumConfig({"far": 1.0}, {"wide": 1.0}, "far")}, r"unknown curriculum.start 'far'"),
        ({"curriculum": CurriculumConfig({"near": 1.0}, {"far": 1.0}, "near")}, r"unknown curriculum.goal 'far'"),
        ({"validation_kind": "wdie"}, r"unknown validation_kind 'wdie' \(did you mean wide\?\); available: near, wide"),
    ],
)
def test_an_unknown_kind_of_reset_is_refused_before_a_run_is_made(toy_sims, tmp_path, monkeypatch, changes, message):
    closed = []
    monkeypatch.setattr(TeacherTraining, "close", lambda self: closed.append(self))
    with pytest.raises(HandsightError, match=message):
        train_teacher.train_teacher(small(**changes), run_root=tmp_path / "runs")
    assert len(closed) == 1 and not (tmp_path / "runs").exists()


def test_the_last_iteration_is_validated_and_kept_whatever_its_number(toy_sims, tmp_path):
    run = train_teacher.train_teacher(small(iterations=3), run_root=tmp_path)  # both are due every second iteration
    assert {path.name for path in run.checkpoints.glob("iteration_*")} == {f"iteration_00000{k}.ckpt" for k in (2, 3)}
    assert [row["step"] for row in run.metrics() if "validation/return" in row] == [80, 120]


def test_episodes_that_only_the_normalisers_are_shown_are_not_told_of(toy_sims, tmp_path):
    config = small(rollout_steps=ToyEnv.episode_steps + 1)  # one episode of each world in every rollout
    training = TeacherTraining.start(config, run=Run.create("teacher", config, tmp_path))
    assert [training.iterate()["episodes"] for _ in range(2)] == [8, 8]
