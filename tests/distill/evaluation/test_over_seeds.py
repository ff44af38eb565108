"""Intervals over seeds and resets: against scipy, by hand, and by how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from handsight.distill.evaluation.statistics import (
    bootstrap_mean,
    holm,
    mean_of,
    p_value,
    paired_difference,
    paired_ratio,
    ratio,
    seeded,
    t_interval,
    wilson,
)


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
    assert (found.each[2].value, found.each[2].high) == (1.0, 1.0)  # see the test of episodes that are all alike
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


def test_policies_that_agree_in_every_episode_are_not_surely_equal():
    """Bonett and Price with 0 and 0 disagreements of 510: 1.96 sqrt((2/512) / 512) = .0054."""
    found = paired_difference(np.zeros(510))
    assert found.value == 0 and (found.low, found.high) == pytest.approx((-0.00541, 0.00541), abs=1e-5)
    same = np.ones(510, dtype=bool)
    assert paired_ratio(same, same).value == 1 and paired_ratio(same, same).low < 0.996


def test_a_paired_difference_by_hand():
    """5 lost and 1 gained of 98: (6 - 2) / 100 -+ 1.96 sqrt((.08 - .0016) / 100)."""
    lost = np.array([1.0] * 5 + [-1.0] + [0.0] * 92)
    found = paired_difference(lost)
    assert found.value == pytest.approx(4 / 98)
    assert (found.low, found.high) == pytest.approx((0.04 - 0.05488, 0.04 + 0.05488), abs=1e-4)
    assert paired_difference(np.ones(3)).high == 1.0
    assert np.isnan(paired_difference(np.zeros(0)).value)


def test_a_paired_ratio_by_hand():
    """80 of 100 against 90 of 100, 14 disagreements: 8/9 exp(-+ 1.96 sqrt(16 / (81 91)))."""
    below = np.arange(100) < 90
    above = np.where(np.arange(100) < 78, True, np.arange(100) >= 98)
    assert (above.sum(), below.sum(), (above != below).sum()) == (80, 90, 14)
    found, spread = paired_ratio(above, below), np.exp(1.959964 * np.sqrt(16 / (81 * 91)))
    assert (found.value, found.low, found.high) == pytest.approx((8 / 9, 8 / 9 / spread, 8 / 9 * spread))


@pytest.mark.parametrize("values", [[0.99, 0.90, 1.0], [0.02, 0.0, 0.4], [0.5, 0.9]])
def test_intervals_of_shares_stay_between_0_and_1(values):
    found, plain = t_interval(values, share=True), t_interval(values)
    assert 0 < found.low < found.value < found.high < 1
    assert not (plain.low > 0 and plain.high < 1)
    assert np.isnan(t_interval([1.0, 1.0, 1.0], share=True).low)


def test_shares_far_from_the_ends_have_students_t():
    found, plain = t_interval([0.50, 0.51, 0.49], share=True), t_interval([0.50, 0.51, 0.49])
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=2e-4)


def test_holm_by_hand():
    """.01 x 4; .02 x 3; .03 x 2 = .06 again; .9; what is not tested counts and is not adjusted."""
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.01, float("nan")]) == pytest.approx([0.02, float("nan")], nan_ok=True)
    assert holm([]) == []


def test_a_mean_of_equal_values_that_nothing_bounds_stands_alone():
    found = bootstrap_mean([3.0] * 40)
    assert found.value == 3.0 and np.isnan([found.low, found.high]).all()
    assert bootstrap_mean([3.0] * 39 + [4.0]).low < 3.01
    shares = bootstrap_mean([1.0] * 40, (0, 1))
    assert shares.low < shares.high == 1.0


def test_p_is_below_five_per_cent_where_students_interval_is_clear_of_zero():
    for values in ([0.1, 0.2, 0.3], [0.1, 0.2, 0.6]):
        assert (p_value(values) < 0.05) == (t_interval(values).low > 0)
    assert np.isnan(p_value([0.3]))


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


def test_where_all_episodes_are_alike_the_interval_still_has_a_width():
    """All 512 lost: 1 - .05^(1/512) = .00583 of the episodes may be others and were not met, each worth up to 2."""
    unseen = 1 - 0.05 ** (1 / 512)
    for count, span, wanted in (
        (1, (-1, 1), (1 - 2 * unseen, 1.0)),
        (3, (-1, 1), (1 - 2 * unseen, 1.0)),
        (1, (-2, 2), (1 - 3 * unseen, 1 + unseen)),
    ):
        found = mean_of(np.ones((count, 512)), span=span)
        for one in (found.both, *found.each):
            assert (one.low, one.high) == pytest.approx(wanted, abs=1e-12) and one.value == 1.0
    never = mean_of(np.zeros((1, 512)), share=True).both
    assert (never.low, never.high) == pytest.approx((0.0, unseen), abs=1e-12)
    assert bootstrap_mean(np.zeros(512), (0, 1)) == never


def test_seeds_that_all_have_the_same_say_nothing_of_how_far_others_may_lie():
    found = mean_of(np.ones((3, 512)))
    assert np.isnan(found.seeds.low) and found.seeds.value == 1.0
    shown = found.interval
    assert shown.low < 1.0 and np.isfinite(shown.low)
