"""The draws themselves: spread as they say, and independent of each other in every way in which they are told apart."""

import pytest
import torch

from handsight.sims.draws import Draws

N = 20_000


def draws(seed=0, worlds=None, episodes=None):
    worlds = torch.arange(N) if worlds is None else worlds
    return Draws(seed, worlds, torch.zeros_like(worlds) if episodes is None else episodes)


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def test_uniform_numbers_fill_their_range_evenly():
    found = draws().uniform("a", 2, -1.0, 3.0)
    assert found.min() >= -1 and found.max() < 3 and found.shape == (N, 2)
    shares = torch.histc(found, bins=8, min=-1, max=3) / found.numel()
    assert shares.tolist() == pytest.approx([1 / 8] * 8, abs=0.006)


def test_normal_numbers_have_mean_zero_and_variance_one():
    found = draws().gaussian("a", 3)
    assert abs(float(found.mean())) < 0.02 and float(found.std()) == pytest.approx(1.0, abs=0.02)
    assert abs(correlation(found[:, 0], found[:, 1])) < 0.03


def test_whole_numbers_and_choices_come_as_often_as_they_should():
    assert torch.bincount(draws().integer("a", 3)).tolist() == pytest.approx([N / 3] * 3, rel=0.04)
    chosen = draws().choice("a", torch.tensor([0.2, 0.0, 0.5, 0.3]))
    assert (torch.bincount(chosen, minlength=4) / N).tolist() == pytest.approx([0.2, 0.0, 0.5, 0.3], abs=0.015)


def test_names_seeds_worlds_episodes_and_places_have_nothing_to_do_with_each_other():
    """Of 20,000 pairs of independent numbers a correlation is below .028 in all but one case of 10,000."""
    first = draws().unit(mass=2)["mass"]
    others = [draws().unit(**{name: 1})[name][:, 0] for name in ("friction", "kind", "light", "radius", "goal", "b")]
    others += [draws(seed).unit(mass=1)["mass"][:, 0] for seed in (1, 2, 1_000_000)]
    others += [draws(episodes=torch.full((N,), e)).unit(mass=1)["mass"][:, 0] for e in (1, 2, 1 << 20)]
    others += [draws(worlds=torch.arange(N) + 1).unit(mass=1)["mass"][:, 0], first[:, 1]]
    assert [one for one in others if abs(correlation(first[:, 0], one)) > 0.028] == []


def test_no_two_of_many_names_seeds_worlds_and_episodes_draw_the_same():
    names = {name: 4 for name in ("mass", "friction", "kind", "light", "radius", "half_height", "goal", "posture")}
    grid = torch.cartesian_prod(torch.arange(8), torch.arange(8))  # the pair (world, episode), and the other way round
    found = [torch.cat(list(Draws(seed, *grid.T).unit(**names).values()), 1).flatten() for seed in range(4)]
    every = torch.cat(found)
    assert len(every.unique()) > 0.999 * len(every)  # of 24 bits some meet by chance


def test_what_is_drawn_together_is_what_each_would_be_alone():
    both = draws().unit(a=2, b=3)
    assert torch.equal(both["b"], draws().unit(b=3)["b"]) and torch.equal(both["a"], draws().unit(a=2)["a"])
