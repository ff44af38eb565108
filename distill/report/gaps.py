"""Teachers with the students that learnt from them: what each student lost, and on account of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..evaluation.disagreement import Disagreement
from ..evaluation.evaluation import at_reset, by_phase, by_view, row_means
from ..evaluation.observability import (
    action_sums,
    observability_gaps,
    retention,
    retentions,
    success_gap,
    success_gaps,
    success_part,
    unexplained_share,
)
from ..evaluation.statistics import Interval, Seeded, mean_of, seeded
from .policies import CONTROL, STUDENTS, TEACHERS, cell_of, role_of_cell
from .results import Entry

ALL = "all steps"


@dataclass(frozen=True)
class Gap:
    """What one student lost against its teacher, on the same resets."""

    student: str
    teacher: str
    success: Interval
    """success_at_end of the teacher minus the student's."""
    retention: Interval
    """success_at_end of the student / teacher."""
    success_by_view: dict[str, Interval]
    """`success` among the resets with the object in view, and out of view, of the left eye."""
    unexplained: Interval | None
    """Unexplained action variance on the student's states."""
    unexplained_by_view: dict[str, Interval]
    """The same over the steps at which the left eye sees the object, and does not (each against the variance of the
    teacher's actions on those steps)."""
    success_part_by_view: dict[str, Interval] = field(default_factory=dict)
    """How much of `success` was lost in resets with the object in view, and out of view: the parts add up to it."""
    unexplained_by_phase: dict[str, Interval] = field(default_factory=dict)
    """As by view: over the steps at which the hand reaches, closes, lifts."""
    student_sigma: dict[str, Interval] = field(default_factory=dict)
    """The student's standard deviation, mean over steps and action dimensions: over all steps, by view and by phase."""
    teacher_sigma: dict[str, Interval] = field(default_factory=dict)
    """The teacher's on the same steps."""


@dataclass(frozen=True)
class Decomposition:
    """On account of what one student lost: of learning, or of what it cannot see. The parts add up to the whole."""

    student: str
    control: str
    """Name of its teacher's control student."""
    unexplained: Interval
    """Unexplained action variance of the student."""
    optimisation: Interval
    """Of it, what even the control student cannot explain, which sees what the teacher sees."""
    observability: Interval
    """The rest: unexplained(S) - unexplained(control)."""
    success: Interval
    """success_at_end of the teacher minus the student's."""
    success_optimisation: Interval
    """Of it, success(T) - success(control)."""
    success_observability: Interval
    """The rest: success(control) - success(S)."""


def gap_of(student: Entry, teacher: Entry) -> Gap:
    """What the student lost."""
    t, s, both = teacher.evaluation, student.evaluation, student.disagreement
    views = {view: chosen for view, chosen in at_reset(s).items() if chosen.any()}
    seen = by_view(s, both.steps) if both else {}
    phases = by_phase(s, both.steps) if both else {}
    masks = {ALL: None, **seen, **phases}
    return Gap(
        student=student.name,
        teacher=teacher.name,
        success=success_gap(t, s),
        retention=retention(t, s),
        success_by_view={view: success_gap(t, s, chosen) for view, chosen in views.items()},
        unexplained=both.unexplained() if both else None,
        unexplained_by_view={view: both.unexplained(mask) for view, mask in seen.items()} if both else {},
        success_part_by_view={view: success_part(t, s, chosen) for view, chosen in views.items()},
        unexplained_by_phase={phase: both.unexplained(mask) for phase, mask in phases.items()} if both else {},
        student_sigma={name: both.student_sigma(mask) for name, mask in masks.items()} if both else {},
        teacher_sigma={name: both.teacher_sigma(mask) for name, mask in masks.items()} if both else {},
    )


def decomposition_of(student: Entry, teacher: Entry, control: Entry) -> Decomposition | None:
    """On account of what the student lost; None if the teacher was not asked on their states."""
    beside = control_beside(student, control)
    if student.disagreement is None or beside is None:
        return None
    t, s, c = (entry.evaluation for entry in (teacher, student, control))
    return Decomposition(
        student=student.name,
        control=control.name,
        unexplained=student.disagreement.unexplained(),
        optimisation=beside.unexplained(),
        observability=observability_gaps([sums_of(student.disagreement)], [sums_of(beside)]).both,
        success=success_gap(t, s),
        success_optimisation=success_gap(t, c),
        success_observability=success_gap(c, s),
    )


def control_beside(student: Entry, control: Entry) -> Disagreement | None:
    """The control student's decisions and their teacher's on the states that the student visits, if it is the control
    of that very student; else on its own."""
    asked_there = control.driven is not None and control.driver == student.origin.digest
    return control.driven if asked_there else control.disagreement


def sums_of(both: Disagreement) -> NDArray[np.float64]:
    """`action_sums` of both decisions."""
    return action_sums(both.teacher, both.student, both.valid)


Chain = tuple[Entry, Entry]
"""(teacher, student)."""


@dataclass(frozen=True)
class Cell:
    """The students of one kind that one kind of teacher taught, one for each training seed.

    A figure is None where it cannot be known: without a camera, without a control student, ...
    """

    teacher: str
    """One of `roles.TEACHERS`."""
    student: str
    """One of `roles.STUDENTS`."""
    role: str
    """Role of the students in it. A depth teacher's depth students are its control: two columns show the same."""
    chains: tuple[str, ...]
    """Names of the students' entries."""
    success: Seeded
    """success_at_end."""
    success_gap: Seeded | None
    """success_at_end of the teacher minus that; None where no teacher is compared."""
    retention: Seeded | None
    """success_at_end of the student / teacher."""
    unexplained: Seeded | None
    """Unexplained action variance on the students' own states."""
    observability_gap: Seeded | None
    """`unexplained` minus that of the control students, over the seeds that have both; 0 in the control's own cell."""
    steps_in_view: Seeded | None
    """Mean over episodes of the share of observations with the object in view of the left eye."""
    pixel_share: Seeded | None
    """Mean over episodes of the mean share of the left eye's pixels that show the object."""


def gap_matrix(entries: Sequence[Entry]) -> dict[str, dict[str, Cell | None]]:
    """Cells by teacher and student; None for a cell without a single student."""
    return {teacher: {student: _cell(teacher, student, entries) for student in STUDENTS} for teacher in TEACHERS}


def chains_of(role: str, entries: Sequence[Entry]) -> list[Chain]:
    """(teacher, student) for each student of the role whose teacher is among the entries."""
    known = {entry.name: entry for entry in entries}
    return [(known[e.teacher], e) for e in entries if e.role == role and e.teacher in known]


def by_seed(first: Sequence[Chain], second: Sequence[Chain]) -> list[tuple[Chain, Chain]]:
    """Pairs of chains with the same training seed of the student; where several share it, in their order. Chains
    without a counterpart are left out."""
    left, pairs = list(second), []
    for chain in first:
        match = next((other for other in left if other[1].origin.seed == chain[1].origin.seed), None)
        if match is not None:
            left.remove(match)
            pairs.append((chain, match))
    return pairs


def controls_of(chains: Sequence[Chain], entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """(student, its teacher's control student) for each chain whose teacher has one: of the student's own training
    seed if there is one, else the first."""
    pairs = []
    for teacher, student in chains:
        found = [e for e in entries if e.teacher == teacher.name and cell_of(e.role)[1] == CONTROL]
        same = [e for e in found if e.origin.seed == student.origin.seed]
        pairs += [(student, control) for control in (same or found)[:1]]
    return pairs


def _cell(teacher: str, student: str, entries: Sequence[Entry]) -> Cell | None:
    role = role_of_cell(teacher, student)
    members = [entry for entry in entries if entry.role == role]
    if not members:
        return None
    chains = chains_of(role, entries)
    pairs = [(t.evaluation, s.evaluation) for t, s in chains]
    asked = [entry.disagreement for entry in members if entry.disagreement is not None]
    beside = [(s.disagreement, control_beside(s, c)) for s, c in controls_of(chains, entries)]
    compared = [(sums_of(own), sums_of(other)) for own, other in beside if own and other]
    return Cell(
        teacher=teacher,
        student=student,
        role=role,
        chains=tuple(entry.name for entry in members),
        success=mean_of(np.stack([e.evaluation.success_at_end.astype(float) for e in members])),
        success_gap=success_gaps(pairs) if pairs else None,
        retention=retentions(pairs) if pairs else None,
        unexplained=seeded(np.stack([sums_of(both) for both in asked]), unexplained_share) if asked else None,
        observability_gap=(
            observability_gaps([own for own, _ in compared], [other for _, other in compared]) if compared else None
        ),
        steps_in_view=_seen(members, lambda e: e.evaluation.in_view),
        pixel_share=_seen(members, lambda e: e.evaluation.visible),
    )


def _seen(members: Sequence[Entry], column: Callable[[Entry], NDArray]) -> Seeded | None:
    """Mean over episodes of each episode's mean of a column (E, T+1)."""
    if not all(entry.evaluation.seen for entry in members):
        return None
    return mean_of(np.stack([np.nan_to_num(row_means(column(entry))) for entry in members]))
