"""`TeacherConfig`: a teacher's training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ...errors import HandsightError
from ...ranges import Checked, Count, Episodes, Gib, LearningRate, Steps, Threads, Within
from ...sims.env_config import EnvConfig, RemoteConfig
from ...sims.machine import machine
from ...teachers.config import ActorCriticConfig, AdaptiveRate, PPOConfig
from ..evaluation import TeacherSeed
from ..runs.zoo import RunPath
from .curriculum import CurriculumConfig
from .difficulty import DifficultyConfig

DEPTH_POLICY = ActorCriticConfig(actor_keys=("depth", "proprio"), auxiliary=("object_from_palm", "object_size"))
DEPTH_RATE = AdaptiveRate(
    raise_below=0.85, lower_above=1.4, up=1.3, down=1.3, minimum=3e-4, maximum=1.5e-3, every="update"
)
DEPTH_PPO = PPOConfig(epochs=3, aux_warmup_iterations=6, rate=DEPTH_RATE)
SCRATCH_PPO = replace(DEPTH_PPO, rate=replace(DEPTH_RATE, minimum=1e-4))
NEAR_TO_WIDE = CurriculumConfig(
    start={"near": 0.5, "easy": 0.5, "wide": 0.0}, goal={"near": 0.1, "easy": 0.2, "wide": 0.7}
)


@dataclass(frozen=True)
class WarmStartConfig(Checked):
    """How the depth policy is regressed onto the state teacher."""

    iterations: Count = 30
    """Rollouts that are imitated before PPO begins. Each learns from all of them so far: without the early ones, in
    which the expert acted, the policy would forget what to do where things go well."""
    beta_iterations: Annotated[int, Within(0, 1_000_000)] = 20
    """Rollouts over which the share of environments in which the state teacher acts falls from 1 to 0."""
    gradient_steps: Count = 24
    """Gradient steps after each rollout."""
    minibatch: Count = 1024
    """Rows of a gradient step."""
    rate: LearningRate = 1e-3
    """Learning rate of Adam, kept as it is."""
    max_grad_norm: Annotated[float, Within(1e-6, 1e6)] = 1.0
    """Gradients are scaled down to this Euclidean norm."""


@dataclass(frozen=True)
class TeacherConfig(Checked):
    """Train a teacher. `TeacherConfig.state()` and `TeacherConfig.depth()` are the two that have been tuned."""

    sight: Literal["state", "depth"] = "state"
    """What the teacher's actor sees beside proprioception."""
    env: EnvConfig = field(default_factory=EnvConfig)
    """The environment that it is trained in."""
    policy: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """What actor and critic see, and how large they are."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """How a rollout becomes gradient steps."""
    curriculum: CurriculumConfig = NEAR_TO_WIDE
    """Kinds of reset over time."""
    difficulty: DifficultyConfig = field(default_factory=DifficultyConfig)
    """How far the randomisation widens over time, from `env.task.randomization` towards `env.task.hardest`."""
    warm_start: RunPath | None = None
    """Run folder or checkpoint of a state teacher, or zoo:NAME, that is imitated first; the run is then named as
    warm-started."""
    warm: WarmStartConfig = field(default_factory=WarmStartConfig)
    """That imitation; without effect if there is no `warm_start`."""
    num_envs: Count = 256
    """Environments stepped side by side."""
    rollout_steps: Steps = 16
    """Steps of each environment between two updates."""
    iterations: Count = 240
    """Rollouts in all, those of the warm start included."""
    seed: TeacherSeed = 0
    """Seed of weights, actions and environments."""
    checkpoint_every: Count = 25
    """Iterations between two checkpoints."""
    keep_checkpoints: Count = 2
    """Periodic checkpoints that are kept."""
    validate_every: Annotated[int, Within(0, 1_000_000)] = 25
    """Iterations between two validations, by which best.ckpt is chosen; 0 for none."""
    validation_episodes: Episodes = 128
    """Episodes of a validation, one per held-out reset."""
    validation_kind: str = "wide"
    """Kind of reset of the validation."""
    memory_budget_gib: Gib = 4.0
    """Most memory for rollouts, GiB."""
    device: Annotated[str, tyro.conf.arg(aliases=("--learner",))] = machine("cpu")
    """Where the learner computes, e.g. "cpu" or "cuda:0"; the worlds are there, too, if
    their engine can be."""
    logger: str = machine("tensorboard")
    """Where metrics, hyperparameters and a few pictures go beside metrics.csv: tensorboard, csv (metrics.csv alone),
    wandb, mlflow, or several with commas; docs/shell.md says how each is set up."""
    sims: str = machine("")
    """Where simulators run beside the learner: "cpu*3", "cuda:0,cuda:1", or what Ray is to reserve, "GPU=1+CPU=4*8";
    empty: the environments live in the learner's process."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    """How the learner deals with these simulators."""
    lag: bool = False
    """Collect the next rollout while learning from the last: every row is one update old, results do not repeat bit for
    bit, and a resumed run collects the rollout that it had under way anew."""
    ranks: Threads = 1
    """Data parallelism: processes, on as many devices from `device` on, that each simulate a share of the environments
    and average their gradients."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Precision of rollouts and gradient steps, in Lightning Fabric's words."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.env.task.split != "train":
            raise HandsightError(
                f"teacher: expected env.task.split 'train', found {self.env.task.split!r}: held-out objects are never "
                "trained on"
            )
        if self.num_envs % self.ranks:
            raise HandsightError(
                f"teacher: num_envs={self.num_envs} cannot be shared by ranks={self.ranks}: expected a divisor"
            )
        rows = self.num_envs // self.ranks * (self.rollout_steps if self.policy.recurrent == "none" else 1)
        if self.ppo.minibatches > rows:
            raise HandsightError(
                f"teacher: ppo.minibatches={self.ppo.minibatches} is more than a rollout has: expected at most {rows} "
                f"(rows; of a recurrent policy environments), with ranks={self.ranks}, num_envs={self.num_envs}, "
                f"rollout_steps={self.rollout_steps}"
            )
        if alone := [name for name in ("lag", "warm_start") if self.ranks > 1 and getattr(self, name)]:
            raise HandsightError(f"teacher: ranks={self.ranks} goes without {', '.join(alone)}")
        if self.sight not in self.policy.actor_keys:
            raise HandsightError(
                f"teacher: sight {self.sight!r} needs it among policy.actor_keys, found {self.policy.actor_keys}; "
                f"start from TeacherConfig.{self.sight}()"
            )

        if self.difficulty.automatic and self.sims:
            raise HandsightError(
                "teacher: difficulty.automatic moves environments of this process only: expected no sims"
            )
        untold = sorted(set(self.env.task.told) - set(self.policy.actor_keys))
        if untold:
            raise HandsightError(
                f"teacher: task {self.env.task.name!r} tells every policy {', '.join(untold)}: expected it among "
                f"policy.actor_keys, found {self.policy.actor_keys}; start from TeacherConfig.state().with_worlds(env)"
            )

    @classmethod
    def state(cls) -> TeacherConfig:
        """The state teacher, as it was tuned."""
        return cls()

    @classmethod
    def depth(cls) -> TeacherConfig:
        """The depth teacher, end to end from scratch."""
        return cls(sight="depth", policy=DEPTH_POLICY, ppo=SCRATCH_PPO, iterations=800)

    @classmethod
    def warm_started(cls, state_teacher: Path) -> TeacherConfig:
        """The depth teacher of the demo, which imitates a state teacher first."""
        return replace(cls.depth(), warm_start=state_teacher, ppo=DEPTH_PPO, iterations=110)

    def with_worlds(self, env: EnvConfig) -> TeacherConfig:
        """The same training in other worlds: how far the policy sees follows their cameras, and what it is told their
        task."""
        told = {
            keys: tuple(dict.fromkeys((*getattr(self.policy, keys), *env.task.told)))
            for keys in ("actor_keys", "critic_keys")
        }
        return replace(self, env=env, policy=replace(self.policy, depth_max_m=env.scene.rig.depth_max, **told))

    @property
    def run_name(self) -> str:
        """Name of the run: it tells a warm-started teacher from an end-to-end one."""
        return f"teacher-{self.sight}" + ("-warm-started" if self.warm_start else "")
