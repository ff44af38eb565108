"""`TeacherTraining`: everything that one iteration of teacher training changes, and how it is put back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from ... import sims
from ...errors import HandsightError
from ...files import explained
from ...sims.vec_env import VecEnv
from ...teachers import PPO, ActorCritic, EpisodeTracker, RolloutBuffer, RolloutStoppedError, collect
from ..evaluation.evaluate import evaluate_in
from ..runs import checkpoint
from ..runs.policy_io import BEST, load_policy, policy_tree
from ..runs.run import Run
from . import data_parallel, memory
from .curriculum import Curriculum
from .session import PERIODIC
from .stale_collection import StaleCollector
from .teacher_config import TeacherConfig
from .warm_start import WarmStart

VALIDATION_SEED = 500_000
"""Seed of the resets that choose the best checkpoint: apart from the training's (small) and the final evaluation's."""
OTHER_RANK = "rank_{}_iteration_*.ckpt"
"""What a rank but the first saves beside it: where its environments stand."""
IMITATED = "warm_start"
"""Folder in the run with the rollouts of a warm start, while it lasts."""


class TeacherTraining:
    """What acts, what learns and where the environments stand. Between two iterations it keeps a copy of all that the
    next one depends on, so that an iteration may be broken off anywhere without a trace."""

    def __init__(self, config: TeacherConfig, fabric: Fabric, env: VecEnv) -> None:
        """Policy with fresh weights, optimiser and curriculum; `start` and `resume` make the rest, and collect."""
        self.config, self.fabric, self.env = config, fabric, env
        self.run: Run | None = None
        """Where checkpoints go; without one it can only `iterate`."""
        self.num_envs = env.num_envs
        """Environments of this rank."""
        self.policy = ActorCritic(config.policy, env.obs_spec, env.action_dim)
        self.ppo = PPO(self.policy, config.ppo, fabric)
        self.curriculum = Curriculum(config.curriculum)
        self.episodes = EpisodeTracker(self.num_envs, env.reset_kinds, env.device)
        self.iteration, self.best = 0, -1.0
        self.warm: WarmStart | None = None
        self.stale: StaleCollector | None = None
        self._validation: VecEnv | None = None
        self._collected = False
        """Whether `buffer` holds a rollout that is still to be learnt from; a resumed run collects it anew."""

    @classmethod
    def start(cls, config: TeacherConfig, fabric: Fabric | None = None, run: Run | None = None) -> TeacherTraining:
        """Begin anew: reset the environments, and show the normalisers a first rollout.

        Raises:
            HandsightError: the policy does not see as far as the cameras, or it would not fit into memory.
        """
        training = cls._made(config, fabric, warm=config.warm_start is not None)
        training.run = run
        training.env.set_reset_mix(training.curriculum.mix)
        training.obs = training.env.reset(config.seed)
        training.env.stagger()
        training.hidden = training.policy.initial_hidden(training.num_envs)
        if training.warm is None:  # the first rollout must not be the first time that the normalisers see anything
            training._collect(training.policy, training.buffer)
            training.ppo.take_in(training.buffer)
            training.episodes.summary()
        training._finished = copy.deepcopy(training._state())
        return training

    @classmethod
    def resume(cls, run: Run, config: TeacherConfig, fabric: Fabric | None = None) -> TeacherTraining:
        """Go on bit for bit from the run's newest checkpoint."""
        newest = checkpoint.latest(run.checkpoints, PERIODIC)
        saved = checkpoint.load(newest)
        training = cls._made(config, fabric, warm=bool(saved["warm"]))
        training.run = run
        if rank := training.fabric.global_rank:
            beside = OTHER_RANK.format(rank).replace(PERIODIC, newest.name)
            saved |= checkpoint.load(run.checkpoints / beside)
        with explained(run.path):
            training._restore(saved)
        training._finished = copy.deepcopy(training._state())
        return training

    @classmethod
    def _made(cls, config: TeacherConfig, fabric: Fabric | None, warm: bool) -> TeacherTraining:
        """With environments and buffers, but nothing collected."""
        torch.manual_seed(config.seed)
        fabric = fabric or data_parallel.make_fabric(config.device, config.precision, config.ranks)
        num_envs = config.num_envs // fabric.world_size
        if not fabric.global_rank:
            share = num_envs if fabric.device.type == "cuda" else config.num_envs  # ranks share a host
            memory.announce(memory.of_teacher(config), share)
        env = _make_env(config, fabric, num_envs)
        _check_range(config, env)
        training = cls(config, fabric, env)
        training.buffer = training._new_buffer()
        training.warm = training._warm_start() if warm else None
        training.stale = StaleCollector(training.policy, training._new_buffer(), fabric) if config.lag else None
        if fabric.global_rank:  # the same weights everywhere, but actions of its own
            torch.manual_seed(config.seed + 1_000_003 * fabric.global_rank)
        return training

    @property
    def folder(self) -> Path:
        """The run's folder. Raises HandsightError where there is none."""
        if self.run is None:
            raise HandsightError("TeacherTraining: expected a run to save into, found none")
        return self.run.path

    @property
    def steps(self) -> int:
        """Environment steps that were learnt from."""
        return self.iteration * self.config.num_envs * self.config.rollout_steps

    @property
    def title(self) -> str:
        """The run's name and what its rollouts take."""
        buffers = [self.buffer, *(self.warm.buffers if self.warm else [])]
        return f"{self.config.run_name} ({sum(buffer.size for buffer in buffers) / 2**20:.0f} MiB of rollouts)"

    def iterate(self, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Collect and update once. Returns metrics by name.

        Raises:
            RolloutStoppedError: `stop` said so; the training is of no use any more, but `save` still is.
        """
        start = time.perf_counter()
        stale = self.stale if not self.warm else None
        learner, buffer, seconds = self._rollout(stop)
        metrics = {"policy_lag": self.ppo.updates - float(buffer.version.float().mean())}
        if stale:  # the environments go on while the policy learns
            metrics |= self._summarise()
            stale.begin(self.env, self.policy, self.ppo.updates, self.obs, self.hidden, self.episodes, stop)
        before = time.perf_counter()
        metrics |= learner.update(buffer, stop)
        if stale:
            metrics["seconds/update"] = time.perf_counter() - before
            self.buffer, self.obs, self.hidden, seconds = stale.take(buffer)
            self._collected = True
        else:
            metrics |= self._summarise()
            if self.warm:
                self.warm.write_last(self.folder / IMITATED)
                self.warm = None if self.warm.done else self.warm
            metrics["seconds/update"] = time.perf_counter() - before
        metrics |= {"seconds/collect": seconds} | self.env.statistics()
        self.iteration += 1
        self._finished = copy.deepcopy(self._state())
        rate = self.config.num_envs * self.config.rollout_steps / (time.perf_counter() - start)
        return metrics | {"iteration": float(self.iteration), "fps": rate}

    def _rollout(self, stop: Callable[[], bool]) -> tuple[PPO | WarmStart, RolloutBuffer, float]:
        """Who learns now, a full buffer, and the seconds that filling it took, if it was not collected before."""
        if self.warm:
            buffer = self.warm.buffer
            return self.warm, buffer, self._collect(self.warm.actor, buffer, stop)
        return self.ppo, self.buffer, 0.0 if self._collected else self._collect(self.policy, self.buffer, stop)

    def _collect(self, actor: Any, buffer: RolloutBuffer, stop: Callable[[], bool] = lambda: False) -> float:
        """Fill a buffer; returns the seconds that it took."""
        start, version = time.perf_counter(), self.ppo.updates
        with self.fabric.autocast():
            after = collect(self.env, actor, buffer, self.obs, self.hidden, self.episodes, stop, version)
        self.obs, self.hidden = after
        return time.perf_counter() - start

    def _summarise(self) -> dict[str, float]:
        """What is said and done of the episodes that ended, on all ranks."""
        metrics, by_kind = data_parallel.merge(data_parallel.gather(self.episodes.summary()))
        self.curriculum.update(by_kind)
        self.env.set_reset_mix(self.curriculum.mix)
        return metrics | {"curriculum": self.curriculum.progress}

    def validate(self, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """How well the mean of the policy does on held-out resets; the best policy so far becomes best.ckpt."""

        def watch(*_: Any) -> None:
            if stop():
                raise RolloutStoppedError

        if self.fabric.global_rank:  # all have the same policy: the first one asks it, the others go on
            return {}
        count = min(self.config.validation_episodes, self.config.num_envs)
        if self._validation is None:
            place = sims.worlds_device(self.config.env, str(self.fabric.device))
            self._validation = sims.make(self.config.env, self.policy.obs_keys, count, device=place)
            self._validation.set_reset_mix({self.config.validation_kind: 1.0})
        result = evaluate_in(
            self._validation, self.policy, self.config.validation_episodes, VALIDATION_SEED, watch=watch
        )
        success = float(result.success_at_end.mean())
        if success > self.best:
            self.best = self._finished["best"] = success
            checkpoint.save(self.folder / "checkpoints" / BEST, self._policy_tree())
        return {
            "validation/success_at_end": success,
            "validation/success_once": float(result.success_once.mean()),
            "validation/return": float(result.episode_return.mean()),
        }

    def save(self) -> None:
        """Write a checkpoint of the last finished iteration, and drop the oldest ones."""
        rank = self.fabric.global_rank
        pattern = OTHER_RANK.format(rank) if rank else PERIODIC
        tree = {"worlds": self._finished["worlds"]} if rank else self._finished
        checkpoint.save(self.folder / "checkpoints" / pattern.replace("*", f"{self._finished['iteration']:06d}"), tree)
        checkpoint.keep_last(self.folder / "checkpoints", self.config.keep_checkpoints, pattern)
        if rank:
            return
        if self._finished["warm"] is None:
            for rollout in (self.folder / IMITATED).glob("*.ckpt"):
                checkpoint.remove(rollout)

    def close(self) -> None:
        """Release environments and collecting thread."""
        if self.stale:
            self.stale.close()
        for env in (self.env, self._validation):
            if env is not None:
                env.close()

    def _state(self) -> dict[str, Any]:
        return self._policy_tree() | {
            "ppo": self.ppo.state_dict(),
            "warm": self.warm.state_dict() if self.warm else None,
            "curriculum": self.curriculum.state_dict(),
            "iteration": self.iteration,
            "best": self.best,
            "worlds": {
                "env": self.env.state_dict(),
                "episodes": self.episodes.state_dict(),
                "hidden": self.hidden,
                "random": checkpoint.rng_state(),
            },
        }

    def _policy_tree(self) -> dict[str, Any]:
        config, origin = self.config, self.config.warm_start
        tree = policy_tree(
            self.policy, config.policy, self.env.action_dim, self.env.signature, config.env, self.policy.train_keys
        )
        return tree | {"warm_started_from": origin and str(origin)}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        simulators = len(saved["worlds"]["env"].get("simulators", ()))
        if bool(simulators) != bool(self.config.sims):
            where = f"by {simulators} simulators" if simulators else "in the learner's process"
            wanted = f"--sims with as many, e.g. cpu*{simulators}" if simulators else "no --sims"
            raise HandsightError(f"resume {self.folder}: its worlds were saved {where}; expected {wanted}")
        self.policy.load_state_dict(saved["policy"]["weights"])
        self.ppo.load_state_dict(saved["ppo"])
        if self.warm:
            self.warm.load_state_dict(saved["warm"])
            self.warm.read(self.folder / IMITATED)
        self.curriculum.load_state_dict(saved["curriculum"])
        self.iteration, self.best = saved["iteration"], saved["best"]
        self.obs = self.env.load_state_dict(saved["worlds"]["env"])
        self.episodes.load_state_dict(saved["worlds"]["episodes"])
        self.hidden = saved["worlds"]["hidden"].to(self.fabric.device)
        checkpoint.set_rng_state(saved["worlds"]["random"])

    def _new_buffer(self, share: int = 1) -> RolloutBuffer:
        """share: how many buffers divide the memory budget."""
        config = self.config
        return RolloutBuffer(
            self.env.obs_spec,
            self.policy.train_keys,
            config.rollout_steps,
            self.num_envs,
            self.env.action_dim,
            self.policy.core.hidden_size,
            self.fabric.device,
            int(config.memory_budget_gib * 2**30) // share,
        )

    def _warm_start(self) -> WarmStart:
        origin, config = self.config.warm_start, self.config.warm
        assert origin is not None
        loaded = load_policy(origin, str(self.fabric.device))
        loaded.check(self.env.signature)
        if not isinstance(loaded.policy, ActorCritic):
            raise HandsightError(f"warm start from {origin}: expected a teacher, found a {loaded.kind}")
        buffers = [self._new_buffer(config.iterations + 1) for _ in range(config.iterations)]
        return WarmStart(self.ppo, loaded.policy, config, buffers)


def _make_env(config: TeacherConfig, fabric: Fabric, num_envs: int) -> VecEnv:
    """This rank's share of the environments, here or where the simulators are."""
    keys, rank, learner = config.policy.train_keys, fabric.global_rank, str(fabric.device)
    if config.sims:
        ranks = fabric.world_size
        return sims.make_remote(config.env, keys, num_envs, config.sims, config.remote, learner, rank, ranks)
    return sims.make(config.env, keys, num_envs, num_envs * rank, sims.worlds_device(config.env, learner))


def _check_range(config: TeacherConfig, env: VecEnv) -> None:
    """Whoever trains in other scenes must not clip away what their cameras show."""
    policy, far = config.policy, env.signature.get("rig", {}).get("depth_max", 0.0)
    if "depth" in policy.actor_keys and policy.depth_max_m < far:
        env.close()
        raise HandsightError(
            f"teacher: policy.depth_max_m is {policy.depth_max_m} m, but the cameras of these worlds see as far as "
            f"{far} m; start from TeacherConfig.depth().with_worlds(env)"
        )
