"""The cells of a study: which trainings there are, what each one needs, and where its run lies.

A cell is one training, in `<out>/<scene>/seed<k>/<cell>/<run name>/<date>/`. Kinds of cell:

state-teacher, depth-teacher (warm start from that seed's state teacher), depth-teacher-scratch
{state,depth,depth-scratch}-to-{stereo,left,depth,control}   students of these teachers' best checkpoints
                   (control: what the teacher sees, fitted on the states that the stereo student of that teacher visits)
matched-to-{...}   a student of the stronger teacher of the seed, at the checkpoint that is as good as the weaker one:
                   the folder is called state-matched-to-... or depth-matched-to-..., after that teacher
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import HandsightError, unknown
from ..report.policy_kind import LEFT

TEACHERS = ("state-teacher", "depth-teacher", "depth-teacher-scratch")
"""Kinds of teachers' cells."""
TAUGHT_BY = {"state": "state-teacher", "depth": "depth-teacher", "depth-scratch": "depth-teacher-scratch"}
"""What a student's cell calls its teacher."""
MATCHED = "matched"
"""Instead of a teacher: the stronger one of the two, at the checkpoint that is as good as the weaker one."""
RIVALS = ("state-teacher", "depth-teacher")
"""The two that are matched."""
SIGHTS = ("stereo", "left", "depth", "control")
"""What students see; "control": what their teacher sees."""
DRIVER = "stereo"
"""Sight of the student on whose states a control student is fitted."""


class StudyError(HandsightError):
    """A study that cannot be read or run as it is asked for."""


@dataclass(frozen=True)
class Cell:
    """One training of the matrix."""

    scene: str
    seed: int
    name: str
    """Kind of cell."""

    def __post_init__(self) -> None:
        if not self.is_teacher and (self.source not in self._sources or self.sight not in SIGHTS):
            raise StudyError(f"scene {self.scene}: {unknown('cell', self.name, KINDS)}")

    @property
    def is_teacher(self) -> bool:
        return self.name in TEACHERS

    @property
    def source(self) -> str:
        """Whom a student learns from, as its name says it: "state", "depth-scratch", "matched", "state-matched"."""
        return self.name.rpartition("-to-")[0]

    @property
    def sight(self) -> str:
        """What a student sees, or "control"."""
        return self.name.rpartition("-to-")[2]

    @property
    def matched(self) -> bool:
        """Whether it learns from a checkpoint that was chosen to be as good as the other teacher."""
        return self.source.endswith(MATCHED)

    @property
    def key(self) -> str:
        """Unique within a study, e.g. "wrist/seed0/state-teacher"; the folder below `out`."""
        return f"{self.scene}/seed{self.seed}/{self.name}"

    @property
    def teacher(self) -> str | None:
        """Kind of cell whose checkpoint it learns from; None where there is none, or where matching decides."""
        if self.name == "depth-teacher":
            return "state-teacher"
        if self.is_teacher:
            return None
        return TAUGHT_BY.get(self.source.removesuffix(f"-{MATCHED}"))

    @property
    def taught_by(self) -> str:
        """What the teacher of a student sees."""
        return self.source.split("-")[0]

    @property
    def seen(self) -> str:
        """What it sees itself, as `roles.sight_of` calls it."""
        if self.is_teacher:
            return self.name.split("-")[0]
        return {"control": self.taught_by, "left": LEFT}.get(self.sight, self.sight)

    @property
    def needs(self) -> tuple[Cell, ...]:
        """What must be trained before."""
        names = RIVALS if self.matched else filter(None, [self.teacher])
        return tuple(Cell(self.scene, self.seed, name) for name in names)

    @property
    def driver(self) -> Cell | None:
        """The student that drives while a control student learns; it must be trained before, too."""
        if self.sight != "control":
            return None
        return Cell(self.scene, self.seed, f"{self.source}-to-{DRIVER}")

    def settled(self, stronger: str) -> Cell:
        """The cell of a matched student, now that matching has decided whose student it is."""
        source = next(source for source, teacher in TAUGHT_BY.items() if teacher == stronger)
        return Cell(self.scene, self.seed, f"{source}-{MATCHED}-to-{self.sight}")

    @property
    def _sources(self) -> tuple[str, ...]:
        return (*TAUGHT_BY, MATCHED, *(f"{source}-{MATCHED}" for source in ("state", "depth")))

    @staticmethod
    def of(key: str) -> Cell:
        """The cell of a key."""
        scene, seed, name = key.split("/")
        return Cell(scene, int(seed.removeprefix("seed")), name)


KINDS = (*TEACHERS, *(f"{source}-to-{sight}" for source in (*TAUGHT_BY, MATCHED) for sight in SIGHTS))
"""What a study may ask for."""


def cells_of(scene: str, asked: Mapping[str, int | Sequence[int]]) -> list[Cell]:
    """The cells of a scene by seed, each after those that it needs, which are added; teachers from scratch, which take
    by far the longest, and their students come last.

    Raises:
        StudyError: unknown kind of cell, or seeds that are none.
    """
    wanted: list[Cell] = []
    for name, seeds in asked.items():
        if name not in KINDS:
            raise StudyError(f"scene {scene}: {unknown('cell', name, KINDS)}")
        numbers = range(seeds) if isinstance(seeds, int) else seeds
        if not numbers or any(not 0 <= seed < 1000 for seed in numbers):
            raise StudyError(f"scene {scene}: {name}: expected a number of seeds or a list of 0..999, found {seeds!r}")
        wanted += [Cell(scene, seed, name) for seed in numbers]
    found: dict[Cell, None] = {}
    for cell in sorted(wanted, key=lambda cell: ("scratch" in cell.name, cell.seed)):
        _add(cell, found)
    return list(found)


def _add(cell: Cell, found: dict[Cell, None]) -> None:
    for needed in (*cell.needs, *filter(None, [cell.driver])):
        _add(needed, found)
    found[cell] = None


def folder(out: Path, cell: Cell) -> Path:
    """Where the cell's run folders lie."""
    return out / cell.key
