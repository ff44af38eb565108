"""`TeacherTraining`: everything that one iteration of teacher training changes, and how it is put back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.fabric import Fabric

from ... import sims
from ...errors import HandsightError
from ...sims.vec_env import VecEnv
from ...teachers import PPO, ActorCritic, EpisodeTracker, RolloutBuffer, RolloutStoppedError, collect
from ..evaluation.evaluate import evaluate_in
from ..runs import checkpoint
from ..runs.policy_io import BEST, load_policy, policy_tree
from ..runs.run import Run
from . import data_parallel, memory
from .curriculum import Curriculum
from .lagging import LaggingCollector
from .teacher_config import TeacherConfig
from .warm_start import WarmStart

VALIDATION_SEED = 500_000
"""Of the resets that choose the best checkpoint: apart from the training's (small) and the final evaluation's."""
PERIODIC = "iteration_*.ckpt"
OTHER_RANK = "rank_{}_iteration_*.ckpt"
"""What a rank but the first saves beside it: its worlds."""
IMITATED = "warm_start"
"""Folder in the run with the rollouts of a warm start, while it lasts."""


class TeacherTraining:
    """What acts, what learns and where the worlds stand. Between two iterations it keeps a copy of all that the next
    one depends on, so that an iteration may be broken off anywhere without a trace."""

    def __init__(
        self,
        config: TeacherConfig,
        run: Run | None = None,
        saved: Mapping[str, Any] | None = None,
        fabric: Fabric | None = None,
    ) -> None:
        """Begins anew, or goes on bit for bit from what `save` wrote.

        Args:
            config: what to train.
            run: where checkpoints go; without one it can only `iterate`.
            saved: a checkpoint's tree.
            fabric: of this rank, where there are several.
        """
        self.config, self._run = config, run
        torch.manual_seed(config.seed)
        self.fabric = fabric or data_parallel.make_fabric(config.device, config.precision, config.ranks)
        self.num_envs = config.num_envs // self.fabric.world_size
        """Worlds of this rank."""
        if not self.fabric.global_rank:
            share = self.num_envs if self.fabric.device.type == "cuda" else config.num_envs  # ranks share a host
            memory.announce(memory.of_teacher(config), share)
        self.env = self._make_worlds()
        self._check_range()
        self.policy = ActorCritic(config.policy, self.env.obs_spec, self.env.action_dim)
        self.ppo = PPO(self.policy, config.ppo, self.fabric)
        self.buffer = self._new_buffer()
        self.curriculum = Curriculum(config.curriculum)
        self.episodes = EpisodeTracker(self.num_envs, self.env.reset_kinds, self.env.device)
        self.warm = self._warm_start() if config.warm_start and (saved is None or saved["warm"]) else None
        self.lagging = LaggingCollector(self.policy, self._new_buffer(), self.fabric) if config.lag else None
        self.iteration, self.best = 0, -1.0
        if self.fabric.global_rank:  # the same weights everywhere, but actions of its own
            torch.manual_seed(config.seed + 1_000_003 * self.fabric.global_rank)
        self._validation: VecEnv | None = None
        self._collected = False
        """Whether `buffer` holds a rollout that is still to be learnt from; a resumed run collects it anew."""
        if saved is None:
            self._begin()
        else:
            self._continue(saved)
        self._finished = copy.deepcopy(self._state())

    @property
    def run(self) -> Run:
        """Where checkpoints go."""
        if self._run is None:
            raise HandsightError("TeacherTraining: expected a run to save into, found none")
        return self._run

    def save_into(self, run: Run) -> Run:
        """From now on checkpoints go there."""
        self._run = run
        return run

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
        lagging = self.lagging if not self.warm else None
        metrics = self._iterate_lagging(lagging, stop) if lagging else self._iterate_in_turns(stop)
        metrics |= self.env.statistics()
        self.iteration += 1
        self._finished = copy.deepcopy(self._state())
        rate = self.config.num_envs * self.config.rollout_steps / (time.perf_counter() - start)
        return metrics | {"iteration": float(self.iteration), "fps": rate}

    def _iterate_in_turns(self, stop: Callable[[], bool]) -> dict[str, float]:
        """The worlds wait while the policy learns."""
        if self.warm:
            actor, learner, buffer = self.warm.actor, self.warm, self.warm.buffer
        else:
            actor, learner, buffer = self.policy, self.ppo, self.buffer
        seconds = self._collect(actor, buffer, stop)
        start = time.perf_counter()
        metrics = {"policy_lag": self._lag(buffer)} | learner.update(buffer, stop) | self._summarise()
        if self.warm:
            self.warm.write_last(self.run.path / IMITATED)
            self.warm = None if self.warm.done else self.warm
        return metrics | {"seconds/collect": seconds, "seconds/update": time.perf_counter() - start}

    def _iterate_lagging(self, lagging: LaggingCollector, stop: Callable[[], bool]) -> dict[str, float]:
        """The worlds go on while the policy learns; the first rollout has to be waited for."""
        if not self._collected:
            self._collect(self.policy, self.buffer, stop)
        metrics = self._summarise() | {"policy_lag": self._lag(self.buffer)}
        lagging.begin(self.env, self.policy, self.ppo.updates, self.obs, self.hidden, self.episodes, stop)
        start = time.perf_counter()
        metrics |= self.ppo.update(self.buffer, stop)
        seconds = time.perf_counter() - start
        self.buffer, self.obs, self.hidden, collecting = lagging.take(self.buffer)
        self._collected = True
        return metrics | {"seconds/collect": collecting, "seconds/update": seconds}

    def _collect(self, actor: Any, buffer: RolloutBuffer, stop: Callable[[], bool] = lambda: False) -> float:
        """Fill a buffer; returns the seconds that it took."""
        start, version = time.perf_counter(), self.ppo.updates
        with self.fabric.autocast():
            after = collect(self.env, actor, buffer, self.obs, self.hidden, self.episodes, stop, version)
        self.obs, self.hidden = after
        return time.perf_counter() - start

    def _lag(self, buffer: RolloutBuffer) -> float:
        """Updates since the policy decided on what is learnt from now, on average over the rows."""
        return self.ppo.updates - float(buffer.version.float().mean())

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
            checkpoint.save(self.run.checkpoints / BEST, self._policy_tree())
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
        checkpoint.save(self.run.checkpoints / pattern.replace("*", f"{self._finished['iteration']:06d}"), tree)
        checkpoint.keep_last(self.run.checkpoints, self.config.keep_checkpoints, pattern)
        if rank:
            return
        if self._finished["warm"] is None:
            for rollout in (self.run.path / IMITATED).glob("*.ckpt"):
                checkpoint.remove(rollout)

    def close(self) -> None:
        """Release the worlds."""
        if self.lagging:
            self.lagging.close()
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

    def _begin(self) -> None:
        self.env.set_reset_mix(self.curriculum.mix)
        self.obs = self.env.reset(self.config.seed)
        self.env.stagger()
        self.hidden = self.policy.initial_hidden(self.num_envs)
        if self.warm is None:  # the first rollout must not be the first time that the normalisers see anything
            self._collect(self.policy, self.buffer)
            self.ppo.take_in(self.buffer)
            self.episodes.summary()

    def _continue(self, saved: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(saved["policy"]["weights"])
        self.ppo.load_state_dict(saved["ppo"])
        if self.warm:
            self.warm.load_state_dict(saved["warm"])
            self.warm.read(self.run.path / IMITATED)
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

    def _make_worlds(self) -> VecEnv:
        """This rank's share of the worlds, here or where the simulators are."""
        config, keys = self.config, self.config.policy.train_keys
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        learner = str(self.fabric.device)
        if config.sims:
            return sims.make_remote(config.env, keys, self.num_envs, config.sims, config.remote, learner, rank, ranks)
        place = sims.worlds_device(config.env, learner)
        return sims.make(config.env, keys, self.num_envs, self.num_envs * rank, place)

    def _check_range(self) -> None:
        """Whoever trains in other worlds must not clip away what their cameras show."""
        policy, far = self.config.policy, self.env.signature.get("rig", {}).get("depth_max", 0.0)
        if "depth" in policy.actor_keys and policy.depth_max_m < far:
            self.env.close()
            raise HandsightError(
                f"teacher: policy.depth_max_m is {policy.depth_max_m} m, but the cameras of these worlds see as far as "
                f"{far} m; start from TeacherConfig.depth().with_worlds(env)"
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
