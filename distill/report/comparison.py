"""A comparison of policies on the same resets: one tidy table of figures, and what several training seeds say together.

The table has a row for each policy and metric; every other view of a comparison (CSV, gap matrix, pages, figures) is a
pivot of it. Metrics are called as in comparison.csv; "success_at_end, in view at reset" is a metric in a stratum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.disagreement import Disagreement
from ..evaluation.evaluation import at_reset, by_phase, by_view, row_means
from ..evaluation.observability import (
    observability_gaps,
    retention,
    retentions,
    success_gap,
    success_gaps,
    success_part,
    unexplained_share,
)
from ..evaluation.statistics import Interval, Seeded, mean_of, seeded, t_interval, wilson
from .policy_kind import LEFT, STEREO, STUDENTS, TEACHERS, PolicyKind, taught
from .results import PolicyResult

ALL = "all steps"
SHARES = ("success_at_end", "success_once", "steps_in_view", "pixel_share", "found", "failed in", "dropped")
"""What the names of metrics begin with that lie in 0..1."""
Pair = tuple[PolicyResult, PolicyResult]
"""A teacher and its student."""


@dataclass(frozen=True)
class Row:
    """One line of the tidy table."""

    policy: str
    """Name of the policy's result."""
    scene: str
    """Scene of the comparison; empty if that has no name."""
    seed: int | None
    """Training seed of the policy."""
    metric: str
    """As the columns of comparison.csv are called; docs/metrics.md has formulas and units."""
    value: float
    low: float
    high: float
    """Bounds of the 95 % interval; NaN where the data cannot give one."""


@dataclass(frozen=True)
class Comparison:
    """Policies evaluated on the same resets."""

    policies: tuple[PolicyResult, ...]
    settings: dict[str, Any]
    """Episodes, seed, environments, kind of reset, scene, and the provenance of the comparison itself."""
    notes: tuple[str, ...] = ()
    """What a reader has to know beside the figures: unlike training environments, teachers that were not found, ..."""

    def policy(self, name: str) -> PolicyResult:
        """The policy of that name."""
        return next(one for one in self.policies if one.name == name)

    @cached_property
    def kinds(self) -> tuple[PolicyKind, ...]:
        """Policy kinds in the order of their first policy."""
        return tuple(dict.fromkeys(one.kind for one in self.policies))

    @cached_property
    def hardest(self) -> dict[str, int]:
        """Number of resets by name of the object, those first with which all policies together succeed least."""
        each = [one.summary["by_object_kind"] for one in self.policies]
        order = sorted(each[0], key=lambda name: (sum(of[name]["success_at_end"]["value"] for of in each), name))
        return {name: each[0][name]["episodes"] for name in order}

    def of_kind(self, kind: PolicyKind) -> list[PolicyResult]:
        """The policies of a kind: one per training seed."""
        return [one for one in self.policies if one.kind == kind]

    def pairs(self, kind: PolicyKind) -> list[Pair]:
        """(teacher, student) for each student of the kind whose teacher is compared, too."""
        known = {one.name: one for one in self.policies}
        return [(known[one.teacher], one) for one in self.of_kind(kind) if one.teacher in known]

    def control_of(self, student: PolicyResult) -> PolicyResult | None:
        """The control student of a student's teacher: that of the student's own training seed if there is one, else the
        first."""
        found = [one for one in self.policies if one.teacher == student.teacher and one.kind.control]
        same = [one for one in found if one.origin.seed == student.origin.seed]
        return next(iter(same or found), None)

    def one_eyed(self, student: PolicyResult) -> PolicyResult | None:
        """The student of the same teacher that was trained with the left eye alone, beside a stereo student."""
        if student.kind.student != STEREO:
            return None
        return next((o for o in self.policies if o.kind.student == LEFT and o.teacher == student.teacher), None)

    @cached_property
    def table(self) -> tuple[Row, ...]:
        """All figures of all policies, tidy."""
        scene = self.settings.get("scene", "")
        return tuple(
            Row(one.name, scene, one.origin.seed, metric, figure.value, figure.low, figure.high)
            for one in self.policies
            for metric, figure in figures_of(one, *self._beside(one)).items()
        )

    def _beside(self, one: PolicyResult) -> tuple[PolicyResult | None, PolicyResult | None]:
        """Its teacher and, if it is no control student itself, that teacher's control student."""
        teacher = self.policy(one.teacher) if one.teacher else None
        return teacher, self.control_of(one) if teacher and not one.kind.control else None

    @cached_property
    def _figures(self) -> dict[tuple[str, str], Interval]:
        return {(row.policy, row.metric): Interval(row.value, row.low, row.high) for row in self.table}

    def figure(self, policy: str, metric: str) -> Interval | None:
        """One figure of one policy; None where it is not known."""
        return self._figures.get((policy, metric))

    @property
    def several(self) -> bool:
        """Whether there are several training seeds of some kind of policy: intervals are over seeds then, and not over
        resets, and those of fewer than three seeds are not told."""
        return len(self.kinds) < len(self.policies)

    def over(self, kind: PolicyKind, metric: str, among: Sequence[str] = ()) -> Interval | None:
        """The mean over the policies of a kind with Student's t-interval over training seeds, from three on; the figure
        itself where there is one policy of each kind; None where none is known.

        Args:
            kind: of the policies.
            metric: is averaged.
            among: only policies count of which one of these metrics is known, too.
        """
        names = [one.name for one in self.of_kind(kind)]
        names = [name for name in names if not among or any(self.figure(name, other) for other in among)]
        each = [figure for name in names if (figure := self.figure(name, metric)) is not None]
        if not each or not self.several:
            return each[0] if each else None
        values = [figure.value for figure in each]
        return t_interval(values, metric.startswith(SHARES)) if len(each) > 2 else Interval(float(np.mean(values)))

    @cached_property
    def over_seeds(self) -> dict[PolicyKind, dict[str, Seeded]]:
        """Figures of each kind over all its training seeds and resets together, those that can be known: success,
        success_gap, retention, unexplained, observability_gap (over the seeds that have a control student; 0 for the
        control itself), steps_in_view, pixel_share."""
        return {kind: self._pooled(kind) for kind in self.kinds}

    def _pooled(self, kind: PolicyKind) -> dict[str, Seeded]:
        members, pairs = self.of_kind(kind), self.pairs(kind)
        successes = np.stack([one.evaluation.success_at_end.astype(float) for one in members])
        found = {"success": mean_of(successes, share=True)}
        evaluations = [(t.evaluation, s.evaluation) for t, s in pairs]
        if evaluations:
            found |= {"success_gap": success_gaps(evaluations), "retention": retentions(evaluations)}
        asked = [one.disagreement.sums() for one in members if one.disagreement is not None]
        if asked:
            found["unexplained"] = seeded(np.stack(asked), unexplained_share)
        controls = [(s, control) for _, s in pairs if (control := self.control_of(s))]
        beside = [(s.disagreement, control_beside(s, control)) for s, control in controls]
        both = [(own.sums(), other.sums()) for own, other in beside if own and other]
        if both:
            found["observability_gap"] = observability_gaps([own for own, _ in both], [other for _, other in both])
        if all(one.evaluation.seen for one in members):
            found["steps_in_view"] = _mean_of_rows(members, lambda one: one.evaluation.in_view)
            found["pixel_share"] = _mean_of_rows(members, lambda one: one.evaluation.pixels)
        return found

    @cached_property
    def matrix(self) -> dict[str, dict[str, PolicyKind | None]]:
        """The gap matrix: the kind that stands in each row (a teacher) and column (what its students see), for
        `over_seeds`; None where there is no such student."""
        cells = {teacher.row: {column: taught(teacher, column) for column in STUDENTS} for teacher in TEACHERS}
        return {row: {c: kind if kind in self.kinds else None for c, kind in of.items()} for row, of in cells.items()}


def figures_of(
    policy: PolicyResult, teacher: PolicyResult | None = None, control: PolicyResult | None = None
) -> dict[str, Interval]:
    """Everything that is known of one policy, by metric.

    Args:
        policy: is looked at.
        teacher: taught it, if that is compared, too.
        control: the control student of that teacher, if there is one.
    """
    figures = _of_summary(policy.summary)
    if teacher is not None:
        figures |= _of_pair(policy, teacher)
    if teacher is not None and control is not None:
        figures |= _by_cause(policy, teacher, control)
    for kind, evaluation in policy.ablations.items():
        figures[f"success_at_end, {kind}"] = wilson(evaluation.success_at_end)
        figures[f"success_lost, {kind}"] = success_gap(policy.evaluation, evaluation)
        if kind in policy.ablated_disagreements:
            figures[f"unexplained_action_variance, {kind}"] = policy.ablated_disagreements[kind].unexplained()
    return figures


def _of_summary(summary: dict[str, Any]) -> dict[str, Interval]:
    figures = {key: summary[key] for key in ("success_at_end", "success_once", "return", "length")}
    for view, outcome in summary.get("by_view_at_reset", {}).items():
        figures[f"success_at_end, {view} at reset"] = outcome["success_at_end"]
    for kind, outcome in summary["by_object_kind"].items():
        figures[f"success_at_end, {kind}"] = outcome["success_at_end"]
    if "visibility" in summary:
        seen = summary["visibility"]
        figures |= {key: seen[key] for key in ("steps_in_view", "pixel_share")}
        figures |= {key: seen["looking"][key] for key in ("found", "steps_until_seen")}
    if "phases" in summary:
        phases = summary["phases"]
        figures |= {f"failed in {phase}": figure for phase, figure in phases["failures"].items()}
        figures["dropped"] = phases["dropped"]
    figures |= summary.get("metrics", {})
    return {name: Interval(**figure) for name, figure in figures.items()}


def _of_pair(student: PolicyResult, teacher: PolicyResult) -> dict[str, Interval]:
    """What a student lost against its teacher on the same resets, and, where the teacher was asked, how far their
    decisions are apart: over all steps, and by whether its eyes see the object and by grasp phase (each against the
    variance of the teacher's actions on those steps)."""
    t, s, both = teacher.evaluation, student.evaluation, student.disagreement
    figures = {"success_gap": success_gap(t, s), "retention": retention(t, s)}
    views = {view: chosen for view, chosen in at_reset(s).items() if chosen.any()}
    figures |= {f"success_gap, {view} at reset": success_gap(t, s, chosen) for view, chosen in views.items()}
    figures |= {f"success_gap, part {view} at reset": success_part(t, s, chosen) for view, chosen in views.items()}
    if both is None:
        return figures
    masks = {ALL: None, **by_view(s, both.steps), **by_phase(s, both.steps)}
    metrics = {
        "unexplained_action_variance": both.unexplained,
        "student_sigma": both.student_sigma,
        "teacher_sigma": both.teacher_sigma,
    }
    for metric, figure in metrics.items():
        figures |= {in_stratum(metric, name): figure(mask) for name, mask in masks.items()}
    return figures


def in_stratum(metric: str, stratum: str) -> str:
    """The name of a metric over a part of the steps; over all of them it is the metric's own."""
    return metric if stratum == ALL else f"{metric}, {stratum}"


def _by_cause(student: PolicyResult, teacher: PolicyResult, control: PolicyResult) -> dict[str, Interval]:
    """On account of what a student lost: of learning (what even the control student cannot do, which sees what the
    teacher sees), or of what it cannot see (the rest). The parts add up to the whole."""
    beside = control_beside(student, control)
    if student.disagreement is None or beside is None:
        return {}
    t, s, c = (one.evaluation for one in (teacher, student, control))
    return {
        "optimisation_error": beside.unexplained(),
        "observability_gap": observability_gaps([student.disagreement.sums()], [beside.sums()]).both,
        "success_gap, optimisation": success_gap(t, c),
        "success_gap, observability": success_gap(c, s),
    }


def control_beside(student: PolicyResult, control: PolicyResult) -> Disagreement | None:
    """The control student's decisions and their teacher's on the states that the student visits, if it is the control
    of that very student; else on its own."""
    asked_there = control.driven is not None and control.driver == student.origin.digest
    return control.driven if asked_there else control.disagreement


def _mean_of_rows(members: Sequence[PolicyResult], column: Callable[[PolicyResult], NDArray]) -> Seeded:
    """Mean over episodes of each episode's mean of a column (E, T+1)."""
    return mean_of(np.stack([np.nan_to_num(row_means(column(one))) for one in members]), share=True)
