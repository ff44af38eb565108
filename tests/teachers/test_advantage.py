"""Expected numbers are worked out by hand: gamma 1/2, lambda 1/2, so each step back weighs a quarter."""

import pytest
import torch

from handsight.teachers import compute_gae

REWARD, VALUE, LAST = [1.0, 2.0, 4.0], [2.0, 4.0, 8.0], 16.0


def gae(terminated=(0, 0, 0), truncated=(0, 0, 0), valid=(1, 1, 1), reward=REWARD):
    column = lambda flags: torch.tensor(flags, dtype=torch.bool)[:, None]  # noqa: E731
    advantage, returns = compute_gae(
        torch.tensor(reward)[:, None],
        torch.tensor(VALUE)[:, None],
        torch.tensor([LAST]),
        column(terminated),
        column(truncated),
        column(valid),
        gamma=0.5,
        lam=0.5,
    )
    torch.testing.assert_close(returns, advantage + torch.tensor(VALUE)[:, None])
    return advantage[:, 0].tolist()


def test_without_an_end_the_last_value_is_bootstrapped():
    # deltas: 1 + 2 - 2 = 1; 2 + 4 - 4 = 2; 4 + 8 - 8 = 4
    assert gae() == [1 + (2 + 4 / 4) / 4, 2 + 4 / 4, 4.0]


def test_termination_bootstraps_nothing():
    # deltas: 1; 2 - 4 = -2; 4
    assert gae(terminated=(0, 1, 0)) == [1 - 2 / 4, -2.0, 4.0]


def test_truncation_bootstraps_from_last_observation():
    # Row 1 is cut by the clock: its delta still holds the value 8 of observation 2, which is its episode's last one.
    assert gae(truncated=(0, 1, 0), valid=(1, 1, 0)) == [1 + 2 / 4, 2.0, 0.0]


def test_an_invalid_row_is_cut_on_both_sides():
    # Row 1 diverged: row 0 bootstraps from the value 4 of observation 1, a real one; nothing else passes.
    assert gae(valid=(1, 0, 1)) == [1.0, 0.0, 4.0]


def test_what_stands_in_an_invalid_row_does_not_matter():
    assert gae(valid=(1, 0, 1), reward=[1.0, float("nan"), 4.0]) == [1.0, 0.0, 4.0]


def test_worlds_do_not_mix():
    torch.manual_seed(0)
    shape = (5, 3)
    reward, value, last = torch.randn(shape), torch.randn(shape), torch.randn(3)
    ends = [torch.rand(shape) < 0.3 for _ in range(2)] + [torch.rand(shape) < 0.8]
    together, _ = compute_gae(reward, value, last, *ends, 0.9, 0.8)
    for i in range(3):
        alone, _ = compute_gae(
            reward[:, [i]], value[:, [i]], last[[i]], *(flags[:, [i]] for flags in ends), gamma=0.9, lam=0.8
        )
        assert alone[:, 0].tolist() == pytest.approx(together[:, i].tolist())
