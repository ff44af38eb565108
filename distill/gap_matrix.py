"""The gap matrix: teachers {state, depth after a warm start, depth from scratch} x students {control, depth, stereo,
left eye}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .chains import control_beside, sums_of
from .entry import Entry
from .evaluation import row_means
from .observability import observability_gaps, retentions, success_gaps, unexplained_share
from .over_seeds import Seeded, mean_of, seeded
from .roles import CONTROL, STUDENTS, TEACHERS, cell_of, role_of_cell

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
