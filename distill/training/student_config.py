"""`StudentRunConfig`: a student's training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ...datasets.reader import MAX_DAMAGED
from ...errors import HandsightError
from ...sims.env_config import EnvConfig, RemoteConfig
from ...sims.machine import machine
from ...students import StudentConfig
from ..runs.policy_io import LoadedPolicy
from .dagger import DaggerConfig


@dataclass(frozen=True)
class OfflineConfig:
    """How recorded rollouts are read."""

    steps: int | None = None
    """Length of a sequence; longer episodes are cut, shorter ones padded. None: the longest episode."""
    workers: int = machine(0)
    """Processes that read ahead; 0 reads in this one."""
    max_damaged: float = MAX_DAMAGED
    """Share of damaged shards beyond which nothing is learnt."""


@dataclass(frozen=True)
class StudentRunConfig:
    """Distil a teacher into a student, by DAgger or from recorded rollouts."""

    teacher: Path | None = None
    """Run folder or checkpoint of the teacher, or zoo:NAME: the student acts and the teacher says what it would have
    done."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """What the student sees and how large it is."""
    control: bool = False
    """Give the student the teacher's own observations instead of `student.sight`: what such a student cannot explain
    is optimisation error, not a limit of what can be seen."""
    driver: Path | None = None
    """Behaviour policy: run folder or checkpoint of another student that acts in every episode, so that this one is
    fitted on the states which that one visits: with `control`, the control student of that one."""
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    """How states are visited and how the student is fitted."""
    env: EnvConfig | None = None
    """The environment; None takes the teacher's."""
    num_envs: int = 128
    """Environments stepped side by side."""
    sims: str = machine("")
    """Where simulators run beside the learner: "cpu*3", "cuda:0,cuda:1", or what Ray is to reserve, "GPU=1+CPU=4*8";
    empty: the environments live in the learner's process."""
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    """How the learner deals with these simulators."""
    iterations: int = 16
    """Rounds of rolling out one episode's length in each world and fitting."""
    seed: int = 0
    """Seed of weights, environments and batches, 0..999."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept; one is written after each iteration, its newest sequences to a file of their own."""
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
        if (self.teacher is None) == (self.data is None) or (self.control and self.data):
            raise HandsightError(
                "student: expected either a teacher or data (and a teacher for a control student), found "
                f"teacher={self.teacher}, data={self.data}, control={self.control}"
            )
        if self.driver is not None and self.data is not None:
            raise HandsightError(f"student: driver {self.driver} cannot drive in recorded rollouts {self.data}")
        if self.iterations < 1 or self.num_envs < 1 or not 0 <= self.seed < 1000:
            raise HandsightError(
                f"student: expected iterations >= 1, num_envs >= 1 and a seed of 0..999, found "
                f"iterations={self.iterations}, num_envs={self.num_envs}, seed={self.seed}"
            )


def student_config(config: StudentRunConfig, teacher: LoadedPolicy) -> StudentConfig:
    """The student's configuration, its sight replaced by the teacher's for a control student."""
    return replace(config.student, sight=teacher_sight(teacher)) if config.control else config.student


def teacher_sight(teacher: LoadedPolicy) -> Any:
    """The observation group that a teacher reads beside "proprio": "state" or "depth"."""
    return next(key for key in teacher.policy.obs_keys if key != "proprio")
