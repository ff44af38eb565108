"""Train a teacher with PPO: one that knows the state, or one that sees a depth image."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric import Fabric

from .. import sims
from ..errors import HandsightError
from ..sims.make import EnvConfig
from ..sims.vec_env import VecEnv
from ..teachers import (
    PPO,
    ActorCritic,
    ActorCriticConfig,
    AdaptiveRate,
    EpisodeTracker,
    PPOConfig,
    RolloutBuffer,
    RolloutStoppedError,
    collect,
)
from . import checkpoint
from .curriculum import Curriculum, CurriculumConfig
from .evaluate import evaluate_in
from .interrupt import Interrupt
from .policy_loading import BEST, load_policy, policy_tree
from .progress import stage
from .run import Run
from .warm_start import MixedActor, WarmStart, WarmStartConfig

VALIDATION_SEED = 500_000
"""Of the resets that choose the best checkpoint: apart from the training's (small) and the final evaluation's."""
PERIODIC = "iteration_*.ckpt"
DEPTH_POLICY = ActorCriticConfig(actor_keys=("depth", "proprio"), auxiliary=("object_from_palm", "object_size"))
DEPTH_RATE = AdaptiveRate(
    raise_below=0.85, lower_above=1.4, up=1.3, down=1.3, minimum=3e-4, maximum=1.5e-3, every="update"
)
DEPTH_PPO = PPOConfig(epochs=3, value_clip=None, aux_warmup_iterations=6, rate=DEPTH_RATE)
EASY_TO_WIDE = CurriculumConfig(start={"easy": 1.0}, goal={"easy": 0.2, "wide": 0.8}, low=0.3, high=0.8)
NEAR_TO_WIDE = CurriculumConfig(start={"near": 0.5, "easy": 0.5}, goal={"near": 0.1, "easy": 0.2, "wide": 0.7})


@dataclass(frozen=True)
class TeacherConfig:
    """Train a teacher. `TeacherConfig.state()` and `TeacherConfig.depth()` are the two that have been tuned."""

    sight: Literal["state", "depth"] = "state"
    """What the teacher's actor sees beside proprioception."""
    env: EnvConfig = field(default_factory=EnvConfig)
    """The worlds."""
    policy: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """Actor and critic."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """The update."""
    curriculum: CurriculumConfig = EASY_TO_WIDE
    """Kinds of reset over time."""
    warm_start: Path | None = None
    """Run folder or checkpoint of a state teacher that is imitated first; the run is then named as warm-started."""
    warm: WarmStartConfig = field(default_factory=WarmStartConfig)
    """That imitation; without effect if there is no `warm_start`."""
    num_envs: int = 256
    """Worlds."""
    rollout_steps: int = 16
    """Steps of each world between two updates."""
    iterations: int = 240
    """Rollouts in all, those of the warm start included."""
    seed: int = 0
    """Of weights, actions and worlds."""
    checkpoint_every: int = 25
    """Iterations between two checkpoints."""
    keep_checkpoints: int = 2
    """Periodic checkpoints that are kept."""
    validate_every: int = 25
    """Iterations between two validations, by which best.ckpt is chosen; 0 for none."""
    validation_episodes: int = 128
    """Episodes of a validation, one per held-out reset."""
    validation_kind: str = "wide"
    """Kind of reset of the validation."""
    memory_budget_gib: float = 4.0
    """Most memory for rollouts, GiB."""
    device: str = "cpu"
    """Where the learner computes, e.g. "cpu" or "cuda:0"; the worlds are on `env`'s engine's device."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning Fabric's precision."""

    def __post_init__(self) -> None:
        if self.sight not in self.policy.actor_keys:
            raise HandsightError(
                f"teacher: sight {self.sight!r} needs it among policy.actor_keys, found {self.policy.actor_keys}; "
                f"start from TeacherConfig.{self.sight}()"
            )

    @classmethod
    def state(cls) -> TeacherConfig:
        """The state teacher."""
        return cls()

    @classmethod
    def depth(cls) -> TeacherConfig:
        """The depth teacher, end to end from scratch unless `warm_start` is set."""
        return cls(sight="depth", policy=DEPTH_POLICY, ppo=DEPTH_PPO, curriculum=NEAR_TO_WIDE, iterations=400)

    @property
    def run_name(self) -> str:
        """Name of the run: it tells a warm-started teacher from an end-to-end one."""
        return f"teacher-{self.sight}" + ("-warm-started" if self.warm_start else "")


def train_teacher(
    config: TeacherConfig | None = None,
    resume: Path | None = None,
    run_root: Path = Path("runs"),
) -> Run:
    """Train a teacher in a run folder of its own, or go on with an interrupted run.

    Args:
        config: what to train; not with `resume`, which goes on with the run's own.
        resume: run folder; its newest periodic checkpoint is taken.
        run_root: where a new run folder goes.

    Raises:
        Interrupted: Ctrl-C; everything up to the last finished iteration is saved.
    """
    if (config is None) == (resume is None):
        raise HandsightError("train_teacher: expected either a config or a run to resume")
    saved = None
    if resume is not None:
        run = Run.open(resume)
        config, saved = run.config(TeacherConfig), checkpoint.load(checkpoint.latest(run.checkpoints, PERIODIC))
    else:
        assert config is not None
        run = Run.create(config.run_name, config, run_root)
    training = TeacherTraining(config, saved)
    if saved is not None:
        run.rewind(training.steps)
    try:
        learn(training, run)
    finally:
        training.close()
        run.close()
    return run


def learn(training: TeacherTraining, run: Run) -> None:
    """Iterate to the end; log, validate and save on the way."""
    config = training.config
    per_iteration = config.num_envs * config.rollout_steps
    with (
        Interrupt() as interrupted,
        stage(training.title, config.iterations * per_iteration, done=training.steps) as progress,
    ):
        try:
            while training.iteration < config.iterations:
                metrics = training.iterate(lambda: interrupted.requested)
                run.log(metrics, training.steps)
                progress.advance(per_iteration, **_shown(metrics))
                if _due(training.iteration, config.validate_every, config.iterations):
                    run.log(training.validate(run, lambda: interrupted.requested), training.steps)
                if _due(training.iteration, config.checkpoint_every, config.iterations):
                    training.save(run)
        except RolloutStoppedError:
            training.save(run)


class TeacherTraining:
    """All that an iteration changes: what acts, what learns, where the worlds stand."""

    def __init__(self, config: TeacherConfig, saved: Mapping[str, Any] | None = None) -> None:
        """Begins anew, or goes on bit for bit from what `state_dict` returned."""
        self.config = config
        torch.manual_seed(config.seed)
        self.fabric = _fabric(config)
        self.env = sims.make(config.env, config.policy.train_keys, config.num_envs)
        self.policy = ActorCritic(config.policy, self.env.obs_spec, self.env.action_dim)
        self.ppo = PPO(self.policy, config.ppo, self.fabric)
        self.buffer = self._new_buffer()
        self.curriculum = Curriculum(config.curriculum)
        self.episodes = EpisodeTracker(config.num_envs, self.env.reset_kinds, self.env.device)
        self.warm = self._warm_start() if config.warm_start and (saved is None or saved["warm"]) else None
        self.iteration, self.best = 0, -1.0
        self._validation: VecEnv | None = None
        if saved is None:
            self._begin()
        else:
            self._continue(saved)
        self._boundary = self._worlds()

    @property
    def steps(self) -> int:
        """Environment steps that were learnt from."""
        return self.iteration * self.config.num_envs * self.config.rollout_steps

    @property
    def title(self) -> str:
        """The run's name and what its rollouts take."""
        buffers = self.warm.buffers if self.warm else [self.buffer]
        return f"{self.config.run_name} ({sum(buffer.size for buffer in buffers) / 2**20:.0f} MiB of rollouts)"

    def iterate(self, stop: Callable[[], bool]) -> dict[str, float]:
        """Collect and update once. Returns metrics by name.

        Raises:
            RolloutStoppedError: `stop` said so during the rollout, which is then forgotten.
        """
        start = time.perf_counter()
        if self.warm:
            actor, learner, buffer = self.warm.actor, self.warm, self.warm.buffer
        else:
            actor, learner, buffer = self.policy, self.ppo, self.buffer
        self._collect(actor, buffer, stop)
        collected = time.perf_counter()
        metrics = learner.update(buffer)
        ended, by_kind = self.episodes.summary()
        self.curriculum.update(by_kind)
        self.env.set_reset_mix(self.curriculum.mix)
        if self.warm and self.warm.done:
            self.warm = None
        self.iteration += 1
        self._boundary = self._worlds()
        seconds = time.perf_counter() - start
        return metrics | ended | {
            "iteration": float(self.iteration),
            "fps": self.config.num_envs * self.config.rollout_steps / seconds,
            "seconds/collect": collected - start,
            "seconds/update": seconds - (collected - start),
            "curriculum": self.curriculum.progress,
        }  # fmt: skip

    def validate(self, run: Run, stop: Callable[[], bool]) -> dict[str, float]:
        """How well the mean of the policy does on held-out resets; the best policy so far becomes best.ckpt."""

        def watch(*_: Any) -> None:
            if stop():
                raise RolloutStoppedError

        count = min(self.config.validation_episodes, self.config.num_envs)
        if self._validation is None:
            self._validation = sims.make(self.config.env, self.policy.obs_keys, count)
            self._validation.set_reset_mix({self.config.validation_kind: 1.0})
        result = evaluate_in(
            self._validation, self.policy, self.config.validation_episodes, VALIDATION_SEED, watch=watch
        )
        success = float(result.success_at_end.mean())
        if success > self.best:
            self.best = success
            checkpoint.save(run.checkpoints / BEST, self._policy_tree())
        return {
            "validation/success_at_end": success,
            "validation/success_once": float(result.success_once.mean()),
            "validation/return": float(result.episode_return.mean()),
        }

    def save(self, run: Run) -> None:
        """Write a checkpoint of the last finished iteration, and drop the oldest ones."""
        checkpoint.save(run.checkpoints / PERIODIC.replace("*", f"{self.iteration:06d}"), self.state_dict())
        checkpoint.keep_last(run.checkpoints, self.config.keep_checkpoints, PERIODIC)

    def state_dict(self) -> dict[str, Any]:
        """The policy and all that the next iteration depends on, as of the end of the last one."""
        return self._policy_tree() | {
            "ppo": self.ppo.state_dict(),
            "warm": self.warm.state_dict() if self.warm else None,
            "curriculum": self.curriculum.state_dict(),
            "iteration": self.iteration,
            "best": self.best,
            "worlds": self._boundary,
        }

    def close(self) -> None:
        """Release the worlds."""
        for env in (self.env, self._validation):
            if env is not None:
                env.close()

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
        self.hidden = self.policy.initial_hidden(self.config.num_envs)
        if self.warm is None:  # the first rollout must not be the first time that the normalisers see anything
            self._collect(self.policy, self.buffer, lambda: False)
            self.ppo.take_in(self.buffer)
            self.episodes.summary()

    def _collect(self, actor: ActorCritic | MixedActor, buffer: RolloutBuffer, stop: Callable[[], bool]) -> None:
        with self.fabric.autocast():
            self.obs, self.hidden = collect(self.env, actor, buffer, self.obs, self.hidden, self.episodes, stop)

    def _worlds(self) -> dict[str, Any]:
        """What a rollout changes: kept from its beginning, so that one may be broken off without a trace."""
        return {
            "env": self.env.state_dict(),
            "episodes": self.episodes.state_dict(),
            "hidden": self.hidden.clone(),
            "random": checkpoint.rng_state(),
        }

    def _continue(self, saved: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(saved["policy"]["weights"])
        self.ppo.load_state_dict(saved["ppo"])
        if self.warm:
            self.warm.load_state_dict(saved["warm"])
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
            config.num_envs,
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
        buffers = [self._new_buffer(config.window) for _ in range(config.window)]
        return WarmStart(self.ppo, loaded.policy, config, buffers)


def _fabric(config: TeacherConfig) -> Fabric:
    device = torch.device(config.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    devices: Any = 1 if device.index is None else [device.index]
    return Fabric(accelerator=device.type, devices=devices, precision=config.precision)


def _due(iteration: int, every: int, last: int) -> bool:
    return every > 0 and (iteration % every == 0 or iteration == last)


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"success_at_end": "success", "return": "return", "kl": "kl"}
    return {short: metrics[name] for name, short in names.items() if name in metrics}
