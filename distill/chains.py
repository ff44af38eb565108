"""Teachers with the students that learnt from them: what each student lost, and on account of what."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .disagreement import Disagreement
from .entry import Entry
from .intervals import Interval
from .observability import action_sums, observability_gaps, retention, success_gap, success_part
from .strata import at_reset, by_phase, by_view

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
