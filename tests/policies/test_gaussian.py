import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from handsight import policies
from handsight.policies import GaussianHead


@pytest.fixture
def two():
    torch.manual_seed(0)
    return torch.randn(7, 3), torch.rand(7, 3) + 0.1, torch.randn(7, 3), torch.rand(7, 3) + 0.1


def test_log_prob_and_entropy_are_those_of_torch(two):
    mean, std, action, _ = two
    reference = Independent(Normal(mean, std), 1)
    torch.testing.assert_close(policies.log_prob(mean, std, action), reference.log_prob(action))
    torch.testing.assert_close(policies.entropy(std), reference.entropy())


def test_divergence_is_old_from_new(two):
    mean, std, new_mean, new_std = two
    reference = kl_divergence(Independent(Normal(mean, std), 1), Independent(Normal(new_mean, new_std), 1))
    torch.testing.assert_close(policies.kl_divergence(*two), reference)
    assert policies.kl_divergence(mean, std, mean, std).abs().max() < 1e-6


def test_a_std_at_its_bound_comes_back():
    head = GaussianHead(2, 3, initial_std=0.1, min_std=0.1, max_std=1.0)
    with torch.no_grad():
        head.log_std -= 5
    head.clip_std()
    torch.testing.assert_close(head.std(), torch.full((3,), 0.1))
    (-head.std().sum()).backward()
    assert (head.log_std.grad < 0).all()


def test_head_starts_at_its_std():
    mean, std = GaussianHead(2, 3, 0.6, 0.05, 1.0)(torch.randn(5, 2))
    assert mean.shape == std.shape == (5, 3)
    assert std.unique().tolist() == pytest.approx([0.6])


def test_impossible_bounds_are_refused():
    with pytest.raises(ValueError, match=r"expected 0 < min_std <= initial_std <= max_std, found min_std=0.7"):
        GaussianHead(2, 3, initial_std=0.6, min_std=0.7, max_std=math.inf)
