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
from ..report.policy_kind import CONTROL, LEFT, STEREO, TEACHERS, PolicyKind, taught

STATE, WARM, SCRATCH = TEACHERS
TEACHER_NAMES = {"state-teacher": STATE, "depth-teacher": WARM, "depth-teacher-scratch": SCRATCH}
"""Kinds of teachers by the name of their training."""
MATCHED = "matched"
STRONGER = PolicyKind("stronger", matched=True)
"""Teacher of a matched student as long as nobody knows which of the two is the stronger one."""
SOURCES = {"state": STATE, "depth": WARM, "depth-scratch": SCRATCH, MATCHED: STRONGER} | {
    f"{name}-{MATCHED}": replace(teacher, matched=True) for name, teacher in (("state", STATE), ("depth", WARM))
}
"""What a student's training calls its teacher."""
PLACES = ("position", "noisy-position", "seen-position")
"""Controls that are told where the object is: what is lost to precision, and what to being out of sight."""
SIGHTS = {"stereo": STEREO, "left": LEFT, "depth": "depth", "control": CONTROL}
SIGHTS |= {name: name.replace("-", " ") for name in PLACES}
"""What students see, as a training and as the gap matrix calls it; "control": what their teacher sees."""
RIVALS = ("state-teacher", "depth-teacher")
"""The two that are matched."""
KINDS = (*TEACHER_NAMES, *(f"{s}-to-{t}" for s in SOURCES if not s.endswith(f"-{MATCHED}") for t in SIGHTS))
"""What a study may ask for."""
STUDENTS = {f"{source}-to-{sight}": (source, sight) for source in SOURCES for sight in SIGHTS}
"""Teacher and sight of a student by the name of its training."""


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
        if self.name not in TEACHER_NAMES and self.name not in STUDENTS:
            raise StudyError(f"scene {self.scene}: {unknown('cell', self.name, KINDS)}")

    @property
    def kind(self) -> PolicyKind:
        """The kind of the policy that comes of it."""
        if self.name in TEACHER_NAMES:
            return TEACHER_NAMES[self.name]
        source, sight = STUDENTS[self.name]
        return taught(SOURCES[source], SIGHTS[sight])

    @property
    def sight(self) -> str | None:
        """What a student sees, one of `SIGHTS`; None for a teacher."""
        return STUDENTS[self.name][1] if self.name in STUDENTS else None

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
        return self.beside(f"{STUDENTS[self.name][0]}-to-stereo") if self.sight == "control" else None

    def beside(self, name: str) -> Training:
        """Another training of the same scene and seed."""
        return replace(self, name=name)

    def settle(self, stronger: str) -> Training:
        """The training of a matched student, now that it is known whose student it is."""
        source = next(source for source, kind in SOURCES.items() if kind == TEACHER_NAMES[stronger])
        return self.beside(f"{source}-{MATCHED}-to-{self.sight}")


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
