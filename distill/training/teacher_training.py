"""`TeacherTraining`: everything that one iteration of teacher training changes, and how it is put back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from lightning.fabric import Fabric

from ... import sims
from ...errors import HandsightError, unknown
from ...policies.finite import NotFiniteError, check_finite, finite
from ...sims.vec_env import VecEnv
from ...teachers import PPO, ActorCritic, EpisodeTracker, RolloutBuffer, RolloutStoppedError, collect
from ..evaluation import VALIDATION_SEED
from ..evaluation.evaluate import evaluate_in
from ..runs import checkpoint
from ..runs.policy_io import BEST, load_policy, origin_of, policy_tree
from ..runs.run import Run
from . import data_parallel, memory
from .curriculum import Curriculum
from .difficulty import Difficulty
from .session import Session, Training, losses, make_env
from .teacher_config import TeacherConfig
from .warm_start import WarmStart

OTHER_RANK = "rank_{}_iteration_*.ckpt"
"""What a rank but the first saves beside it: where its environments stand."""
IMITATED = "warm_start"
"""Folder in the run with the rollouts of a warm start, while it lasts."""


class TeacherTraining(Training):
    """What acts, what learns and where the environments stand. Between two iterations it keeps a copy of all that the
    next one depends on, so that an iteration may be broken off anywhere without a trace."""

    command, unit = "train-teacher", "steps"
    following = "handsight evaluate {run}, or handsight train-student --teacher {run}"

    def __init__(self, config: TeacherConfig, fabric: Fabric, env: VecEnv) -> None:
        """Policy with fresh weights, optimiser and curriculum; `start` and `restore` make the rest, and collect."""
        self.config, self.fabric, self.env, self.name = config, fabric, env, config.run_name
        self.units = config.num_envs * config.rollout_steps
        self.policy = self.actor = ActorCritic(config.policy, env.obs_spec, env.action_dim)
        self.ppo = PPO(self.policy, config.ppo, fabric)
        self.curriculum = Curriculum(config.curriculum)
        self.difficulty = Difficulty(config.difficulty, config.env.task.level, config.env.task.levels)
        self.episodes = EpisodeTracker(env.num_envs, env.reset_kinds, env.device)
        self.iteration, self.best = 0, -1.0
        self.warm: WarmStart | None = None
        self.imitated: dict[str, Any] | None = None
        """Which state teacher the warm start imitates, {"path", "kind", "sha256"}."""
        self.ahead: ThreadPoolExecutor | None = None
        """Where the next rollout is collected while this one is learnt from, with `config.lag`."""
        self._validation: VecEnv | None = None
        self._collected = False
        """Whether `buffer` holds a rollout that is still to be learnt from; a resumed run collects it anew."""

    @classmethod
    def made(cls, config: TeacherConfig, fabric: Fabric | None = None) -> TeacherTraining:
        """With environments and buffers, but nothing collected.

        Raises:
            HandsightError: the policy does not see as far as the cameras, or it would not fit into memory.
        """
        torch.manual_seed(config.seed)
        fabric = fabric or data_parallel.make_fabric(config.device, config.precision, config.ranks)
        num_envs = config.num_envs // fabric.world_size
        if not fabric.global_rank:
            share = num_envs if fabric.device.type == "cuda" else config.num_envs  # ranks share a host
            memory.announce(memory.of_teacher(config), share, memory.FOR_TEACHERS)
        _check_range(config)
        training = cls(config, fabric, make_env(config, config.env, config.policy.train_keys, fabric))
        training.buffer = training._new_buffer()
        if config.lag:
            training.spare, training.actor = training._new_buffer(), copy.deepcopy(training.policy)
            training.ahead = ThreadPoolExecutor(1, thread_name_prefix="handsight-collect")
        return training

    @classmethod
    def start(cls, config: TeacherConfig, run: Run | None = None) -> TeacherTraining:
        """Begin anew; without a run it can only `iterate`. Raises HandsightError, see `made`."""
        training = cls.made(config)
        training.run = run
        training.begin()
        return training

    def begin(self) -> None:
        """Reset the environments, and show the normalisers a first rollout. Raises HandsightError: they do not know a
        kind of reset that is asked for."""
        self.warm = self._warm_start() if self.config.warm_start else None
        self._check_kinds()
        self._own_draws()
        self.env.set_reset_mix(self.curriculum.mix)
        if self.config.difficulty.automatic:
            self.env.set_level(self.difficulty.level)
        self.obs = self.env.reset(self.config.seed)
        self.env.stagger()
        self.hidden = self.policy.initial_hidden(self.env.num_envs)
        if self.warm is None:  # the first rollout must not be the first time that the normalisers see anything
            self._collect(self.policy, self.buffer)
            self.ppo.take_in(self.buffer)
            self.episodes.summary()
        self._finished = copy.deepcopy(self._state())

    def restore(self, saved: Mapping[str, Any]) -> None:
        if rank := self.fabric.global_rank:
            beside = OTHER_RANK.format(rank).replace("*", f"{saved['iteration']:06d}")
            saved = {**saved, **checkpoint.load(self.folder / "checkpoints" / beside)}
        simulators = len(saved["worlds"]["env"].get("simulators", ()))
        if bool(simulators) != bool(self.config.sims):
            where = f"by {simulators} simulators" if simulators else "in the learner's process"
            wanted = f"--sims with as many, e.g. cpu*{simulators}" if simulators else "no --sims"
            raise HandsightError(f"resume {self.folder}: its worlds were saved {where}; expected {wanted}")
        self.warm = self._warm_start() if saved["warm"] else None  # first: it copies weights of the state teacher
        self.imitated, here = saved.get("warm_start"), self.imitated
        if here and self.imitated and here["sha256"] != self.imitated["sha256"]:
            raise HandsightError(f"resume {self.folder}: its warm start {here['path']} was replaced since it began")
        self.policy.load_state_dict(saved["policy"]["weights"])
        self.ppo.load_state_dict(saved["ppo"])
        if self.warm:
            self.warm.load_state_dict(saved["warm"])
            self.warm.read(self.folder / IMITATED)
        self.curriculum.load_state_dict(saved["curriculum"])
        if "difficulty" in saved:
            self.difficulty.load_state_dict(saved["difficulty"])
        self.iteration, self.best = saved["iteration"], saved["best"]
        self.obs = self.env.load_state_dict(saved["worlds"]["env"])
        self.episodes.load_state_dict(saved["worlds"]["episodes"])
        self.hidden = saved["worlds"]["hidden"].to(self.fabric.device)
        checkpoint.set_rng_state(saved["worlds"]["random"])
        self._finished = copy.deepcopy(self._state())

    @property
    def steps(self) -> int:
        return self.iteration * self.units

    @property
    def title(self) -> str:
        buffers = [self.buffer, *(self.warm.buffers if self.warm else [])]
        return f"{self.name} ({sum(buffer.size for buffer in buffers) / 2**20:.0f} MiB of rollouts)"

    def learn(self, session: Session) -> None:
        """PPO: collect and update, log, validate, save."""
        config = self.config
        stop = session.stop if config.ranks == 1 else lambda: False
        try:
            while self.iteration < config.iterations:
                before = self._finished
                metrics = self.iterate(stop)
                session.log(metrics, self.steps, self.units, losses(metrics, self.units))
                session.show(self, self.obs)
                if self._due(config.validate_every):
                    after, self._finished = self._finished, before  # who leaves meanwhile validates when they go on
                    found = self.validate(stop)
                    after["best"], self._finished = self.best, after
                    session.log(found, self.steps)
                if self._due(config.checkpoint_every):
                    self.save()
                if config.ranks > 1 and any(data_parallel.gather(session.stop())):
                    raise RolloutStoppedError  # all leave at the same place, or those that stay would wait for ever
        except (RolloutStoppedError, NotFiniteError) as stopped:
            self.save()
            if isinstance(stopped, NotFiniteError):
                raise

    def _due(self, every: int) -> bool:
        return every > 0 and (self.iteration % every == 0 or self.iteration == self.config.iterations)

    def iterate(self, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Collect and update once. Returns metrics by name.

        Raises:
            RolloutStoppedError: `stop` said so; the training is of no use any more, but `save` still is.
            NotFiniteError: likewise; the policy, or ten gradients in a row, became NaN or infinite.
        """
        start, seconds, warm, ahead = time.perf_counter(), 0.0, self.warm, None
        learner, actor, buffer = (warm, warm.actor, warm.buffer) if warm else (self.ppo, self.policy, self.buffer)
        if not self._collected:
            seconds = self._collect(actor, buffer, self.ppo.updates, stop)
        metrics = {"policy_lag": self.ppo.updates - float(buffer.version.float().mean())}
        if self.ahead and not warm:  # the environments go on while the policy learns, led by a copy of it
            metrics |= self._summarise()
            self.actor.load_state_dict(self.policy.state_dict())
            ahead = self.ahead.submit(self._collect, self.actor, self.spare, self.ppo.updates, stop)
        before = time.perf_counter()
        metrics |= learner.update(buffer, stop)
        learning = time.perf_counter() - before
        if ahead:
            seconds = ahead.result()
            self.buffer, self.spare, self._collected = self.spare, buffer, True
        else:
            metrics |= self._summarise()
        if warm:
            warm.write_last(self.folder / IMITATED)
            self.warm = None if warm.done else warm
        metrics |= {"seconds/update": learning, "seconds/collect": seconds} | self.env.statistics()
        self._check()
        self.iteration += 1
        self._finished = copy.deepcopy(self._state())
        rate = self.units / (time.perf_counter() - start)
        return metrics | {"iteration": float(self.iteration), "fps": rate}

    @torch.no_grad()
    def _check(self) -> None:
        """Whether the policy's answers to the present observations are finite."""
        obs = {key: finite(group) for key, group in self.obs.items()}
        check_finite("teacher", [*self.policy(obs, self.hidden), self.policy.value(obs, self.hidden)])

    def _collect(
        self, actor: Any, buffer: RolloutBuffer, version: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> float:
        """Fill a buffer by an actor of this version; returns the seconds that it took."""
        start = time.perf_counter()
        with self.fabric.autocast():
            after = collect(self.env, actor, buffer, self.obs, self.hidden, self.episodes, stop, version)
        self.obs, self.hidden = after
        return time.perf_counter() - start

    def _summarise(self) -> dict[str, float]:
        """What is said and done of the episodes that ended, on all ranks."""
        metrics, by_kind = data_parallel.merge(data_parallel.gather(self.episodes.summary()))
        self.curriculum.update(by_kind)
        self.env.set_reset_mix(self.curriculum.mix)
        if not self.config.difficulty.automatic:
            return metrics | {"curriculum": self.curriculum.progress}
        self.difficulty.update(by_kind)
        self.env.set_level(self.difficulty.level)
        return metrics | {"curriculum": self.curriculum.progress, "level": float(self.difficulty.level)}

    def validate(self, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """How well the mean of the policy does on held-out resets; the best policy so far becomes best.ckpt."""

        def watch(*_: Any) -> None:
            if stop():
                raise RolloutStoppedError

        if self.fabric.global_rank:  # all have the same policy: the first one asks it, the others go on
            return {}
        config, episodes = self.config, self.config.validation_episodes
        if self._validation is None:
            place = sims.worlds_device(config.env, str(self.fabric.device))
            count = min(episodes, config.num_envs)
            self._validation = sims.make(config.env, self.policy.obs_keys, count, device=place)
            self._validation.set_reset_mix({config.validation_kind: 1.0})
        result = evaluate_in(self._validation, self.policy, episodes=episodes, seed=VALIDATION_SEED, watch=watch)
        columns = {
            "success_at_end": result.success_at_end,
            "success_once": result.success_once,
            "return": result.episode_return,
        }
        metrics = {f"validation/{name}": float(column.mean()) for name, column in columns.items()}
        if (success := metrics["validation/success_at_end"]) > self.best:
            self.best = success
            checkpoint.save(self.folder / "checkpoints" / BEST, self._policy_tree())
        return metrics

    def save(self) -> None:
        """Write a checkpoint of the last finished iteration, and drop the oldest ones."""
        iteration = self._finished["iteration"]
        if rank := self.fabric.global_rank:
            self.keep({"worlds": self._finished["worlds"]}, iteration, OTHER_RANK.format(rank))
            return
        self.keep(self._finished, iteration)
        if self._finished["warm"] is None:
            for rollout in (self.folder / IMITATED).glob("*.ckpt"):
                checkpoint.remove(rollout)

    def close(self) -> None:
        if self.ahead:
            self.ahead.shutdown(wait=True)
        for env in (self.env, self._validation):
            if env is not None:
                env.close()

    def _check_kinds(self) -> None:
        config, known = self.config, self.env.reset_kinds
        asked = {"curriculum.start": config.curriculum.start, "curriculum.goal": config.curriculum.goal}
        asked["validation_kind"] = {config.validation_kind: 1.0} if config.validate_every else {}
        for name, kind in ((name, kind) for name, mix in asked.items() for kind in mix if kind not in known):
            raise HandsightError(unknown(name, kind, known))

    def _own_draws(self) -> None:
        """The same weights on every rank, but actions of its own."""
        if rank := self.fabric.global_rank:
            torch.manual_seed(self.config.seed + 1_000_003 * rank)

    def _state(self) -> dict[str, Any]:
        return self._policy_tree() | {
            "ppo": self.ppo.state_dict(),
            "warm": self.warm.state_dict() if self.warm else None,
            "warm_start": self.imitated,
            "curriculum": self.curriculum.state_dict(),
            "difficulty": self.difficulty.state_dict(),
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

    def _new_buffer(self, share: int = 1) -> RolloutBuffer:
        """share: how many buffers divide the memory budget."""
        config = self.config
        return RolloutBuffer(
            self.env.obs_spec,
            self.policy.train_keys,
            config.rollout_steps,
            self.env.num_envs,
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
        self.imitated = origin_of(loaded)
        if not isinstance(loaded.policy, ActorCritic):
            raise HandsightError(f"warm start from {origin}: expected a teacher, found a {loaded.kind}")
        buffers = [self._new_buffer(config.iterations + 1) for _ in range(config.iterations)]
        return WarmStart(self.ppo, loaded.policy, config, buffers)


def _check_range(config: TeacherConfig) -> None:
    """Whoever trains in other scenes must not clip away what their cameras show."""
    policy, far = config.policy, config.env.scene.rig.depth_max
    if "depth" in policy.actor_keys and policy.depth_max_m < far:
        raise HandsightError(
            f"teacher: policy.depth_max_m is {policy.depth_max_m} m, but the cameras of these worlds see as far as "
            f"{far} m; start from TeacherConfig.depth().with_worlds(env)"
        )
