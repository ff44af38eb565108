"""How sure a figure is: Wilson intervals for shares, bootstrap intervals for means, t-intervals over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval; the bounds are NaN where the data cannot give one."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


NO_INTERVAL = Interval(float("nan"), float("nan"), float("nan"))


def wilson(successes: ArrayLike) -> Interval:
    """Share of successes with its Wilson score interval (Wilson 1927). successes (E,) bool, one per episode."""
    outcomes = np.asarray(successes, dtype=bool)
    if not len(outcomes):
        return NO_INTERVAL
    bounds = stats.binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(outcomes.mean()), float(bounds.low), float(bounds.high))


def bootstrap(episodes: int, statistic: Callable[[NDArray], NDArray]) -> Interval:
    """Percentile bootstrap (Efron 1979) over whole episodes, whose steps are not independent of each other.

    `statistic` maps episode numbers (..., E) int to the figure (...,), so that paired columns are resampled together;
    resamples in which it is undefined (NaN, e.g. no success to divide by) are left out. The draws are fixed: the same
    data give the same interval.
    """
    value = float(statistic(np.arange(episodes)))
    if episodes < 2 or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"))
    generator = np.random.default_rng(0)
    batches = [statistic(generator.integers(0, episodes, (RESAMPLES // 20, episodes))) for _ in range(20)]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(np.concatenate(batches), [tail, 100 - tail])
    return Interval(value, float(low), float(high))


def bootstrap_mean(values: ArrayLike) -> Interval:
    """Mean over episodes with its bootstrap interval. values (E,); NaN entries (nothing measured) are left out."""
    column = np.asarray(values, dtype=np.float64)
    column = column[np.isfinite(column)]
    return bootstrap(len(column), lambda i: column[i].mean(axis=-1)) if len(column) else NO_INTERVAL


def t_interval(values: ArrayLike) -> Interval:
    """Mean over training seeds with Student's t-interval. values (K,), one per chain; bounds are NaN for one chain."""
    column = np.asarray(values, dtype=np.float64)
    mean = float(column.mean())
    if len(column) < 2:
        return Interval(mean, float("nan"), float("nan"))
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
