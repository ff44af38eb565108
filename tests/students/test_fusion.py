"""What two eyes tell: the cost volume finds disparity, and the depth head's label is what it says."""

import pytest
import torch
from torch import nn

from handsight.students.fusion import Correlation, CostVolume, CrossAttention, DepthHead, depth_target


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_the_cost_volume_is_greatest_at_the_disparity(shift):
    """The right eye sees in column x - disparity what the left one sees in column x."""
    torch.manual_seed(0)
    left = torch.randn(2, 16, 6, 12)
    right = torch.roll(left, -shift, dims=3)
    volume = CostVolume(16, 12)
    volume.project = nn.Identity()
    cost = volume(torch.stack([left, right], dim=1).flatten(0, 1))
    assert cost.shape == (2, 12, 6, 12)
    seen_by_both = cost[..., shift:]
    assert (seen_by_both.argmax(dim=1) == shift).all()
    torch.testing.assert_close(seen_by_both[:, shift], torch.ones(2, 6, 12 - shift))


def test_places_that_the_right_eye_does_not_see_agree_with_nothing():
    volume = CostVolume(4, 5)
    cost = volume(torch.randn(2, 4, 3, 5))
    assert all((cost[:, d, :, :d] == 0).all() for d in range(5))


def test_depth_of_a_place_is_the_mean_over_its_returns():
    depth = torch.tensor([[[[300, 500, 0, 0], [0, 400, 0, 0]]]], dtype=torch.int16)
    label, known = depth_target(depth, (1, 2), mean=200.0, std=100.0)
    assert known.tolist() == [[[True, False]]] and label[0, 0, 0] == pytest.approx(2.0)


def slanted(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of textured planes at a disparity of their own, and that disparity: only two eyes can tell it."""
    draws = torch.Generator().manual_seed(0)
    left = torch.randn(count, 8, 4, 12, generator=draws)
    disparity = torch.randint(0, 5, (count,), generator=draws)
    right = torch.stack([torch.roll(m, -int(d), dims=2) for m, d in zip(left, disparity, strict=True)])
    return torch.stack([left, right], dim=1), disparity.float()


@pytest.mark.parametrize(("eyes", "sees"), [(2, True), (1, False)])
def test_geometry_is_seen_with_two_eyes_and_not_with_one(eyes, sees):
    torch.manual_seed(0)
    maps, disparity = slanted(64)
    head, fresh = DepthHead((8, 4, 12), eyes), slanted(96)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    inner = slice(5, None)  # the columns that both eyes see
    for _ in range(120):
        loss = (head(maps[:, :eyes].flatten(0, 1))[..., inner] - disparity[:, None, None]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guess = head(fresh[0][64:, :eyes].flatten(0, 1))[..., inner]
    truth = fresh[1][64:, None, None]
    explained = 1 - (guess - truth).square().mean() / truth.var(correction=0)
    assert (explained > 0.8) == sees and (sees or explained < 0.2)


def depth_head():
    return DepthHead((4, 3, 5), 2)


def correlation():
    fusion = Correlation([(4, 3, 5)], 6)
    return lambda both: fusion([both], both)


@pytest.mark.parametrize("made", [depth_head, correlation])
def test_beside_the_agreement_of_both_eyes_only_the_left_ones_features_are_read(made, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(CostVolume, "forward", lambda self, both: both.new_zeros(2, self.disparities, 3, 5))
    read, maps = made(), torch.randn(2, 2, 4, 3, 5)
    seen, moved = read(maps.flatten(0, 1)), []
    for eye in range(2):
        changed = maps.clone()
        changed[:, eye] += 1
        moved.append(not torch.allclose(read(changed.flatten(0, 1)), seen))
    assert moved == [True, False]


def test_a_single_return_makes_a_place_known():
    depth = torch.zeros(1, 1, 4, 4, dtype=torch.int16)
    depth[0, 0, 1, 3] = 700
    label, known = depth_target(depth, (1, 1), mean=500.0, std=100.0)
    assert known.all() and label.item() == pytest.approx(2.0)


def test_attention_tells_the_eyes_apart_where_both_see_the_same():
    torch.manual_seed(0)
    fusion = CrossAttention([(4, 2, 2)], eyes=2, proprio=3, width=8, heads=2)
    tokens = torch.randn(5, 1, 4, 4).expand(-1, 2, -1, -1)
    weights = fusion.attention([tokens], torch.randn(5, 3))
    assert not torch.allclose(weights[:, :, 0], weights[:, :, 1], atol=1e-3)
