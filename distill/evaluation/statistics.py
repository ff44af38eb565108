"""How sure a figure is: Wilson intervals for shares, bootstrap intervals for means, t-intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval; the bounds are NaN where the data cannot give one."""

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: ArrayLike) -> Interval:
    """Share of successes with its Wilson score interval (Wilson 1927). successes (E,) bool, one per episode."""
    outcomes = np.asarray(successes, dtype=bool)
    if not len(outcomes):
        return Interval()
    bounds = stats.binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(outcomes.mean()), float(bounds.low), float(bounds.high))


def bootstrap_mean(values: ArrayLike) -> Interval:
    """Mean over episodes with its percentile bootstrap interval (Efron 1979), which resamples whole episodes: their
    steps are not independent of each other. The draws are fixed: the same data give the same interval.

    values (E,); NaN entries (nothing measured) are left out.
    """
    column = np.asarray(values, dtype=np.float64)
    column = column[np.isfinite(column)]
    if len(column) < 2:
        return Interval(float(column[0])) if len(column) else Interval()
    generator = np.random.default_rng(0)
    batches = [column[generator.integers(0, len(column), (RESAMPLES // 20, len(column)))] for _ in range(20)]
    return _percentiles(float(column.mean()), np.concatenate([batch.mean(axis=-1) for batch in batches]))


def t_interval(values: ArrayLike) -> Interval:
    """Mean over training seeds with Student's t-interval. values (K,), one per policy; bounds are NaN for one."""
    column = np.asarray(values, dtype=np.float64)
    mean = float(column.mean())
    if len(column) < 2:
        return Interval(mean)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(column) - 1) * stats.sem(column))
    return Interval(mean, mean - half, mean + half)


def plain(value: Any) -> Any:
    """The same tree for JSON: intervals and other dataclasses as dicts, numbers that are not finite as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums over episodes (..., C) to the figure (...,)."""


@dataclass(frozen=True)
class Seeded:
    """A figure of K policies, one for each training seed, that all met the same E resets. 95 % intervals."""

    each: tuple[Interval, ...]
    """The figure of each policy alone: percentile bootstrap over resets."""
    both: Interval
    """Mean over the policies, bootstrap over policies and resets; for one the same as `each[0]`."""
    seeds: Interval
    """Mean over the policies with Student's t over their values; the bounds are NaN for one."""

    @property
    def value(self) -> float:
        """Mean over the K policies."""
        return self.both.value


def seeded(columns: NDArray[np.float64], figure: Figure) -> Seeded:
    """A figure that is a function of sums over episodes, with its intervals.

    Every resample draws E resets, the same ones for all policies (they met the same, so a hard reset is hard for all of
    them), and then K policies: both ways of the table are resampled, as in the pigeonhole bootstrap (Owen 2007, 'The
    pigeonhole bootstrap', Ann. Appl. Stat. 1). A nested bootstrap, which draws other resets for every policy, would
    take the E resets for K E different ones and be too sure. With a handful of chains even this one is too narrow by
    about sqrt((K - 1) / K): hence the t-interval beside it. The draws are fixed: the same data give the same interval.

    Args:
        columns: (K, E, C) what is summed.
        figure: from sums (..., C) to the figure (...,); NaN where it is undefined, and such resamples are left out.
    """
    policies, episodes, width = columns.shape
    values = figure(columns.sum(axis=1))
    if episodes < 2:
        return Seeded(tuple(map(Interval, values.tolist())), Interval(float(values.mean())), t_interval(values))
    by_episode = columns.transpose(1, 0, 2).reshape(episodes, policies * width)
    drawn = figure((_resamples(episodes) @ by_episode).reshape(RESAMPLES, policies, width))
    picked = np.random.default_rng(1).integers(0, policies, (RESAMPLES, policies))
    means = np.take_along_axis(drawn, picked, axis=1).mean(axis=1)
    each = tuple(_percentiles(float(value), drawn[:, k]) for k, value in enumerate(values))
    return Seeded(each, _percentiles(float(values.mean()), means), t_interval(values))


def mean_of(column: NDArray[np.float64]) -> Seeded:
    """The mean over episodes of something that each of them has. column (K, E)."""
    return seeded(np.stack([column, np.ones_like(column)], axis=-1), lambda sums: ratio(sums[..., 0], sums[..., 1]))


def ratio(above: NDArray, below: NDArray) -> NDArray:
    """above / below; NaN where below is 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)


@lru_cache(maxsize=2)
def _resamples(episodes: int) -> NDArray[np.float64]:
    """(RESAMPLES, E) how often each reset is drawn."""
    drawn = np.random.default_rng(0).integers(0, episodes, (RESAMPLES, episodes))
    cells = drawn + episodes * np.arange(RESAMPLES)[:, None]
    return np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.float64)


def _percentiles(value: float, resampled: NDArray[np.float64]) -> Interval:
    if not np.isfinite(value):
        return Interval(value)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
