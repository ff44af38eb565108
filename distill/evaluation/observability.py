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
Rows = NDArray[np.bool_] | None
"""(E,) bool, resets to look at; None takes all of them."""
PAIRED = ("seed", "num_envs", "reset_kind", "postures", "env")
"""Settings that decide which resets are met."""


def success_gap(teacher: Evaluation, student: Evaluation, chosen: Rows = None) -> Interval:
    """`success_gaps` of a single teacher-student pair, with the interval of a paired difference of shares."""
    check_paired(teacher, student)
    return paired_difference(_rows(_lost([(teacher, student)]), chosen)[0])


def success_gaps(pairs: Sequence[Pair], chosen: Rows = None) -> Seeded:
    """success_at_end of the teacher minus that of the student, paired over the same resets: positive = it loses."""
    check_all_paired(pairs)
    return mean_of(_rows(_lost(pairs), chosen))


def success_part(teacher: Evaluation, student: Evaluation, chosen: NDArray[np.bool_]) -> Interval:
    """What the chosen resets contribute to the success gap: their share of all resets times the gap among them.

    The parts of disjoint choices that cover all resets add up to `success_gap`. chosen (E,) bool.
    """
    check_paired(teacher, student)
    return paired_difference(_lost([(teacher, student)])[0] * chosen)


def retention(teacher: Evaluation, student: Evaluation, chosen: Rows = None) -> Interval:
    """`retentions` of a single teacher-student pair, with the interval of a paired ratio of shares."""
    check_paired(teacher, student)
    return paired_ratio(*(_rows(one.success_at_end[None], chosen)[0] for one in (student, teacher)))


def retentions(pairs: Sequence[Pair], chosen: Rows = None) -> Seeded:
    """success_at_end of the student divided by that of the teacher, paired over the same resets; 1 = nothing lost."""
    check_all_paired(pairs)
    both = np.stack([[one.success_at_end for one in pair] for pair in pairs]).astype(np.float64)
    columns = _rows(np.swapaxes(both, 1, 2), chosen)
    return seeded(columns, lambda sums: ratio(sums[..., 1], sums[..., 0]))


def gap_differences(first: Sequence[Pair], second: Sequence[Pair], chosen: Rows = None) -> Seeded:
    """How much more the first kind of pair loses than the second: gap(T1, S1) - gap(T2, S2), pair k of the one
    against pair k of the other (the same training seed), and paired over the same resets."""
    if len(first) != len(second):
        raise ValueError(f"two kinds of pairs are compared one by one: found {len(first)} and {len(second)}")
    check_all_paired([*first, *second])
    return mean_of(_rows(_lost(first) - _lost(second), chosen), span=(-2, 2))


def unexplained_variance(teacher: NDArray, student: NDArray, valid: NDArray[np.bool_]) -> Interval:
    """E|a_T - a_S|^2 / Var(a_T) over valid steps: the share of the teacher's decisions that the student missed.

    0 = the student does what the teacher would; 1 = no better than always doing the teacher's mean action on these
    states. Both expectations run over the same steps, and over all action dimensions together; the interval resamples
    whole episodes (columns).

    Args:
        teacher: (T, E, A) mean actions, clipped to the range that the environment executes.
        student: (T, E, A) likewise.
        valid: (T, E) bool.
    """
    return seeded(action_sums(teacher, student, valid)[None], unexplained_share).both


def action_sums(teacher: NDArray, student: NDArray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(E, 3 + A) of each episode: steps, sum |a_T - a_S|^2, sum |a_T|^2, sum a_T; what `unexplained_share` needs."""
    weight = valid[..., None].astype(np.float64)
    steps, total = weight.sum(axis=(0, 2)), (weight * teacher).sum(axis=0)
    missed, square = ((weight * x**2).sum(axis=(0, 2)) for x in (teacher - student, teacher))
    return np.concatenate([np.stack([steps, missed, square], axis=1), total], axis=1)


def unexplained_share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unexplained action variance (...,) from sums over episodes (..., 3 + A)."""
    steps, missed, square, total = sums[..., 0], sums[..., 1], sums[..., 2], sums[..., 3:]
    return ratio(missed, square - ratio((total**2).sum(axis=-1), steps))


def observability_gaps(student: Sequence[NDArray], control: Sequence[NDArray]) -> Seeded:
    """unexplained(S) - unexplained(control): what is missing from the student's observations.

    The control student has the same trunk, heads, budget and loss, but the teacher's own observations; what even it
    cannot explain is optimisation error, not blindness. Both meet the same resets, which are resampled for both
    together; a control student is asked on the student's own states if it was fitted on them.

    Args:
        student: `action_sums` (E, 3 + A) of each pair's student.
        control: of the control student of the same teacher, in the same order.
    """
    width = student[0].shape[1]
    columns = np.concatenate([np.stack(student), np.stack(control)], axis=2)
    return seeded(columns, lambda sums: unexplained_share(sums[..., :width]) - unexplained_share(sums[..., width:]))


def mean_sigma(std: NDArray, valid: NDArray[np.bool_]) -> Interval:
    """Standard deviation averaged over valid steps and the action's dimensions; the interval resamples episodes.

    std (T, E, A), in units of the action, whose range is [-1, 1]; valid (T, E) bool.
    """
    columns = np.stack([(std.mean(axis=2, dtype=np.float64) * valid).sum(axis=0), valid.sum(axis=0)], axis=1)
    return seeded(columns[None].astype(np.float64), lambda sums: ratio(sums[..., 0], sums[..., 1])).both


def check_paired(first: Evaluation, second: Evaluation) -> None:
    """Raise HandsightError unless row i of both is the same reset."""
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


def check_all_paired(pairs: Sequence[Pair]) -> None:
    """Raise HandsightError unless row i of all of them is the same reset."""
    for pair in pairs:
        for evaluation in pair:
            check_paired(pairs[0][0], evaluation)


def _lost(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """(K, E) 1 where the teacher succeeds and the student does not, -1 where it is the other way round."""
    return np.stack([t.success_at_end.astype(np.float64) - s.success_at_end for t, s in pairs])


def _rows(columns: NDArray, chosen: Rows) -> NDArray:
    """columns (K, E, ...) of the chosen resets."""
    return columns if chosen is None else columns[:, chosen]
