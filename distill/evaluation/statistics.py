"""How sure a figure is: Wilson intervals for shares, adjusted Wald intervals for paired differences of shares,
bootstrap intervals for means, t-intervals over seeds, Holm's correction for several contrasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

CONFIDENCE = 0.95
RESAMPLES = 2000
NORMAL = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval; the bounds are NaN where the data cannot give one."""

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")

    @property
    def negative(self) -> Interval:
        """The same figure, counted the other way."""
        return Interval(-self.value, -self.high, -self.low)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: ArrayLike) -> Interval:
    """Share of successes with its Wilson score interval (Wilson 1927). successes (E,) bool, one per episode."""
    outcomes = np.asarray(successes, dtype=bool)
    if not len(outcomes):
        return Interval()
    bounds = stats.binomtest(int(outcomes.sum()), len(outcomes)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(outcomes.mean()), float(bounds.low), float(bounds.high))


def bootstrap_mean(values: ArrayLike, span: tuple[float, float] | None = None) -> Interval:
    """Mean over episodes with its percentile bootstrap interval (Efron 1979), which resamples whole episodes: their
    steps are not independent of each other. The draws are fixed: the same data give the same interval.

    values (E,); NaN entries (nothing measured) are left out. span: least and greatest value, as in `seeded`.
    """
    column = np.asarray(values, dtype=np.float64)
    column = column[np.isfinite(column)]
    if len(column) < 2:
        return Interval(float(column[0])) if len(column) else Interval()
    resampled: Any = stats.bootstrap(
        (column,), np.mean, n_resamples=RESAMPLES, batch=RESAMPLES // 20, method="percentile", rng=0
    )
    bounds = resampled.confidence_interval
    return _spread(Interval(float(column.mean()), float(bounds.low), float(bounds.high)), span, len(column))


def paired_difference(lost: ArrayLike) -> Interval:
    """Difference of two shares of the same E episodes, with the adjusted Wald interval (Bonett and Price 2012,
    'Adjusted Wald confidence interval for a difference of binomial proportions based on paired data'): one is added to
    the counts of both kinds of disagreement, so that policies which agree in every episode are not surely equal.

    lost (E,): 1 where only the first has it, -1 where only the second has it, else 0.
    """
    column = np.asarray(lost, dtype=np.float64)
    if not len(column):
        return Interval()
    total = len(column) + 2
    first, second = (float((column == sign).sum() + 1) / total for sign in (1, -1))
    half = NORMAL * float(np.sqrt((first + second - (first - second) ** 2) / total))
    middle = first - second
    return Interval(float(column.mean()), max(-1.0, middle - half), min(1.0, middle + half))


def paired_ratio(above: ArrayLike, below: ArrayLike) -> Interval:
    """Share of the one divided by the share of the other over the same E episodes: the interval of the logarithm, with
    one added to the counts of both kinds of disagreement, as in `paired_difference`. above, below (E,) bool."""
    one, other = (np.asarray(column, dtype=bool) for column in (above, below))
    if not one.any() or not other.any():
        return Interval(float(ratio(one.sum(), other.sum())))
    value = float(one.sum() / other.sum())
    spread = np.sqrt(((one != other).sum() + 2) / ((one.sum() + 1) * (other.sum() + 1)))
    low, high = (value * float(np.exp(sign * NORMAL * spread)) for sign in (-1, 1))
    return Interval(value, low, high)


def t_interval(values: ArrayLike, share: bool = False) -> Interval:
    """Mean over training seeds with Student's t-interval. values (K,), one per policy; bounds are NaN for one.

    The bounds of a `share` are worked out for its logit and stay inside [0, 1]. They are NaN where all seeds have the
    same, as nothing tells how far they may spread.
    """
    column = np.asarray(values, dtype=np.float64)
    mean = float(column.mean())
    if len(column) < 2:
        return Interval(mean)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(column) - 1) * stats.sem(column))
    if not half or (share and not 0 < mean < 1):
        return Interval(mean)
    if not share:
        return Interval(mean, mean - half, mean + half)
    middle, slope = float(special.logit(mean)), 1 / (mean * (1 - mean))  # the delta method
    return Interval(mean, *(float(special.expit(middle + sign * half * slope)) for sign in (-1, 1)))


def p_value(values: ArrayLike) -> float:
    """Two-sided p of Student's t-test that the mean over training seeds is 0; NaN for fewer than two. values (K,)."""
    test: Any = stats.ttest_1samp(values, 0.0) if len(np.asarray(values)) > 1 else None
    return float(test.pvalue) if test else float("nan")


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number (Holm 1979): each may be held against the level that one alone would be.
    What is NaN, not tested, stays so and counts as one of them."""
    adjusted, most = [float("nan")] * len(p_values), 0.0
    for turn, place in enumerate(np.argsort(p_values).tolist()):  # NaN last
        if np.isfinite(p_values[place]):
            most = max(most, min(1.0, (len(p_values) - turn) * p_values[place]))
            adjusted[place] = most
    return adjusted


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

    @property
    def interval(self) -> Interval:
        """The interval over training seeds; over resets where there is a single one, or all seeds have the same."""
        return self.seeds if np.isfinite(self.seeds.low) else self.both


def seeded(
    columns: NDArray[np.float64], figure: Figure, share: bool = False, span: tuple[float, float] | None = None
) -> Seeded:
    """A figure that is a function of sums over episodes, with its intervals.

    Every resample draws E resets, the same ones for all policies (they met the same, so a hard reset is hard for all of
    them), and then K policies: both ways of the table are resampled, as in the pigeonhole bootstrap (Owen 2007, 'The
    pigeonhole bootstrap', Ann. Appl. Stat. 1). A nested bootstrap, which draws other resets for every policy, would
    take the E resets for K E different ones and be too sure. With a handful of chains even this one is too narrow by
    about sqrt((K - 1) / K): hence the t-interval beside it. The draws are fixed: the same data give the same interval.

    Args:
        columns: (K, E, C) what is summed.
        figure: from sums (..., C) to the figure (...,); NaN where it is undefined, and such resamples are left out.
        share: whether the figure lies in 0..1, as does its interval then.
        span: least and greatest value that one episode can have. Where all episodes are alike no resample differs, and
            the interval reaches as far as episodes unlike these could be as frequent as 1 - .05^(1/E) and unseen
            (Hanley and Lippman-Hand 1983, 'If nothing goes wrong, is everything all right?').
    """
    policies, episodes, width = columns.shape
    values = figure(columns.sum(axis=1))
    if episodes < 2:
        return Seeded(tuple(map(Interval, values.tolist())), Interval(float(values.mean())), t_interval(values, share))
    by_episode = columns.transpose(1, 0, 2).reshape(episodes, policies * width)
    drawn = figure((_resamples(episodes) @ by_episode).reshape(RESAMPLES, policies, width))
    picked = np.random.default_rng(1).integers(0, policies, (RESAMPLES, policies))
    means = np.take_along_axis(drawn, picked, axis=1).mean(axis=1)
    each = tuple(_spread(_percentiles(float(value), drawn[:, k]), span, episodes) for k, value in enumerate(values))
    return Seeded(each, _spread(_percentiles(float(values.mean()), means), span, episodes), t_interval(values, share))


def _spread(figure: Interval, span: tuple[float, float] | None, episodes: int) -> Interval:
    """The interval; one of no width is widened by a share of episodes that were not met, with the values of `span`;
    where nothing bounds these, the value stands alone."""
    if figure.low != figure.high:
        return figure
    if span is None:
        return Interval(figure.value)
    unseen = 1 - (1 - CONFIDENCE) ** (1 / episodes)
    low, high = (figure.value + unseen * (end - figure.value) for end in span)
    return Interval(figure.value, low, high)


def mean_of(column: NDArray[np.float64], share: bool = False, span: tuple[float, float] = (-1, 1)) -> Seeded:
    """The mean over episodes of something that each of them has. column (K, E); share: whether it lies in 0..1, else in
    `span`."""
    columns = np.stack([column, np.ones_like(column)], axis=-1)
    return seeded(columns, lambda sums: ratio(sums[..., 0], sums[..., 1]), share, (0, 1) if share else span)


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
