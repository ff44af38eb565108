"""Our PPO on Gymnasium tasks: `python benchmarks/gymnasium_tasks.py [Pendulum-v1] [HalfCheetah-v5] [--seeds 0 1 2]`.

Prints a table and writes benchmarks/results/gymnasium_tasks.json. Each return is the mean over 20 episodes that the
trained policy, acting with its mean, runs on seeds it has not trained on. HalfCheetah needs `imageio` beside mujoco.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import gymnasium
import numpy as np
import torch

from handsight.policies import zero_where_first
from handsight.sims.gymnasium import GymnasiumVecEnv
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

RESULTS = Path(__file__).parent / "results" / "gymnasium_tasks.json"


@dataclass(frozen=True)
class Task:
    """A Gymnasium task and how to learn it."""

    name: str
    goal: float
    """Mean return to reach."""
    steps: int
    """Environment steps in all."""
    num_envs: int
    """Worlds."""
    rollout: int
    """Steps per world and update."""
    policy: ActorCriticConfig
    ppo: PPOConfig


ONE_GROUP = {"actor_keys": ("state",), "critic_keys": ("state",)}
TASKS = {
    "Pendulum-v1": Task(
        name="Pendulum-v1",
        goal=-250.0,
        steps=200_000,
        num_envs=16,
        rollout=64,
        policy=ActorCriticConfig(**ONE_GROUP, hidden=(64, 64), initial_std=0.6),
        ppo=PPOConfig(
            gamma=0.95, epochs=10, value_clip=None, reward_scale=0.1, rate=AdaptiveRate(initial=1e-3, target_kl=0.02)
        ),
    ),
    "HalfCheetah-v5": Task(
        name="HalfCheetah-v5",
        goal=1500.0,
        steps=1_000_000,
        num_envs=16,
        rollout=128,
        policy=ActorCriticConfig(**ONE_GROUP, hidden=(256, 128), initial_std=0.6),
        ppo=PPOConfig(
            gamma=0.99, epochs=10, minibatches=8, value_clip=None, reward_scale=0.1, rate=AdaptiveRate(initial=3e-4)
        ),
    ),
}


def train(task: Task, seed: int, verbose: bool = False) -> ActorCritic:
    """The policy after `task.steps` steps."""
    torch.manual_seed(seed)
    env = worlds(task.name, task.num_envs)
    policy = ActorCritic(task.policy, env.obs_spec, env.action_dim)
    ppo = PPO(policy, task.ppo)
    buffer = RolloutBuffer(env.obs_spec, policy.train_keys, task.rollout, env.num_envs, env.action_dim)
    episodes = EpisodeTracker(env.num_envs)
    obs, hidden = env.reset(1000 * seed), policy.initial_hidden(env.num_envs)
    for update in range(task.steps // (task.num_envs * task.rollout)):
        obs, hidden = collect(env, policy, buffer, obs, hidden, episodes)
        metrics = ppo.update(buffer) | episodes.summary()[0]
        if verbose and update % 20 == 19:
            shown = ("return", "kl", "lr", "std", "explained_variance")
            print(update, " ".join(f"{name} {metrics[name]:.3g}" for name in shown if name in metrics), flush=True)
    env.close()
    return policy


@torch.no_grad()
def evaluate(task: Task, policy: ActorCritic, seed: int, episodes: int = 20) -> float:
    """Mean return of the first episode of each of `episodes` new worlds, acting with the mean."""
    env = worlds(task.name, episodes)
    obs, hidden = env.reset(1_000_000 + 1000 * seed), policy.initial_hidden(episodes)
    returns, over = torch.zeros(episodes), torch.zeros(episodes, dtype=torch.bool)
    while not over.all():
        mean, _, hidden = policy(obs, hidden)
        step = env.step(mean)
        returns += torch.where(over, 0.0, step.reward)
        over |= step.terminated | step.truncated
        obs, hidden = step.obs, zero_where_first(hidden, step.first)
    env.close()
    return float(returns.mean())


def worlds(name: str, count: int) -> GymnasiumVecEnv:
    """`count` worlds in this process."""
    return GymnasiumVecEnv(gymnasium.make_vec(name, num_envs=count, vectorization_mode="sync"))


def measure(task: Task, seeds: list[int], verbose: bool) -> dict:
    """Train and evaluate with each seed."""
    rows = []
    for seed in seeds:
        start = time.perf_counter()
        policy = train(task, seed, verbose)
        seconds = time.perf_counter() - start
        rows.append({"seed": seed, "return": evaluate(task, policy, seed), "seconds": seconds})
        print(
            f"{task.name:16} seed {seed}  return {rows[-1]['return']:9.1f}  goal {task.goal:9.1f}  {seconds:6.0f} s",
            flush=True,
        )
    mean = float(np.mean([row["return"] for row in rows]))
    return {"settings": asdict(task), "runs": rows, "mean_return": mean, "goal": task.goal}


def machine() -> dict:
    """What it ran on."""
    names = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
    }


def main() -> None:
    """Measure the tasks named on the command line, all by default; results of others are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="task", help=", ".join(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tasks": {}}
    for name in options.tasks:
        known["tasks"][name] = measure(TASKS[name], options.seeds, options.verbose)
        known["machine"] = machine()
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
