from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from handsight.distill.runs import checkpoint
from handsight.distill.training import data_parallel, train_teacher
from handsight.distill.training.data_parallel import merge
from handsight.distill.training.teacher_config import NEAR_TO_WIDE, TeacherConfig
from handsight.errors import HandsightError
from handsight.policies.gaussian import log_prob
from handsight.sims import EnvConfig
from handsight.teachers import (
    PPO,
    ActorCritic,
    ActorCriticConfig,
    AdaptiveRate,
    EpisodeTracker,
    PPOConfig,
    RolloutBuffer,
    collect,
)

from ..toy_env import ToyEnv
from .test_train_teacher import same, small

RANKS, WORLDS, STEPS = 2, 6, 10
POLICY = ActorCriticConfig(actor_keys=("state", "proprio"), hidden=(16,), initial_std=0.6)
WHOLE_BATCHES = PPOConfig(epochs=3, minibatches=1, rate=AdaptiveRate(initial=3e-3, target_kl=0.005))


class SharedNoise:
    """Acts like the policy, with the noise that one rank with all worlds would draw for these."""

    def __init__(self, policy, worlds):
        self.policy, self.worlds, self.train_keys = policy, worlds, policy.train_keys
        self.draws = torch.Generator().manual_seed(5)

    def act(self, obs, hidden):
        own = self.policy.act(obs, hidden)
        noise = torch.randn(RANKS * WORLDS, own.mean.shape[1], generator=self.draws)[self.worlds]
        action = own.mean + own.std * noise
        return own._replace(action=action, log_prob=log_prob(own.mean, own.std, action))

    def value(self, obs, hidden):
        return self.policy.value(obs, hidden)


def learn(fabric, iterations=3):
    """What this rank's policy has become: its weights, its normalisers and the learning rate."""
    share = RANKS * WORLDS // fabric.world_size
    worlds = slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)
    torch.manual_seed(0)
    env = ToyEnv(POLICY.train_keys, share, worlds.start, end_on_success=True)
    policy = ActorCritic(POLICY, env.obs_spec, env.action_dim)
    ppo = PPO(policy, WHOLE_BATCHES, fabric)
    buffer = RolloutBuffer(env.obs_spec, policy.train_keys, STEPS, share, env.action_dim)
    actor, episodes = SharedNoise(policy, worlds), EpisodeTracker(share)
    obs, hidden, valid = env.reset(0), policy.initial_hidden(share), []
    for _ in range(iterations):
        obs, hidden = collect(env, actor, buffer, obs, hidden, episodes)
        valid.append(int(buffer.valid.sum()))
        ppo.update(buffer)
    return {name: value.numpy() for name, value in policy.state_dict().items()}, ppo.rate, data_parallel.gather(valid)


def ranks(count):
    if count == 1:
        return Fabric(accelerator="cpu", devices=1)
    strategy = DDPStrategy(start_method="fork", broadcast_buffers=False)
    return Fabric(accelerator="cpu", devices=count, strategy=strategy)


def test_ranks_with_their_worlds_equal_one_rank_with_all_of_them():
    one, rate, _ = learn(ranks(1))
    many, their_rate, valid = ranks(RANKS).launch(learn)
    assert valid[0] != valid[1], "with equal counts the weighting is not tested"
    assert rate == their_rate != WHOLE_BATCHES.rate.initial
    assert float(one["normalizers.state.count"]) == sum(map(sum, valid))
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.fixture
def forked(monkeypatch):
    """Ranks that begin as copies of the test's process, toy environment included."""
    monkeypatch.setattr(data_parallel, "START_METHOD", "fork")


def test_a_resumed_run_on_two_ranks_is_bit_exact(toy_sims, tmp_path, forked):
    config = small(ranks=2)
    whole = train_teacher.train_teacher(config, run_root=tmp_path / "whole")
    part = train_teacher.train_teacher(config, run_root=tmp_path / "part")
    for name in ("iteration_000004.ckpt", "rank_1_iteration_000004.ckpt"):
        checkpoint.remove(part.checkpoints / name)
    train_teacher.train_teacher(resume=part.path)
    for name in ("iteration_000004.ckpt", "rank_1_iteration_000004.ckpt"):
        one, other = (checkpoint.load(run.checkpoints / name) for run in (whole, part))
        for tree in (one, other):
            tree["worlds"]["random"].pop("python")  # inherited from the test, and nobody draws from it
        same({**one, "best": 0}, {**other, "best": 0})
    assert [row["step"] for row in whole.metrics()] == [row["step"] for row in part.metrics()]
    assert whole.metrics()[-1]["step"] == config.iterations * config.num_envs * config.rollout_steps


def test_ranks_live_in_different_worlds(toy_sims, tmp_path, forked):
    run = train_teacher.train_teacher(small(ranks=2, iterations=2), run_root=tmp_path)
    first = checkpoint.load(run.checkpoints / "iteration_000002.ckpt")["worlds"]["env"]
    other = checkpoint.load(run.checkpoints / "rank_1_iteration_000002.ckpt")["worlds"]["env"]
    assert len(first["object"]) == len(other["object"]) == 4
    assert not (first["object"][:, None] == other["object"]).all(2).any()  # no world of the one is one of the other


def test_an_episode_weighs_the_same_on_every_rank():
    many = {"return": 1.0, "episodes": 30.0, "diverged": 1.0, "reward/reach": 0.2, "success/near": 0.5}
    few = {"return": 5.0, "episodes": 10.0, "diverged": 2.0, "reward/reach": 0.4, "success/near": 1.0}
    idle = {"episodes": 0.0, "diverged": 0.0, "reward/reach": 0.3}
    metrics, by_kind = merge([(many, {"near": (15, 30)}), (few, {"near": (10, 10)}), (idle, {})])
    assert metrics["return"] == pytest.approx(2.0)
    assert metrics["episodes"] == 40 and metrics["diverged"] == 3
    assert metrics["reward/reach"] == pytest.approx(0.3)
    assert by_kind == {"near": (25, 40)} and metrics["success/near"] == 25 / 40


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": 3, "num_envs": 256}, "num_envs=256 cannot be shared by ranks=3"),
        ({"ranks": 2, "lag": True}, "ranks=2 goes without lag"),
    ],
)
def test_what_cannot_go_together_is_refused(changes, words):
    with pytest.raises(HandsightError, match=words):
        replace(TeacherConfig(), **changes)


@pytest.mark.slow
def test_ranks_begin_as_processes_of_their_own(tmp_path):
    """As a user's do: nothing is inherited, so all that they are told travels to them."""
    config = small(ranks=2, env=EnvConfig(threads=1), curriculum=NEAR_TO_WIDE, iterations=2, validate_every=0)
    run = train_teacher.train_teacher(config, run_root=tmp_path)
    assert [row["step"] for row in run.metrics()] == [40, 80]
    names = {path.name for path in run.checkpoints.iterdir()}
    assert names == {"iteration_000002.ckpt", "rank_1_iteration_000002.ckpt"}
