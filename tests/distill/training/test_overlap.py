"""Simulation beside inference (worlds in halves) and beside learning (one update behind)."""

import dataclasses
import threading
from types import SimpleNamespace

import pytest
import torch

from handsight import sims
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import LoadedPolicy
from handsight.distill.training import train_student, train_teacher
from handsight.distill.training.data_parallel import make_fabric
from handsight.distill.training.teacher_config import NEAR_TO_WIDE
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.sims.env_config import RemoteConfig
from handsight.sims.remote.remote_vec_env import join
from handsight.sims.vec_env import VecEnv
from handsight.teachers import (
    PPO,
    ActorCritic,
    ActorCriticConfig,
    EpisodeTracker,
    RolloutBuffer,
    RolloutStoppedError,
    collect,
)

from ..toy_env import ToyEnv
from .test_train_student import quick
from .test_train_teacher import small

PATIENT = RemoteConfig(step_timeout=60)
"""A busy machine must not look like a dead simulator."""
CONFIG = ActorCriticConfig(actor_keys=("state", "proprio"), hidden=(8,), recurrent="gru", recurrent_size=4)


class HalvedToy(VecEnv):
    """A toy whose halves move on their own; notes what happened."""

    def __init__(self, observe, num_envs):
        half = num_envs // 2
        self.halves = [ToyEnv(observe, half), ToyEnv(observe, half, world_offset=half)]
        self.parts = self.spans = (slice(0, half), slice(half, num_envs))
        self.num_envs = num_envs
        first = self.halves[0]
        self.obs_spec, self.action_dim, self.device = first.obs_spec, first.action_dim, first.device
        self.events, self.under_way = [], {}

    def reset(self, seed):
        return torch.cat([env.reset(seed) for env in self.halves])

    def step(self, action):
        return join([env.step(action[part]) for env, part in zip(self.halves, self.spans, strict=True)])

    def send(self, action, part=0):
        assert part not in self.under_way
        self.events.append(("send", part))
        self.under_way[part] = self.halves[part].step(action)

    def receive(self, part=0):
        self.events.append(("receive", part))
        return self.under_way.pop(part)

    def close(self):
        pass


class ByTheMean:
    """Acts without chance, so that the order of decisions does not matter."""

    def __init__(self, policy):
        self.policy, self.train_keys, self.value = policy, policy.train_keys, policy.value

    def act(self, obs, hidden):
        decision = self.policy.act(obs, hidden)
        return decision._replace(action=decision.mean, log_prob=torch.zeros_like(decision.value))


def rollout(halved, stop=lambda: False):
    torch.manual_seed(0)
    env = HalvedToy(CONFIG.train_keys, 6)
    if not halved:
        env.parts = ()
    policy = ActorCritic(CONFIG, env.obs_spec, env.action_dim)
    buffer = RolloutBuffer(env.obs_spec, policy.train_keys, 12, 6, env.action_dim, policy.core.hidden_size)
    episodes = EpisodeTracker(6, ("near", "wide"))
    obs, hidden = env.reset(0), policy.initial_hidden(6)
    for _ in range(2):
        obs, hidden = collect(env, ByTheMean(policy), buffer, obs, hidden, episodes, stop, version=3)
    return env, buffer, episodes, obs, hidden


def test_worlds_in_halves_give_the_same_rollout():
    _, buffer, episodes, obs, hidden = rollout(halved=True)
    _, other, their_episodes, their_obs, their_hidden = rollout(halved=False)
    one, two = buffer.state_dict(), other.state_dict()
    for name in one.keys() - {"obs"}:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-6, msg=name)
    for group in (*CONFIG.train_keys,):
        torch.testing.assert_close(one["obs"][group], two["obs"][group])
        torch.testing.assert_close(obs[group], their_obs[group])
    torch.testing.assert_close(hidden, their_hidden)
    assert buffer.version.eq(3).all()
    figures, by_kind = episodes.summary()
    expected, their_kinds = their_episodes.summary()
    assert figures == pytest.approx(expected) and by_kind == their_kinds and figures["episodes"] > 6


def test_one_half_moves_while_the_policy_decides_for_the_other():
    events = rollout(halved=True)[0].events
    assert events[:6] == [("send", 0), ("send", 1), ("receive", 0), ("send", 0), ("receive", 1), ("send", 1)]
    assert sum(kind == "send" for kind, _ in events) == 2 * 2 * 12


def test_stopping_leaves_no_answer_behind():
    calls = iter([False] * 5 + [True] * 10)
    made = []
    original = HalvedToy.__init__

    def remember(self, *arguments):
        original(self, *arguments)
        made.append(self)

    HalvedToy.__init__ = remember
    try:
        with pytest.raises(RolloutStoppedError):
            rollout(halved=True, stop=lambda: next(calls))
    finally:
        HalvedToy.__init__ = original
    assert made[0].under_way == {}


def test_with_lag_the_worlds_move_while_the_policy_learns(toy_sims, monkeypatch):
    learning, moved = threading.Event(), threading.Event()
    update, step = PPO.update, ToyEnv.step

    def watched_update(self, *arguments):
        learning.set()
        assert moved.wait(10), "no world moved during an update"
        metrics = update(self, *arguments)
        learning.clear()
        moved.clear()
        return metrics

    def watched_step(self, action):
        beside = threading.current_thread() is not threading.main_thread()
        if learning.wait(0.3 if beside else 0):  # a toy's rollout could be over before the update begins
            moved.set()
        return step(self, action)

    monkeypatch.setattr(PPO, "update", watched_update)
    monkeypatch.setattr(ToyEnv, "step", watched_step)
    training = TeacherTraining.start(small(lag=True))
    lags = [training.iterate()["policy_lag"] for _ in range(4)]
    training.close()
    assert lags == [0, 1, 1, 1]


def test_without_lag_every_row_is_of_the_present_policy(toy_sims):
    training = TeacherTraining.start(small())
    assert [training.iterate()["policy_lag"] for _ in range(3)] == [0, 0, 0]
    assert training.buffer.version.eq(2).all()
    training.close()


def test_a_lagging_run_is_resumed(toy_sims, tmp_path):
    run = train_teacher.train_teacher(small(lag=True, iterations=2), run_root=tmp_path)
    config_file = run.path / "config.json"
    config_file.write_text(config_file.read_text().replace('"iterations": 2', '"iterations": 4'))
    train_teacher.train_teacher(resume=run.path)
    rows = [row for row in run.metrics() if "policy_lag" in row]
    assert [row["policy_lag"] for row in rows] == [0, 1, 0, 1]


def test_training_with_remote_simulators_learns_from_the_same_rollouts(ray_cluster):
    config = small("depth", env=sims.EnvConfig(threads=1), num_envs=8, curriculum=NEAR_TO_WIDE, iterations=2)
    figures = []
    for placement in ("", "cpu*2"):
        training = TeacherTraining.start(dataclasses.replace(config, sims=placement, remote=PATIENT))
        figures.append([training.iterate() for _ in range(2)])
        state = {name: value.clone() for name, value in training.policy.state_dict().items()}
        figures[-1].append(state)
        training.close()
    near, far = figures
    assert all(torch.equal(near[2][name], far[2][name]) for name in near[2])
    assert all(row["remote/lost_rows"] == 0 and row["remote/bytes_per_step"] > 0 for row in far[:2])
    assert all(near[i][name] == far[i][name] for i in range(2) for name in ("kl", "loss/value", "lr", "episodes"))


def test_a_student_learns_from_the_same_rollouts_with_remote_simulators(ray_cluster, tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "best.ckpt", {})
    worlds = sims.EnvConfig(threads=1)
    env = sims.make(worlds, CONFIG.train_keys, 1)
    untrained = ActorCritic(CONFIG, env.obs_spec, env.action_dim)
    teacher = LoadedPolicy(untrained, env.signature, worlds, "ActorCritic", tmp_path / "best.ckpt", None)
    env.close()
    monkeypatch.setattr(train_student, "load_policy", lambda path, device="cpu": teacher)
    rollouts = []
    for placement in ("", "cpu*2"):
        config = quick(teacher.path, sims=placement, remote=PATIENT)
        training = train_student.StudentTraining.start(config, make_fabric("cpu"))
        rollouts.append(training.collect(SimpleNamespace(tick=lambda part: None))[0])
        training.close()
    near, far = rollouts
    assert near.keys() == far.keys() and near["stereo"].float().std() > 1
    assert all(torch.equal(near[name], far[name]) for name in near)
