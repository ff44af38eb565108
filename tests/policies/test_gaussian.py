import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from handsight import policies
from handsight.errors import HandsightError
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
    with pytest.raises(HandsightError, match=r"expected 0 < min_std <= initial_std <= max_std, found min_std=0.7"):
        GaussianHead(2, 3, initial_std=0.6, min_std=0.7, max_std=math.inf)


def test_predicted_spread_begins_as_the_constant_one_without_another_draw():
    torch.manual_seed(0)
    constant, after = GaussianHead(4, 2, 0.3, 0.02, 1.0), torch.rand(1)
    torch.manual_seed(0)
    predicted, after_too = GaussianHead(4, 2, 0.3, 0.02, 1.0, predicted=True), torch.rand(1)
    features = torch.randn(5, 4)
    for one, other in zip(constant(features), predicted(features), strict=True):
        torch.testing.assert_close(one, other)
    assert after == after_too


def test_predicted_spread_learns_where_errors_are_and_leaves_the_features_alone():
    torch.manual_seed(0)
    hidden = torch.rand(4096, 1).round()
    features = torch.cat([hidden, 1 - hidden], dim=1).requires_grad_()
    error = torch.randn(4096, 1) * (0.1 + 0.4 * hidden)
    head = GaussianHead(2, 1, 0.3, 0.02, 1.0, predicted=True)
    optimizer = torch.optim.Adam([head.log_std, head.spread.weight], lr=0.02)
    for _ in range(300):
        std = head(features)[1]
        loss = (std.log() + error.square() / (2 * std.square())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert features.grad is None
    std = head(features)[1].detach()
    assert std[hidden == 1].mean() == pytest.approx(0.5, rel=0.05)
    assert std[hidden == 0].mean() == pytest.approx(0.1, rel=0.05)


def test_predicted_spread_stays_within_its_bounds_and_finds_back():
    head = GaussianHead(1, 1, 0.3, 0.1, 0.5, predicted=True)
    with torch.no_grad():
        head.spread.weight.fill_(10.0)
    std = head(torch.tensor([[1.0], [-1.0]]))[1]
    torch.testing.assert_close(std, torch.tensor([[0.5], [0.1]]))
    std[0].sum().backward()
    assert head.spread.weight.grad.abs() > 0
