"""Our PPO beside Stable-Baselines3's and rsl_rl's: the same environments, network, batch and number of steps.

    uv run --group peers python benchmarks/peers.py [ours ours+curriculum sb3 rsl_rl] [--seeds 0 1 2 3 4]

Each learns to grasp from `state` and `proprio` with wide resets only, 401,408 steps of 256 environments, then acts by
its mean from the same 512 held-out resets. Adds to benchmarks/results/peers.json, seed by seed. The peers keep their
defaults but for what is made equal (`SAME`) and what their own documentation calls for (normalised observations).
SB3 and rsl_rl take our environments through the adapters that come with the package. Rows without `adapter` were
measured before: their peers also learnt from the rows in which our environments reset (NEXT_STEP), 1 of 37.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from gymnasium_tasks import machine
from tensordict import TensorDict
from torch import Tensor

from handsight import sims
from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.training.curriculum import CurriculumConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.policies import Policy
from handsight.sims.env_config import EnvConfig

RESULTS = Path(__file__).parent / "results" / "peers.json"
KEYS = ("state", "proprio")
NUM_ENVS, ROLLOUT, ITERATIONS = 256, 16, 98
EPISODES = 512
PLAIN = TeacherConfig.state()
SAME = {
    "gamma": PLAIN.ppo.gamma, "lambda": PLAIN.ppo.lam, "epochs": PLAIN.ppo.epochs, "clip": PLAIN.ppo.clip,
    "minibatches": PLAIN.ppo.minibatches, "hidden": list(PLAIN.policy.hidden), "rate": PLAIN.ppo.rate.initial,
    "initial_std": PLAIN.policy.initial_std,
}  # fmt: skip
WIDE = CurriculumConfig(start={"wide": 1.0}, goal={"wide": 1.0}, gate="wide")

WIDE_ONLY, TOGETHER = replace(PLAIN, curriculum=WIDE), replace(PLAIN.ppo, clip_critic_apart=False)
"""What `ours` learns with, and PPO as it was before."""
FROM_ABOVE = CurriculumConfig(start={"easy": 1.0}, goal={"easy": 0.2, "wide": 0.8}, low=0.3, high=0.8)
"""The curriculum of the first edition's state teachers."""


class Flat(Policy):
    """A peer's actor as one of our policies."""

    obs_keys = KEYS

    def __init__(self, act: Callable[[TensorDict], Tensor]) -> None:
        """act: observation groups (N, ...) -> (N, A) mean action."""
        super().__init__()
        self.act = act

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, 0)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.act(obs)
        return mean, torch.ones_like(mean), hidden


def environments() -> Any:
    """The environments that all learn in; their clocks are spread over an episode."""
    env = sims.make(EnvConfig(), KEYS, NUM_ENVS)
    env.set_reset_mix({"wide": 1.0})
    return env


def ours(seed: int, config: TeacherConfig | None = None) -> Policy:
    """Our state teacher as shipped, without its curriculum."""
    training = TeacherTraining.start(replace(config or WIDE_ONLY, seed=seed, num_envs=NUM_ENVS, rollout_steps=ROLLOUT))
    for _ in range(ITERATIONS):
        training.iterate()
    training.close()
    return training.policy


def sb3(seed: int) -> Policy:
    """Stable-Baselines3's PPO."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    from handsight.sims.adapters.sb3 import SB3VecEnv

    worlds = VecNormalize(SB3VecEnv(environments(), stagger=True), norm_reward=False)
    model = PPO(
        "MlpPolicy", worlds, learning_rate=SAME["rate"], n_steps=ROLLOUT, n_epochs=SAME["epochs"],
        batch_size=NUM_ENVS * ROLLOUT // SAME["minibatches"], gamma=SAME["gamma"], gae_lambda=SAME["lambda"],
        clip_range=SAME["clip"], seed=seed, device="cpu",
        policy_kwargs={"net_arch": SAME["hidden"], "activation_fn": torch.nn.ELU,
                       "log_std_init": float(np.log(SAME["initial_std"]))},
    )  # fmt: skip
    model.learn(ITERATIONS * ROLLOUT * NUM_ENVS)
    worlds.training = False

    def act(obs: TensorDict) -> Tensor:
        flat = torch.cat([obs[key] for key in KEYS], dim=-1).numpy()
        return torch.from_numpy(model.predict(worlds.normalize_obs(flat), deterministic=True)[0])

    worlds.close()
    return Flat(act)


def rsl_rl(seed: int, schedule: str = "fixed") -> Policy:
    """rsl_rl's PPO, with the fixed rate or its adaptive one."""
    from rsl_rl.runners import OnPolicyRunner

    from handsight.sims.adapters.rsl_rl import RslRlVecEnv

    torch.manual_seed(seed)
    worlds = RslRlVecEnv(environments(), seed, stagger=True)
    model = {
        "class_name": "MLPModel", "hidden_dims": SAME["hidden"], "activation": "elu", "obs_normalization": True
    }  # fmt: skip
    config = {
        "num_steps_per_env": ROLLOUT, "save_interval": 10**9, "obs_groups": {"actor": [*KEYS], "critic": [*KEYS]},
        "actor": model | {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": SAME["initial_std"]}},
        "critic": dict(model),
        "algorithm": {
            "class_name": "PPO", "num_learning_epochs": SAME["epochs"], "num_mini_batches": SAME["minibatches"],
            "clip_param": SAME["clip"], "gamma": SAME["gamma"], "lam": SAME["lambda"], "learning_rate": SAME["rate"],
            "entropy_coef": 0.0, "schedule": schedule,
        },
    }  # fmt: skip
    runner = OnPolicyRunner(worlds, config, log_dir=None, device="cpu")
    runner.learn(ITERATIONS)
    actor = runner.get_inference_policy("cpu")
    worlds.env.close()
    return Flat(actor)


LEARNERS: dict[str, tuple[Callable[[int], Policy], str | None]] = {
    "ours": (ours, None),
    "ours, gradients clipped together": (lambda seed: ours(seed, replace(WIDE_ONLY, ppo=TOGETHER)), None),
    "ours+curriculum": (lambda seed: ours(seed, PLAIN), None),
    "ours+curriculum from above": (lambda seed: ours(seed, replace(PLAIN, curriculum=FROM_ABOVE)), None),
    "sb3": (sb3, "stable-baselines3"),
    "rsl_rl": (rsl_rl, "rsl-rl-lib"),
    "rsl_rl adaptive": (lambda seed: rsl_rl(seed, "adaptive"), "rsl-rl-lib"),
}


def measure(name: str, seed: int) -> dict[str, Any]:
    """Train and evaluate with one seed."""
    learn, package = LEARNERS[name]
    start = time.process_time()
    policy = learn(seed)
    seconds = time.process_time() - start
    with torch.no_grad():
        result = evaluate(policy, EnvConfig(), episodes=EPISODES, reset_kind="wide")
    success = float(result.success_at_end.mean())
    print(f"{name:16} seed {seed}  success {success:.3f}  {seconds:5.0f} CPU s", flush=True)
    return {
        "learner": name, "version": package and version(package), "seed": seed, "success": success,
        "cpu_seconds": round(seconds, 1), "machine": machine(), "adapter": bool(package),
    }  # fmt: skip


def write(row: dict[str, Any]) -> None:
    """Add one result to the file; one of the same learner and seed is replaced."""
    rows = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    rows = [one for one in rows if (one["learner"], one["seed"]) != (row["learner"], row["seed"])] + [row]
    settings = {
        "same": SAME, "steps": ITERATIONS * ROLLOUT * NUM_ENVS, "num_envs": NUM_ENVS, "rollout_steps": ROLLOUT,
        "held_out_resets": EPISODES,
    }  # fmt: skip
    rows.sort(key=lambda one: (one["learner"], one["seed"]))
    RESULTS.write_text(json.dumps({"settings": settings, "runs": rows}, indent=2) + "\n")


def main() -> None:
    """Measure the learners named on the command line, seed by seed in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learners", nargs="*", default=list(LEARNERS), metavar="learner", help=", ".join(LEARNERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    for seed in options.seeds:
        for name in options.learners:
            write(measure(name, seed))


if __name__ == "__main__":
    main()
