"""What a student loses because its teacher knew what no camera can see.

Figures compare a teacher T and a student S on the states that S itself visits; design notes in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import HandsightError
from ..policies.policy import Policy
from .episodes import Moment
from .evaluate import HELD_OUT_SEED, evaluate
from .evaluation import Evaluation
from .intervals import Interval, bootstrap

if TYPE_CHECKING:
    from ..sims.make import EnvConfig

PAIRED = ("seed", "num_envs", "reset_kind", "env")
"""Settings that decide which resets are met."""


def success_gap(teacher: Evaluation, student: Evaluation, chosen: NDArray[np.bool_] | None = None) -> Interval:
    """success_at_end of the teacher minus that of the student, paired over the same resets.

    Args:
        teacher: evaluated on the same resets as the student; anything else raises HandsightError.
        student: positive gap = the student loses.
        chosen: (E,) bool, resets to look at; all by default.
    """
    check_paired(teacher, student)
    lost = teacher.success_at_end.astype(np.float64) - student.success_at_end
    lost = lost if chosen is None else lost[chosen]
    return bootstrap(len(lost), lambda i: lost[i].mean(axis=-1))


def retention(teacher: Evaluation, student: Evaluation, chosen: NDArray[np.bool_] | None = None) -> Interval:
    """success_at_end of the student divided by that of the teacher, paired over the same resets; 1 = nothing lost."""
    check_paired(teacher, student)
    keep = np.ones(len(teacher.length), dtype=bool) if chosen is None else chosen
    of_teacher, of_student = teacher.success_at_end[keep].astype(float), student.success_at_end[keep].astype(float)
    return bootstrap(len(of_teacher), lambda i: _ratio(of_student[i].sum(axis=-1), of_teacher[i].sum(axis=-1)))


def gap_difference(
    first: tuple[Evaluation, Evaluation], second: tuple[Evaluation, Evaluation], chosen: NDArray[np.bool_] | None = None
) -> Interval:
    """How much more the first chain loses than the second: gap(T1, S1) - gap(T2, S2), paired over the same resets.

    Each chain is (teacher, student); chosen (E,) bool as in `success_gap`.
    """
    for evaluation in (first[1], *second):
        check_paired(first[0], evaluation)
    (t1, s1), (t2, s2) = (tuple(e.success_at_end.astype(np.float64) for e in chain) for chain in (first, second))
    lost = (t1 - s1) - (t2 - s2)
    lost = lost if chosen is None else lost[chosen]
    return bootstrap(len(lost), lambda i: lost[i].mean(axis=-1))


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
    weight = valid[..., None].astype(np.float64)
    missed = (weight * (teacher - student) ** 2).sum(axis=(0, 2))
    steps, total = weight.sum(axis=(0, 2)), (weight * teacher).sum(axis=0)
    square = (weight * teacher**2).sum(axis=(0, 2))

    def share(i: NDArray) -> NDArray:
        count, mean_missed = steps[i].sum(axis=-1), missed[i].sum(axis=-1)
        around_mean = square[i].sum(axis=-1) - _ratio((total[i].sum(axis=-2) ** 2).sum(axis=-1), count)
        return _ratio(mean_missed, around_mean)

    return bootstrap(valid.shape[1], share)


def observability_gap(student: Interval, control: Interval) -> float:
    """unexplained(S) - unexplained(control): what is missing from the student's observations.

    The control student has the same trunk, heads and budget, but the teacher's own observations, fitted on the states
    that S visits; what even it cannot explain is optimisation error, not blindness.
    """
    return student.value - control.value


@dataclass(frozen=True)
class Disagreement:
    """The teacher's and the student's decisions on the states that the student visits."""

    teacher: NDArray[np.float32]
    """(T steps, E episodes, A) the teacher's mean action, clipped to [-1, 1] as it is executed; 0 if not valid."""
    student: NDArray[np.float32]
    """(T, E, A) the student's, likewise."""
    valid: NDArray[np.bool_]
    """(T, E) the episode was running when the action was chosen, and this step did not lose it."""

    def unexplained(self, where: NDArray[np.bool_] | None = None) -> Interval:
        """Unexplained action variance over the valid steps, or over those of them in `where` (T, E) bool."""
        return unexplained_variance(self.teacher, self.student, self.valid if where is None else self.valid & where)

    def save(self, path: Path) -> None:
        np.savez_compressed(path, teacher=self.teacher, student=self.student, valid=self.valid)

    @staticmethod
    def load(path: Path) -> Disagreement:
        with np.load(path) as stored:
            return Disagreement(stored["teacher"], stored["student"], stored["valid"])


class Listener:
    """Writes down both decisions while `evaluate` runs: pass it as `watch`, with the teacher as `advisor`."""

    def __init__(self, episodes: int) -> None:
        self.episodes = episodes
        self.decisions: list[NDArray[np.float32]] = []
        """T times (2, E, A): the teacher's, the student's."""
        self.valid: list[NDArray[np.bool_]] = []
        """T times (E,)."""

    def __call__(self, moment: Moment, rows: slice) -> None:
        if moment.advice is None:
            raise ValueError("nobody is asked: give `evaluate` an advisor")
        if moment.t == len(self.valid):
            self.decisions.append(np.zeros((2, self.episodes, moment.mean.shape[1]), dtype=np.float32))
            self.valid.append(np.zeros(self.episodes, dtype=bool))
        size = rows.stop - rows.start
        valid = (moment.running & ~moment.aborted)[:size].cpu().numpy()
        both = torch.stack([moment.advice, moment.mean])[:, :size].clamp(-1, 1).cpu().numpy()
        self.decisions[moment.t][:, rows] = both * valid[:, None]
        self.valid[moment.t][rows] = valid

    def result(self) -> Disagreement:
        teacher, student = np.stack(self.decisions, axis=1)
        return Disagreement(teacher, student, np.stack(self.valid))


def disagreement(
    student: Policy,
    teacher: Policy,
    env_config: EnvConfig,
    *,
    episodes: int = 512,
    seed: int = HELD_OUT_SEED,
    num_envs: int = 256,
    reset_kind: str | None = None,
    device: str = "cpu",
    advance: Callable[[int], None] | None = None,
) -> tuple[Evaluation, Disagreement]:
    """Let the student act, and ask the teacher, with its own memory, what it would do at every observation.

    Args:
        student: acts by its mean.
        teacher: is asked; the groups that it reads are rendered from the same states.
        env_config: where they meet.
        episodes: as in `evaluate`, like the rest.
        seed: of the first round of resets.
        num_envs: worlds stepped together.
        reset_kind: kind of reset of every episode.
        device: the policies'; the worlds are there, too, if their engine can be.
        advance: called with the number of episodes finished.
    """
    listener = Listener(episodes)
    evaluation = evaluate(
        student,
        env_config,
        num_envs=num_envs,
        reset_kind=reset_kind,
        device=device,
        episodes=episodes,
        seed=seed,
        watch=listener,
        advisor=teacher,
        advance=advance,
    )
    return evaluation, listener.result()


def check_paired(first: Evaluation, second: Evaluation) -> None:
    """Raise HandsightError unless row i of both is the same reset."""
    differ = [
        f"{key}: {first.settings.get(key)!r} and {second.settings.get(key)!r}"
        for key in PAIRED
        if first.settings.get(key) != second.settings.get(key)
    ]
    if len(first.length) != len(second.length):
        differ.append(f"episodes: {len(first.length)} and {len(second.length)}")
    if not np.array_equal(first.kind, second.kind) or not np.array_equal(first.reset_kind, second.reset_kind):
        differ.append("the objects or kinds of reset that were met")
    if differ:
        raise HandsightError(
            f"these evaluations are not paired, row by row; they differ in {'; '.join(differ)}. "
            "Evaluate both with the same seed, episodes, num_envs and environment (`handsight compare` does)."
        )


def _ratio(above: NDArray, below: NDArray) -> NDArray:
    """above / below; NaN where below is 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)
