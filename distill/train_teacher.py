"""Train a teacher with PPO: one that knows the state, or one that sees a depth image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from lightning.fabric import Fabric

from ..errors import HandsightError
from ..sims.make import EnvConfig
from ..sims.worker import RemoteConfig
from ..teachers import ActorCriticConfig, AdaptiveRate, PPOConfig, RolloutStoppedError
from . import checkpoint, data_parallel
from .curriculum import CurriculumConfig
from .interrupt import Interrupt
from .progress import stage
from .run import Run
from .teacher_training import OTHER_RANK, PERIODIC, TeacherTraining
from .warm_start import WarmStartConfig

DEPTH_POLICY = ActorCriticConfig(actor_keys=("depth", "proprio"), auxiliary=("object_from_palm", "object_size"))
DEPTH_RATE = AdaptiveRate(
    raise_below=0.85, lower_above=1.4, up=1.3, down=1.3, minimum=3e-4, maximum=1.5e-3, every="update"
)
DEPTH_PPO = PPOConfig(epochs=3, value_clip=None, aux_warmup_iterations=6, rate=DEPTH_RATE)
SCRATCH_PPO = replace(DEPTH_PPO, clip_critic_apart=True, rate=replace(DEPTH_RATE, minimum=1e-4))
EASY_TO_WIDE = CurriculumConfig(start={"easy": 1.0}, goal={"easy": 0.2, "wide": 0.8}, low=0.3, high=0.8)
NEAR_TO_WIDE = CurriculumConfig(
    start={"near": 0.5, "easy": 0.5, "wide": 0.0}, goal={"near": 0.1, "easy": 0.2, "wide": 0.7}
)


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
    device: Annotated[str, tyro.conf.arg(aliases=("--learner",))] = "cpu"
    """Where the learner computes, e.g. "cpu" or "cuda:0"; the worlds are on `env`'s engine's device."""
    sims: str = ""
    """Where simulators run beside the learner: "cpu*3", "cuda:0,cuda:1", or what Ray is to reserve, "GPU=1+CPU=4*8";
    empty: the worlds live in the learner's process."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    """How the learner deals with these simulators."""
    lag: bool = False
    """Collect the next rollout while learning from the last: every row is one update old, results do not repeat bit for
    bit, and a resumed run collects the rollout that it had under way anew."""
    ranks: int = 1
    """Data parallelism: processes, on as many devices from `device` on, that each simulate a share of the worlds and
    average their gradients."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning Fabric's precision."""

    def __post_init__(self) -> None:
        data_parallel.check(self)
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
        """The depth teacher, end to end from scratch."""
        return cls(sight="depth", policy=DEPTH_POLICY, ppo=SCRATCH_PPO, curriculum=NEAR_TO_WIDE, iterations=800)

    @classmethod
    def warm_started(cls, state_teacher: Path) -> TeacherConfig:
        """The depth teacher of the demo, which imitates a state teacher first."""
        return replace(cls.depth(), warm_start=state_teacher, ppo=DEPTH_PPO, iterations=110)

    def with_worlds(self, env: EnvConfig) -> TeacherConfig:
        """The same training in other worlds: how far the policy sees follows their cameras."""
        return replace(self, env=env, policy=replace(self.policy, depth_max_m=env.scene.rig.depth_max))

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
    run = None if resume is None else Run.open(resume)
    if run is not None:
        config = run.config(TeacherConfig)
    assert config is not None
    if config.ranks == 1:
        return _train(None, config, run, run_root)
    with Interrupt():  # the ranks hear of it, too: they save, and leave
        train: Any = _train
        return data_parallel.make_fabric(config).launch(train, config, run, run_root)


def _train(fabric: Fabric | None, config: TeacherConfig, run: Run | None, run_root: Path) -> Run:
    """The whole training, as one rank sees it."""
    rank = fabric.global_rank if fabric else 0
    training = TeacherTraining(config, run, None if run is None else _saved(run, rank), fabric)
    try:
        if run is None:  # only now: a configuration that is refused leaves no folder behind
            run = training.save_into(_create(config, run_root, rank))
        elif not rank:
            run.rewind(training.steps)
        learn(training)
        return run
    finally:
        training.close()
        if run is not None:
            run.close()


def _create(config: TeacherConfig, root: Path, rank: int) -> Run:
    """The run's folder, which the first rank makes."""
    mine = None if rank else Run.create(config.run_name, config, root)
    path = data_parallel.gather(mine and mine.path)[0]
    return mine or Run.open(path)


def _saved(run: Run, rank: int) -> dict[str, Any]:
    """The newest checkpoint, with this rank's worlds."""
    newest = checkpoint.latest(run.checkpoints, PERIODIC)
    saved = checkpoint.load(newest)
    if rank:
        beside = OTHER_RANK.format(rank).replace("iteration_*.ckpt", newest.name)
        saved |= checkpoint.load(run.checkpoints / beside)
    return saved


def learn(training: TeacherTraining) -> None:
    """Iterate to the end; log, validate and save on the way."""
    config, run = training.config, training.run
    per_iteration = config.num_envs * config.rollout_steps
    total = config.iterations * per_iteration
    log = run.log if not training.fabric.global_rank else lambda *_: None
    shown = stage(training.title, total, done=training.steps) if not training.fabric.global_rank else nullcontext()
    with Interrupt() as interrupted, shown as progress:
        stop = lambda: interrupted.requested and config.ranks == 1  # noqa: E731
        try:
            while training.iteration < config.iterations:
                metrics = training.iterate(stop)
                log(metrics, training.steps)
                if progress:
                    progress.advance(per_iteration, **_shown(metrics))
                    if lost := losses(metrics):
                        progress.say(lost)
                if _due(training.iteration, config.validate_every, config.iterations):
                    log(training.validate(stop), training.steps)
                if _due(training.iteration, config.checkpoint_every, config.iterations):
                    training.save()
                if config.ranks > 1 and data_parallel.agreed(lambda: interrupted.requested):
                    raise RolloutStoppedError
        except RolloutStoppedError:
            training.save()


def _due(iteration: int, every: int, last: int) -> bool:
    return every > 0 and (iteration % every == 0 or iteration == last)


def losses(metrics: Mapping[str, float]) -> str:
    """What to tell of simulators that failed or were replaced meanwhile; nothing if none did."""
    failed, back = metrics.get("remote/replaced", 0.0), metrics.get("remote/seconds_restart", 0.0)
    told = [f"{failed:.0f} of the simulators failed, its worlds are missing and not learnt from"] * (failed > 0)
    return "; ".join(told + [f"a successor took over after {back:.1f} s"] * (back > 0))


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"success_at_end": "success", "return": "return", "kl": "kl"}
    return {short: metrics[name] for name, short in names.items() if name in metrics}
