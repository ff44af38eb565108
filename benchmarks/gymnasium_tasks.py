"""Our PPO on Gymnasium tasks: `python benchmarks/gymnasium_tasks.py [Pendulum-v1] [HalfCheetah-v5] [--seeds 0 1 2]`.

Prints a table and writes benchmarks/results/gymnasium_tasks.json, seed by seed. Each return is the mean over 20
episodes that the trained policy, acting with its mean, runs on seeds it has not trained on. HalfCheetah needs `imageio`
beside mujoco, as Gymnasium's mujoco tasks import it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

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
RATE = AdaptiveRate(
    initial=1e-3,
    target_kl=0.02,
    up=1.3,
    down=1.3,
    raise_below=0.5,
    lower_above=2.0,
    minimum=1e-4,
    maximum=2e-3,
    every="update",
)
TASKS = {
    "Pendulum-v1": Task(
        name="Pendulum-v1",
        goal=-250.0,
        steps=200_000,
        num_envs=32,
        rollout=64,
        policy=ActorCriticConfig(**ONE_GROUP, hidden=(64, 64), initial_std=0.6, min_std=0.1),
        ppo=PPOConfig(
            gamma=0.95,
            epochs=10,
            minibatches=16,
            value_clip=None,
            reward_scale=0.1,
            rate=replace(RATE, target_kl=0.01, minimum=5e-5, maximum=1e-3),
        ),
    ),
    "HalfCheetah-v5": Task(
        name="HalfCheetah-v5",
        goal=1500.0,
        steps=300_000,
        num_envs=16,
        rollout=128,
        policy=ActorCriticConfig(**ONE_GROUP, hidden=(256, 128), initial_std=0.4),
        ppo=PPOConfig(
            gamma=0.98,
            epochs=10,
            minibatches=8,
            value_clip=None,
            reward_scale=0.02,
            rate=replace(RATE, initial=5e-4, target_kl=0.016),
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


def measure(task: Task, seed: int, verbose: bool) -> dict:
    """Train and evaluate with one seed."""
    start = time.perf_counter()
    policy = train(task, seed, verbose)
    seconds = time.perf_counter() - start
    result = evaluate(task, policy, seed)
    print(f"{task.name:16} seed {seed}  return {result:9.1f}  goal {task.goal:9.1f}  {seconds:6.0f} s", flush=True)
    return {"seed": seed, "return": result, "seconds": seconds, "machine": machine()}


def write(task: Task, row: dict) -> None:
    """Add one result to the file; one of the same task and seed is replaced, those of other settings are dropped."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    settings = json.loads(json.dumps(asdict(task)))
    known = results.get(task.name, {})
    rows = known["runs"] if known.get("settings") == settings else []
    rows = sorted([*(other for other in rows if other["seed"] != row["seed"]), row], key=lambda one: one["seed"])
    mean = float(np.mean([one["return"] for one in rows]))
    results[task.name] = {"goal": task.goal, "mean_return": mean, "runs": rows, "settings": settings}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


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
    """Measure the tasks named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="task", help=", ".join(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    for name in options.tasks:
        for seed in options.seeds:
            write(TASKS[name], measure(TASKS[name], seed, options.verbose))


if __name__ == "__main__":
    main()
