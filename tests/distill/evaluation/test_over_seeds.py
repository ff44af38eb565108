"""Intervals over seeds and resets: against scipy, by hand, and by how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from handsight.distill.evaluation.statistics import Interval, bootstrap_mean, mean_of, ratio, seeded, t_interval, wilson


@pytest.mark.parametrize(("successes", "episodes"), [(0, 12), (7, 12), (12, 12), (431, 512)])
def test_wilson_interval_is_scipys(successes, episodes):
    found = wilson(np.arange(episodes) < successes)
    reference = stats.binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


def scipy_bootstrap(data, statistic, paired=False):
    found = stats.bootstrap(
        data, statistic, n_resamples=9999, paired=paired, vectorized=True, method="percentile", rng=3
    ).confidence_interval
    return found.low, found.high


def test_bootstrap_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).exponential(size=200)
    reference = scipy_bootstrap((values,), np.mean)
    spread = reference[1] - reference[0]
    for found in (bootstrap_mean(values), mean_of(values[None]).both):
        assert (found.low, found.high) == pytest.approx(reference, abs=0.05 * spread)


def test_bootstrap_interval_of_a_paired_ratio_is_scipys():
    draws = np.random.default_rng(1)
    below = draws.random(300) < 0.9
    above = below & (draws.random(300) < 0.8)
    columns = np.stack([above, below], axis=1).astype(float)
    found = seeded(columns[None], lambda sums: ratio(sums[..., 0], sums[..., 1])).both
    reference = scipy_bootstrap(
        (above.astype(float), below.astype(float)), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True
    )
    assert (found.low, found.high) == pytest.approx(reference, abs=0.05 * (reference[1] - reference[0]))


def test_several_seeds_have_their_own_figures_their_mean_and_students_t():
    table = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = mean_of(table)
    assert [one.value for one in found.each] == [0.75, 0.25, 1.0]
    assert found.value == found.both.value == pytest.approx(2 / 3)
    assert found.seeds == t_interval([0.75, 0.25, 1.0])
    assert found.each[2] == Interval(1.0, 1.0, 1.0)
    assert found.both.low < 0.5 < 0.85 < found.both.high


def test_one_seed_has_the_bootstrap_over_resets_and_no_t_interval():
    found = mean_of(np.array([[1.0, 0.0, 1.0, 1.0]]))
    assert found.both == found.each[0] == bootstrap_mean([1.0, 0.0, 1.0, 1.0])
    assert np.isnan(found.seeds.low)


def test_two_resets_have_an_interval():
    assert str(mean_of(np.array([[0.0, 1.0], [0.0, 1.0]])).both) == "0.500 [0.000, 1.000]"


def test_a_ratio_to_nothing_is_unknown_and_not_infinite():
    assert ratio(np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0])).tolist() == pytest.approx(
        [np.nan, np.nan, 1.5], nan_ok=True
    )


def test_without_two_resets_there_is_no_interval():
    found = mean_of(np.array([[1.0], [0.0]]))
    assert found.value == 0.5 and np.isnan(found.both.low)
    assert np.isnan(mean_of(np.zeros((2, 0))).value)


def test_seeds_that_differ_widen_the_interval_and_shared_hard_resets_do_not_average_out():
    draws = np.random.default_rng(2)
    hard = draws.normal(size=400)
    alike, apart = np.tile(hard, (8, 1)), np.tile(hard, (8, 1)) + draws.normal(0, 0.5, (8, 1))
    one, same, unlike = mean_of(hard[None]).both, mean_of(alike).both, mean_of(apart).both
    # eight chains that do the same on every reset know no more of the resets than one chain does: sd 1 / sqrt(400)
    assert same.high - same.low == pytest.approx(one.high - one.low)
    assert one.high - one.low == pytest.approx(2 * 1.96 / 20, rel=0.1)
    # and seeds add 0.5 / sqrt(8) to that: the sum of both variances
    assert unlike.high - unlike.low == pytest.approx(
        2 * 1.96 * np.hypot(1 / 20, apart.mean(1).std() / np.sqrt(8)), rel=0.1
    )


def test_interval_over_seeds_and_resets_holds_the_truth_about_as_often_as_it_says():
    hits = 0
    for number in range(100):
        draws = np.random.default_rng([7, number])
        table = draws.normal(0, 0.3, (10, 1)) + draws.normal(0, 1, (1, 100)) + draws.normal(0, 1, (10, 100))
        both = mean_of(table).both
        hits += both.low <= 0 <= both.high
    assert 0.90 <= hits / 100 <= 0.99
