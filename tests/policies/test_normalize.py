import pytest
import torch

from handsight.policies import RunningMeanStd, moments


def test_merging_in_parts_equals_one_shot():
    torch.manual_seed(0)
    rows = torch.randn(1000, 3) * torch.tensor([1.0, 100.0, 0.01]) + torch.tensor([0.0, 5.0, -3.0])
    parts, whole = RunningMeanStd(3), RunningMeanStd(3)
    for part in rows.split([1, 9, 490, 500]):
        parts.update(part)
    whole.update(rows)
    for name in ("mean", "variance", "count"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.variance, rows.double().var(0, correction=0))


def test_values_are_centred_scaled_and_clipped():
    normalizer = RunningMeanStd(1, clip=10.0)
    normalizer.update(torch.tensor([[1.0], [5.0]]))  # mean 3, standard deviation 2
    assert normalizer(torch.tensor([[3.0], [7.0], [1000.0], [-1000.0]])).flatten().tolist() == [0.0, 2.0, 10.0, -10.0]


def test_without_data_values_pass_through():
    assert RunningMeanStd(2)(torch.tensor([[0.5, -2.0]])).tolist() == [[0.5, -2.0]]


def test_no_rows_change_nothing():
    normalizer = RunningMeanStd(2)
    normalizer.update(torch.randn(10, 2))
    before = normalizer.mean.clone()
    normalizer.update(torch.zeros(0, 2))
    assert torch.equal(normalizer.mean, before)
    assert normalizer.count == 10


def test_leading_axes_are_rows():
    rows = torch.randn(4, 5, 2)
    torch.testing.assert_close(moments(rows), moments(rows.flatten(0, 1)))


def test_statistics_travel_with_the_weights():
    trained, fresh = RunningMeanStd(2), RunningMeanStd(2)
    trained.update(torch.randn(100, 2) * 3 + 1)
    fresh.load_state_dict(trained.state_dict())
    assert fresh(torch.ones(1, 2)).tolist() == trained(torch.ones(1, 2)).tolist()
    assert not list(trained.parameters())


def test_a_constant_entry_does_not_divide_by_zero():
    normalizer = RunningMeanStd(1)
    normalizer.update(torch.full((10, 1), 4.0))
    assert normalizer(torch.tensor([[4.0]])).item() == pytest.approx(0.0)
