"""PPO on two tasks small enough to be learnt while one waits."""

import torch
from tensordict import TensorDict

from handsight.sims.vec_env import ArraySpec, Step, VecEnv
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


class Task(VecEnv):
    """Episodes of 8 steps in 64 worlds, with NEXT_STEP autoreset; a subclass says what is seen and what pays."""

    num_envs, action_dim, control_dt, episode_steps = 64, 1, 0.1, 8
    device = torch.device("cpu")
    obs_spec = {"state": ArraySpec((2,), torch.float32)}  # noqa: RUF012
    signature = {}  # noqa: RUF012

    def reset(self, seed):
        self.random = torch.Generator().manual_seed(seed)
        self.clock, self.over = torch.zeros(self.num_envs), torch.ones(self.num_envs, dtype=torch.bool)
        self.position, self.cue = torch.zeros(self.num_envs), torch.zeros(self.num_envs)
        self.begin(self.over)
        self.over = torch.zeros_like(self.over)
        return self.observe()

    def begin(self, worlds):
        draw = torch.rand(2, self.num_envs, generator=self.random) * 2 - 1
        self.position, self.cue = (
            torch.where(worlds, draw[0], self.position),
            torch.where(worlds, draw[1].sign(), self.cue),
        )
        self.clock = torch.where(worlds, 0.0, self.clock)

    def step(self, action):
        first, action = self.over, action[:, 0].clamp(-1, 1)
        self.clock = self.clock + 1
        reward = self.pay(action)
        self.begin(first)
        self.over = (self.clock >= self.episode_steps) & ~first
        none = torch.zeros_like(first)
        return Step(self.observe(), torch.where(first, 0.0, reward), none, self.over, first, ~first)

    def close(self):
        pass


class Reach(Task):
    """Go to the origin."""

    def pay(self, action):
        self.position = self.position + 0.5 * action
        return -self.position.abs()

    def observe(self):
        return TensorDict({"state": torch.stack([self.position, self.clock / 8], 1)}, [self.num_envs])


class Recall(Task):
    """Do what the cue said, which is shown at the first step only."""

    def pay(self, action):
        return -(action - self.cue).square()

    def observe(self):
        shown = torch.where(self.clock == 0, self.cue, 0.0)
        return TensorDict({"state": torch.stack([shown, self.clock / 8], 1)}, [self.num_envs])


def learn(task, updates, recurrent="none"):
    """Mean return of the last tenth of the updates."""
    torch.manual_seed(0)
    env = task()
    keys = ("state",)
    policy = ActorCritic(
        ActorCriticConfig(keys, keys, hidden=(32, 32), recurrent=recurrent, recurrent_size=32), env.obs_spec, 1
    )
    ppo = PPO(policy, PPOConfig(gamma=0.9, value_clip=None, rate=AdaptiveRate(initial=3e-3)))
    buffer = RolloutBuffer(env.obs_spec, keys, 16, env.num_envs, 1, policy.core.hidden_size)
    obs, hidden, episodes, returns = env.reset(0), policy.initial_hidden(env.num_envs), EpisodeTracker(env.num_envs), []
    for _ in range(updates):
        obs, hidden = collect(env, policy, buffer, obs, hidden, episodes)
        ppo.update(buffer)
        returns.append(episodes.summary()[0]["return"])
    return sum(returns[-updates // 10 :]) / (updates // 10)


def test_it_solves_a_reaching_task():
    assert learn(Reach, updates=30) > -0.8  # doing nothing gives -4; two steps at most are needed


def test_a_memory_recalls_what_is_no_longer_seen():
    assert learn(Recall, updates=25, recurrent="gru") > -1  # doing nothing gives -8


def test_without_memory_it_cannot_be_recalled():
    assert learn(Recall, updates=20) < -6  # the best is -7: the first step is seen
