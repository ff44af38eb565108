"""What a study is to train and compare: a TOML file, read into frozen dataclasses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from ...errors import HandsightError, unknown
from ...files import inside, read_toml
from ...ranges import Checked, Episodes, Threads, Within, from_tree
from ...sims.assets import NAME
from ...sims.env_config import EnvConfig
from ...sims.machine import MACHINE
from ...sims.scenes import scene
from ..evaluation import HELD_OUT_SEED, MATCHING_SEED, HeldOutSeed, MatchingSeed, Seed
from ..evaluation.chosen import Chosen
from ..evaluation.trial import TrialConfig
from ..report.contrasts import ContrastConfig
from ..runs import stored_config
from ..training.student_config import StudentRunConfig
from ..training.teacher_config import TeacherConfig
from .training import StudyError, Training, trainings_of

Config = TypeVar("Config")


@dataclass(frozen=True)
class StudySceneConfig(Chosen):
    """One scene of a study: `scene`, or if that is not given the one that it is called after, with what is chosen."""

    cells: dict[str, Annotated[int, Within(1, 1000)] | tuple[Seed, ...]]
    """Seeds of each kind of training: a number N for 0..N-1, or a list. The teachers that they need are added."""
    env: dict[str, Any] = field(default_factory=dict)
    """Changes to the `EnvConfig` of all that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in filter(None, (self.robot, self.objects)):
            if not NAME.fullmatch(name) or name.endswith(".toml"):
                raise StudyError(f"{name!r}: expected the name of a robot or an object set, as a study holds no path")


@dataclass(frozen=True, kw_only=True)
class StudyTrialConfig(TrialConfig):
    """How a study's policies are evaluated: never on the resets by which its teachers are matched."""

    seed: HeldOutSeed = HELD_OUT_SEED
    """Seed of the held-out resets."""


@dataclass(frozen=True)
class StudyMatchingConfig(Checked):
    """The resets on which a checkpoint of the stronger teacher is chosen."""

    episodes: Episodes = 512
    """Episodes, one for each reset."""
    seed: MatchingSeed = MATCHING_SEED
    """Seed of the resets; never those of the evaluation."""


@dataclass(frozen=True)
class StudyConfig(Checked):
    """A matrix of trainings: scenes x teachers x students x seeds. Tables hold changes to what the commands do without
    options: `student.iterations = 40` is `train-student --iterations 40` for every student."""

    scenes: dict[str, StudySceneConfig]
    """The scenes by name."""
    out: Path = field(default=Path("runs/study"), metadata=MACHINE)
    """Folder of all runs and results."""
    jobs: Threads = 1
    """Trainings side by side, each on cores of its own."""
    state_teacher: dict[str, Any] = field(default_factory=dict)
    """Changes to `TeacherConfig.state()`, for state teachers."""
    depth_teacher: dict[str, Any] = field(default_factory=dict)
    """Changes to `TeacherConfig.warm_started(...)`, for depth teachers."""
    depth_teacher_scratch: dict[str, Any] = field(default_factory=dict)
    """Changes to `TeacherConfig.depth()`, for depth teachers from scratch."""
    student: dict[str, Any] = field(default_factory=dict)
    """Changes to `StudentRunConfig(...)`, for all students."""
    primary: str | None = None
    """Name of the one contrast on which the verdict on the first part of the claim rests."""
    contrasts: dict[str, ContrastConfig] = field(default_factory=dict)
    """What is compared, named before the study runs; all but the primary and negative controls share one level."""
    evaluation: StudyTrialConfig = field(default_factory=lambda: StudyTrialConfig(ablations=True))
    """How every policy is evaluated; students with their images changed, too."""
    matching: StudyMatchingConfig = field(default_factory=StudyMatchingConfig)
    """How teachers are matched."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scenes:
            raise StudyError("study: expected at least one scene, found none")
        for place in self.scenes:  # whatever is wrong is said before hours have gone by
            self.env(place)
            for name in dict.fromkeys(one.name for one in self.trainings if one.scene == place):
                self.config(Training(place, 0, name), Path("teacher"), Path("driver"))
        self._check_contrasts()

    def _check_contrasts(self) -> None:
        known = {(one.scene, one.name) for one in self.trainings}
        for name, one in self.contrasts.items():
            for place in filter(None, (one.scene, one.minus)):
                cells = [cell for scene, cell in sorted(known) if scene == place]
                for cell in filter(None, (one.loses, one.than)):
                    if cell not in cells:
                        raise StudyError(f"contrasts.{name}, scene {place}: {unknown('cell', cell, cells)}")
        named = [name for name, one in self.contrasts.items() if one.claim == 1 and not one.control]
        if self.contrasts and self.primary not in named:
            raise StudyError(
                f"primary: expected one of the contrasts of claim 1 ({', '.join(named)}), found {self.primary}"
            )

    @property
    def trainings(self) -> tuple[Training, ...]:
        """All trainings, by scene, then seed, each after what it needs."""
        return tuple(one for name, place in self.scenes.items() for one in trainings_of(name, place.cells))

    def env(self, name: str) -> EnvConfig:
        """The environment of a scene."""
        place = self.scenes[name]
        return changed(place.change(scene(place.scene or name)), place.env, f"scenes.{name}.env")

    def config(
        self, training: Training, teacher: Path | None = None, driver: Path | None = None
    ) -> TeacherConfig | StudentRunConfig:
        """The configuration of a training.

        Args:
            training: of this study.
            teacher: checkpoint of the teacher that a student or a warm start learns from.
            driver: checkpoint of the student that is the behaviour policy of a control student.
        """
        if training.sight is None:
            base, table = {
                "state-teacher": (TeacherConfig.state(), self.state_teacher),
                "depth-teacher": (TeacherConfig.warm_started(teacher or Path()), self.depth_teacher),
                "depth-teacher-scratch": (TeacherConfig.depth(), self.depth_teacher_scratch),
            }[training.name]
            base = replace(base.with_worlds(self.env(training.scene)), seed=training.seed)
            return changed(base, table, training.name, fixed=("env", "seed", "sight", "warm_start"))
        control = training.sight == "control"
        base = StudentRunConfig(teacher or Path("teacher"), seed=training.seed, control=control)
        base = changed(base, self.student, "student", fixed=("env", "seed", "teacher", "control", "driver", "data"))
        base = replace(base, driver=driver if control else None)
        sight: Any = base.student.sight if base.control else training.sight.replace("-", "_")
        return replace(base, student=replace(base.student, sight=sight))


def read_study(path: Path, out: Path | None = None) -> StudyConfig:
    """The study in a TOML file. What it says of a machine (devices, simulators, programs) is not obeyed.

    Args:
        path: of the file.
        out: folder of the study, instead of the file's, which must lie below the working directory.

    Raises:
        StudyError: not TOML, or a name or value that means nothing; names the nearest known one.
    """
    tree = read_toml(path, "study", StudyError)
    try:
        spec = from_tree(StudyConfig, tree, error=StudyError)
        trial = stored_config.unbound(spec.evaluation, f"{path}: evaluation")
        return replace(spec, out=out or Path(inside(Path(), spec.out, StudyError)), evaluation=trial)
    except HandsightError as error:
        raise StudyError(f"study {path}: {error}") from error


def changed(base: Config, changes: Mapping[str, Any], where: str, fixed: Collection[str] = ()) -> Config:
    """The dataclass with changes from a nested tree.

    Args:
        base: a frozen dataclass instance.
        changes: new values by field, as deep as need be.
        where: name of the table, for messages.
        fixed: fields that the study itself sets.
    """
    taken = [name for key in changes if (name := key.replace("-", "_")) in fixed]
    if taken:
        raise StudyError(f"{where}.{taken[0]} is set by the study itself; it cannot be changed here")
    return stored_config.unbound(from_tree(type(base), changes, where, base, StudyError), f"study: {where}")
