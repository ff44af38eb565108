"""`StudentRunConfig`: a student's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ...datasets.schema import MAX_DAMAGED
from ...errors import HandsightError
from ...ranges import Checked, Count, Gib, LearningRate, Share, Steps, Weight, Within
from ...sims.env_config import EnvConfig, RemoteConfig
from ...sims.machine import machine
from ...students.config import AugmentConfig, StudentConfig
from ..evaluation import Rounds, Seed
from ..runs.zoo import RunPath


@dataclass(frozen=True)
class DaggerConfig(Checked):
    """How states are visited and how the student is fitted to the teacher's answers."""

    beta_start: Share = 1.0
    """Share of episodes in which the teacher acts in the first iteration."""
    beta_iterations: Annotated[int, Within(0, 1_000_000)] = 2
    """Iterations after which the student acts in every episode; the share falls linearly until then."""
    act: Literal["mean", "sample"] = "mean"
    """Whether the student acts by its mean or by samples."""
    gradient_steps: Count = 18
    """Gradient steps in each iteration."""
    batch_sequences: Count = 32
    """Sequences (whole rollouts of one world) in a gradient step."""
    loss: Literal["sigma", "plain", "nll"] = "sigma"
    """"sigma": squared error of the mean in units of the teacher's standard deviation; "plain": in units of the action;
    "nll": KL(teacher || student), by which mean and standard deviation are fitted together."""
    object_weight: Weight = 1.0
    """Weight of the squared error, in decimetres, of the predicted object position; 0 leaves the state unused."""
    depth_weight: Weight = 1.0
    """Weight of the squared error of the predicted depth, in quarters of a metre, of a student with a depth head."""
    learning_rate: LearningRate = 2e-3
    """Highest rate of AdamW; rises over the first iteration and falls along a cosine to the last."""
    final_rate: Share = 0.02
    """Share of `learning_rate` that is left at the end."""
    weight_decay: Annotated[float, Within(0, 1000)] = 1e-4
    """Weight decay of AdamW, per unit of the learning rate."""
    max_grad_norm: Annotated[float, Within(1e-6, 1e6)] = 1.0
    """Gradients are scaled down to this Euclidean norm."""
    buffer_gib: Gib = 2.0
    """GiB of memory for sequences; beyond it the oldest are forgotten, or read from the disk (`spill`)."""
    spill: bool = False
    """Keep all sequences as shards in the run's folder sequences/, and read there what memory cannot hold. They stay
    when the run is over: `train-student --data` learns from them."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes to the images in training."""

    def beta(self, iteration: int) -> float:
        """Share of episodes in which the teacher acts in this iteration, counted from 0."""
        return self.beta_start * max(0.0, 1.0 - iteration / max(1, self.beta_iterations))


@dataclass(frozen=True)
class OfflineConfig(Checked):
    """How recorded rollouts are read."""

    steps: Steps | None = None
    """Length of a sequence; longer episodes are cut, shorter ones padded. None: the longest episode."""
    map: tuple[str, ...] = ()
    """Names in demonstrations that others recorded, in the layout of robomimic and Isaac Lab, each OURS=THEIRS:
    left=agentview_image,right=robot0_eye_in_hand_image,proprio=robot0_eef_pos+robot0_gripper_qpos."""
    workers: Annotated[int, Within(0, 1024)] = machine(0)
    """Processes that read ahead; 0 reads in this one."""
    max_damaged: Share = MAX_DAMAGED
    """Share of damaged shards beyond which nothing is learnt."""

    @property
    def names(self) -> dict[str, str]:
        """`map` as a table. Raises HandsightError: one of them is no pair."""
        pairs = [word for one in self.map for word in one.split(",") if word]
        if wrong := [word for word in pairs if not all(word.partition("="))]:
            raise HandsightError(f"offline.map: expected OURS=THEIRS, e.g. left=agentview_image, found {wrong[0]!r}")
        return {ours: theirs for ours, _, theirs in (word.partition("=") for word in pairs)}


@dataclass(frozen=True)
class StudentRunConfig(Checked):
    """Distil a teacher into a student, by DAgger or from recorded rollouts."""

    teacher: RunPath | None = None
    """Run folder or checkpoint of the teacher, or zoo:NAME: the student acts and the teacher says what it would have
    done."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """What the student sees and how large it is."""
    control: bool = False
    """Give the student the teacher's own observations instead of `student.sight`: what such a student cannot explain
    is optimisation error, not a limit of what can be seen."""
    driver: RunPath | None = None
    """Behaviour policy: run folder or checkpoint of another student that acts in every episode, so that this one is
    fitted on the states which that one visits: with `control`, the control student of that one."""
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    """How states are visited and how the student is fitted."""
    env: EnvConfig | None = None
    """The environment; None takes the teacher's."""
    num_envs: Count = 128
    """Environments stepped side by side."""
    sims: str = machine("")
    """Where simulators run beside the learner: "cpu*3", "cuda:0,cuda:1", or what Ray is to reserve, "GPU=1+CPU=4*8";
    empty: the environments live in the learner's process."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    """How the learner deals with these simulators."""
    iterations: Rounds = 16
    """Rounds of rolling out one episode's length in each world and fitting."""
    seed: Seed = 0
    """Seed of weights, environments and batches, 0..999."""
    keep_checkpoints: Count = 2
    """Checkpoints that are kept; one is written after each iteration, its newest sequences to a file of their own."""
    logger: str = machine("tensorboard")
    """Where metrics, hyperparameters and a few pictures go beside metrics.csv: tensorboard, csv (metrics.csv alone),
    wandb, mlflow, or several with commas; docs/shell.md says how each is set up."""
    data: Path | None = None
    """Folder of shards to learn from instead of a teacher: from `handsight record`, or the sequences/ of a DAgger run
    with `dagger.spill`."""
    offline: OfflineConfig = field(default_factory=OfflineConfig)
    """How recorded rollouts are read, with `data`."""
    device: str = machine("cpu")
    """Where teacher and student compute, e.g. "cpu" or "cuda:0"."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Precision of gradient steps, in Lightning Fabric's words."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.env is not None and self.env.task.split != "train":
            raise HandsightError(
                f"student: expected env.task.split 'train', found {self.env.task.split!r}: held-out objects are never "
                "trained on"
            )
        if (self.teacher is None) == (self.data is None) or (self.control and self.data):
            raise HandsightError(
                "student: expected either a teacher or data (and a teacher for a control student), found "
                f"teacher={self.teacher}, data={self.data}, control={self.control}"
            )
        if self.driver is not None and self.data is not None:
            raise HandsightError(f"student: driver {self.driver} cannot drive in recorded rollouts {self.data}")
