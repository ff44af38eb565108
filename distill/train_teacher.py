"""Train a teacher with PPO: one that knows the state, or one that sees a depth image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import HandsightError
from ..sims.make import EnvConfig
from ..teachers import ActorCriticConfig, AdaptiveRate, PPOConfig, RolloutStoppedError
from . import checkpoint
from .curriculum import CurriculumConfig
from .interrupt import Interrupt
from .progress import stage
from .run import Run
from .teacher_training import PERIODIC, TeacherTraining
from .warm_start import WarmStartConfig

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
    training = TeacherTraining(config, run, saved)
    if saved is not None:
        run.rewind(training.steps)
    try:
        learn(training)
    finally:
        training.close()
        run.close()
    return run


def learn(training: TeacherTraining) -> None:
    """Iterate to the end; log, validate and save on the way."""
    config, run = training.config, training.run
    per_iteration = config.num_envs * config.rollout_steps
    total = config.iterations * per_iteration
    with Interrupt() as interrupted, stage(training.title, total, done=training.steps) as progress:
        stop = lambda: interrupted.requested  # noqa: E731
        try:
            while training.iteration < config.iterations:
                metrics = training.iterate(stop)
                run.log(metrics, training.steps)
                progress.advance(per_iteration, **_shown(metrics))
                if _due(training.iteration, config.validate_every, config.iterations):
                    run.log(training.validate(stop), training.steps)
                if _due(training.iteration, config.checkpoint_every, config.iterations):
                    training.save()
        except RolloutStoppedError:
            training.save()


def _due(iteration: int, every: int, last: int) -> bool:
    return every > 0 and (iteration % every == 0 or iteration == last)


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"success_at_end": "success", "return": "return", "kl": "kl"}
    return {short: metrics[name] for name, short in names.items() if name in metrics}
