"""The trainings of a study: which there are, what each one needs, and where its run lies.

A training lies in `<out>/<scene>/seed<k>/<name>/<run name>/<date>/`. Names:

state-teacher, depth-teacher (warm start from that seed's state teacher), depth-teacher-scratch
{state,depth,depth-scratch}-to-{stereo,left,depth,control,position,noisy-position,seen-position}   students of these
                   teachers' best checkpoints
                   (control: what the teacher sees, fitted on the states that the stereo student of that teacher visits)
matched-to-{...}   a student of the stronger teacher of the seed, at the checkpoint that is as good as the weaker one:
                   the folder is called state-matched-to-... or depth-matched-to-..., after that teacher
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import HandsightError, unknown
from ..report.policy_kind import NAMED, SOURCES, STRONGER, TEACHER_NAMES, PolicyKind

RIVALS = ("state-teacher", "depth-teacher")
"""The two that are matched."""
KINDS = tuple(name for name in NAMED if "-matched-to-" not in name)
"""What a study may ask for."""


class StudyError(HandsightError):
    """A study that cannot be read or run as it is asked for."""


@dataclass(frozen=True)
class Training:
    """One training of a study."""

    scene: str
    seed: int
    name: str
    """What is trained; also the name of its folder."""

    def __post_init__(self) -> None:
        if self.name not in NAMED:
            raise StudyError(f"scene {self.scene}: {unknown('cell', self.name, KINDS)}")

    @property
    def kind(self) -> PolicyKind:
        """The kind of the policy that comes of it."""
        return NAMED[self.name]

    @property
    def sight(self) -> str | None:
        """What a student sees, one of `SIGHTS`; None for a teacher."""
        return self.name.partition("-to-")[2] or None

    @property
    def key(self) -> str:
        """Unique within a study, e.g. "wrist/seed0/state-teacher"; the folder below `out`."""
        return f"{self.scene}/seed{self.seed}/{self.name}"

    @property
    def settled(self) -> bool:
        """Whether its teacher is known: not a matched student's as long as the teachers of its seed are not matched."""
        return self.kind.its_teacher != STRONGER

    @property
    def teacher(self) -> str | None:
        """Name of the training whose checkpoint it learns from; None where there is none, or it is not settled."""
        if self.name == "depth-teacher":
            return "state-teacher"
        wanted = replace(self.kind.its_teacher, matched=False)
        return next((name for name, kind in TEACHER_NAMES.items() if self.sight and kind == wanted), None)

    @property
    def needs(self) -> tuple[Training, ...]:
        """What must be trained before: its teacher or, if it is a matched student, both; and the behaviour policy."""
        names = RIVALS if self.kind.matched else filter(None, [self.teacher])
        driver = [self.driver] if self.driver else []
        return (*(self.beside(name) for name in names), *driver)

    @property
    def driver(self) -> Training | None:
        """The student that is the behaviour policy while a control student learns."""
        return self.beside(self.name.replace("-to-control", "-to-stereo")) if self.sight == "control" else None

    def beside(self, name: str) -> Training:
        """Another training of the same scene and seed."""
        return replace(self, name=name)

    def settle(self, stronger: str) -> Training:
        """The training of a matched student, now that it is known whose student it is."""
        source = next(source for source, kind in SOURCES.items() if kind == TEACHER_NAMES[stronger])
        return self.beside(f"{source}-matched-to-{self.sight}")


def trainings_of(scene: str, asked: Mapping[str, int | Sequence[int]]) -> list[Training]:
    """The trainings of a scene by seed, each after those that it needs, which are added; teachers from scratch, which
    take by far the longest, and their students come last.

    Raises:
        StudyError: unknown name, or seeds that are none.
    """
    wanted: list[Training] = []
    for name, seeds in asked.items():
        if name not in KINDS:
            raise StudyError(f"scene {scene}: {unknown('cell', name, KINDS)}")
        numbers = range(seeds) if isinstance(seeds, int) else seeds
        wanted += [Training(scene, seed, name) for seed in numbers]
    found: dict[Training, None] = {}
    for training in sorted(wanted, key=lambda one: ("scratch" in one.name, one.seed)):
        _add(training, found)
    return list(found)


def _add(training: Training, found: dict[Training, None]) -> None:
    for needed in training.needs:
        _add(needed, found)
    found[training] = None
