"""What a student loses because its teacher knew what no camera can see: the figures.

They compare a teacher T and a student S on the same resets, or on the states that S itself visits. The plural
functions take one teacher-student pair for each training seed, the singular ones a single pair. Formulas and units:
docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import HandsightError
from .evaluation import Evaluation
from .statistics import Interval, Seeded, mean_of, paired_difference, paired_ratio, ratio, seeded

Pair = tuple[Evaluation, Evaluation]
"""Evaluations of a teacher and its student."""
PAIRED = ("seed", "num_envs", "reset_kind", "postures", "env")
"""Settings that decide which resets are met."""


def success_gap(teacher: Evaluation, student: Evaluation, chosen: NDArray[np.bool_] | None = None) -> Interval:
    """`success_gaps` of a single teacher-student pair, with the interval of a paired difference of shares.

    chosen (E,) bool: resets to look at; None takes all of them.
    """
    lost = _lost(teacher, student)
    return paired_difference(lost if chosen is None else lost[chosen])


def success_gaps(pairs: Sequence[Pair]) -> Seeded:
    """success_at_end of the teacher minus that of the student, paired over the same resets: positive = it loses."""
    check_paired(*(one for pair in pairs for one in pair))
    return mean_of(np.stack([_lost(*pair) for pair in pairs]))


def success_part(teacher: Evaluation, student: Evaluation, chosen: NDArray[np.bool_]) -> Interval:
    """What the chosen resets contribute to the success gap: their share of all resets times the gap among them.

    The parts of disjoint choices that cover all resets add up to `success_gap`. chosen (E,) bool.
    """
    return paired_difference(_lost(teacher, student) * chosen)


def retention(teacher: Evaluation, student: Evaluation) -> Interval:
    """`retentions` of a single teacher-student pair, with the interval of a paired ratio of shares."""
    check_paired(teacher, student)
    return paired_ratio(student.success_at_end, teacher.success_at_end)


def retentions(pairs: Sequence[Pair]) -> Seeded:
    """success_at_end of the student divided by that of the teacher, paired over the same resets; 1 = nothing lost."""
    check_paired(*(one for pair in pairs for one in pair))
    columns = np.stack([np.stack([one.success_at_end for one in pair], axis=1) for pair in pairs])
    return seeded(columns.astype(np.float64), lambda sums: ratio(sums[..., 1], sums[..., 0]))


def unexplained_share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unexplained action variance (...,) from sums over episodes (..., 3 + A), see `Disagreement.sums`:
    E|a_T - a_S|^2 / Var(a_T), the share of the teacher's decisions that the student missed.

    0 = the student does what the teacher would; 1 = no better than always doing the teacher's mean action on these
    states. Both expectations run over the same steps, and over all action dimensions together.
    """
    steps, missed, square, total = sums[..., 0], sums[..., 1], sums[..., 2], sums[..., 3:]
    return ratio(missed, square - ratio((total**2).sum(axis=-1), steps))


def observability_gaps(student: Sequence[NDArray], control: Sequence[NDArray]) -> Seeded:
    """unexplained(S) - unexplained(control): what is missing from the student's observations.

    The control student has the same trunk, heads, budget and loss, but the teacher's own observations; what even it
    cannot explain is optimisation error, not blindness. Both meet the same resets, which are resampled for both
    together; a control student is asked on the student's own states if it was fitted on them.

    Args:
        student: `Disagreement.sums` (E, 3 + A) of each pair's student.
        control: of the control student of the same teacher, in the same order.
    """
    width = student[0].shape[1]
    columns = np.concatenate([np.stack(student), np.stack(control)], axis=2)
    return seeded(columns, lambda sums: unexplained_share(sums[..., :width]) - unexplained_share(sums[..., width:]))


def check_paired(first: Evaluation, *others: Evaluation) -> None:
    """Raise HandsightError unless row i of all of them is the same reset."""
    for second in others:
        one, other = ({"postures": "training"} | evaluation.settings for evaluation in (first, second))
        differ = [
            "the environment" if key == "env" else f"{key}: {one.get(key)!r} and {other.get(key)!r}"
            for key in PAIRED
            if one.get(key) != other.get(key)
        ]
        if len(first.length) != len(second.length):
            differ.append(f"episodes: {len(first.length)} and {len(second.length)}")
        elif not np.array_equal(first.kind, second.kind) or not np.array_equal(first.reset_kind, second.reset_kind):
            differ.append("the objects or kinds of reset that were met")
        if differ:
            raise HandsightError(
                f"these evaluations are not paired, row by row; they differ in {'; '.join(differ)}. "
                "Evaluate both with the same seed, episodes, num_envs and environment (`handsight compare` does)."
            )


def _lost(teacher: Evaluation, student: Evaluation) -> NDArray[np.float64]:
    """(E,) 1 where the teacher succeeds and the student does not, -1 where it is the other way round."""
    check_paired(teacher, student)
    return teacher.success_at_end.astype(np.float64) - student.success_at_end
