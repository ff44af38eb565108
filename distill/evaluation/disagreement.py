"""What the teacher would have done, and how sure both were, on the states that a student visits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...files import explained, read_arrays, write_arrays
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from .evaluate import evaluate
from .evaluation import Evaluation
from .observability import unexplained_share
from .rollout import Moment
from .statistics import Interval, ratio, seeded


@dataclass(frozen=True)
class Disagreement:
    """The teacher's and the student's decisions in E episodes of the student, by step; 0 where not valid."""

    teacher: NDArray[np.float32]
    """(T, E, A) the teacher's mean action, clipped to [-1, 1] as it is executed."""
    student: NDArray[np.float32]
    """(T, E, A) the student's, likewise."""
    teacher_std: NDArray[np.float32]
    """(T, E, A) the teacher's standard deviation."""
    student_std: NDArray[np.float32]
    """(T, E, A) the student's."""
    valid: NDArray[np.bool_]
    """(T, E) the episode was running when the action was chosen, and this step did not lose it."""

    @property
    def steps(self) -> int:
        """Number of steps, T."""
        return len(self.valid)

    def sums(self, where: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """(E, 3 + A) of each episode's valid steps, or those of them in `where` (T, E) bool: their number,
        sum |a_T - a_S|^2, sum |a_T|^2, sum a_T; what `unexplained_share` needs."""
        weight = self._chosen(where)[..., None].astype(np.float64)
        steps, total = weight.sum(axis=(0, 2)), (weight * self.teacher).sum(axis=0)
        missed, square = ((weight * x**2).sum(axis=(0, 2)) for x in (self.teacher - self.student, self.teacher))
        return np.concatenate([np.stack([steps, missed, square], axis=1), total], axis=1)

    def unexplained(self, where: NDArray[np.bool_] | None = None) -> Interval:
        """Unexplained action variance over the valid steps, or those in `where` (T, E) bool; the interval resamples
        whole episodes."""
        return seeded(self.sums(where)[None], unexplained_share).both

    def teacher_sigma(self, where: NDArray[np.bool_] | None = None) -> Interval:
        """The teacher's standard deviation, averaged over valid steps (those in `where`, (T, E) bool) and the action's
        dimensions, in units of the action; the interval resamples episodes."""
        return self._sigma(self.teacher_std, where)

    def student_sigma(self, where: NDArray[np.bool_] | None = None) -> Interval:
        """The student's, likewise: how unsure it is of what its teacher would do."""
        return self._sigma(self.student_std, where)

    def _sigma(self, std: NDArray[np.float32], where: NDArray[np.bool_] | None) -> Interval:
        valid = self._chosen(where)
        columns = np.stack([(std.mean(axis=2, dtype=np.float64) * valid).sum(axis=0), valid.sum(axis=0)], axis=1)
        return seeded(columns[None].astype(np.float64), lambda sums: ratio(sums[..., 0], sums[..., 1])).both

    def _chosen(self, where: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        return self.valid if where is None else self.valid & where

    def first(self, episodes: int) -> Disagreement:
        """The decisions in the first episodes."""
        return Disagreement(*(getattr(self, f.name)[:, :episodes] for f in fields(self)))

    def save(self, path: Path) -> None:
        """Write all arrays, compressed, as one npz file."""
        write_arrays(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def load(path: Path) -> Disagreement:
        """Read decisions that `save` wrote."""
        stored = read_arrays(path)
        with explained(path):
            return Disagreement(**{f.name: stored[f.name] for f in fields(Disagreement)})


class Listener:
    """Records both decisions while `evaluate` runs: pass it as `watch`, with the teacher as `advisor`."""

    def __init__(self, episodes: int) -> None:
        self.episodes = episodes
        self.decisions: list[NDArray[np.float32]] = []
        """T times (4, E, A), in the order of the fields of `Disagreement`."""
        self.valid: list[NDArray[np.bool_]] = []
        """T times (E,)."""

    def __call__(self, moment: Moment, rows: slice) -> None:
        if moment.advice is None or moment.advice_std is None:
            raise ValueError("nobody is asked: give `evaluate` an advisor")
        if moment.t == len(self.valid):
            self.decisions.append(np.zeros((4, self.episodes, moment.mean.shape[1]), dtype=np.float32))
            self.valid.append(np.zeros(self.episodes, dtype=bool))
        size = rows.stop - rows.start
        valid = (moment.running & ~moment.aborted)[:size].cpu().numpy()
        means = torch.stack([moment.advice, moment.mean]).clamp(-1, 1)
        all_four = torch.cat([means, torch.stack([moment.advice_std, moment.std])])[:, :size].cpu().numpy()
        self.decisions[moment.t][:, rows] = np.where(valid[:, None], all_four, 0.0)
        self.valid[moment.t][rows] = valid

    def result(self) -> Disagreement:
        """All decisions that were recorded."""
        teacher, student, teacher_std, student_std = np.stack(self.decisions, axis=1)
        return Disagreement(teacher, student, teacher_std, student_std, np.stack(self.valid))


def disagreement(
    student: Policy, teacher: Policy, env_config: EnvConfig, *, episodes: int = 512, **how: Any
) -> tuple[Evaluation, Disagreement]:
    """Let the student act, and ask the teacher, with its own hidden state, what it would do at every observation.

    Args:
        student: acts by its mean.
        teacher: is asked; the groups that it reads are rendered from the same states.
        env_config: where they meet.
        episodes: resets to start from.
        how: more of `evaluate`: `seed`, `num_envs`, `reset_kind`, `device`, `advance`, and `driver`, a behaviour policy
            that acts instead of the student, which is only asked, too; the evaluation is then its.
    """
    listener = Listener(episodes)
    evaluation = evaluate(student, env_config, episodes=episodes, watch=listener, advisor=teacher, **how)
    return evaluation, listener.result()
