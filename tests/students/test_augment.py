import pytest
import torch

from handsight.students import AugmentConfig, PairedAugment

STEPS, EPISODES, SIDE = 2, 6, 16


def dots() -> torch.Tensor:
    """(T, B, 2, 3, H, W): one bright pixel per eye, 3 pixels apart."""
    images = torch.zeros(STEPS, EPISODES, 2, 3, SIDE, SIDE, dtype=torch.uint8)
    images[:, :, 0, :, 8, 9] = 200
    images[:, :, 1, :, 8, 6] = 200
    return images


def places(images: torch.Tensor) -> torch.Tensor:
    """(T, B, 2, 2): row and column of the brightest pixel of each eye."""
    best = images[:, :, :, 0].flatten(3).argmax(3)
    return torch.stack([best // SIDE, best % SIDE], dim=-1)


def test_a_shift_moves_both_eyes_alike_in_all_steps_of_an_episode():
    torch.manual_seed(0)
    found = places(PairedAugment(AugmentConfig(shift=2))(dots())[0])
    assert (found[:, :, 0, 0] == found[:, :, 1, 0]).all()  # rows: the pair stays rectified
    assert (found[:, :, 0, 1] - found[:, :, 1, 1] == 3).all()  # columns: disparity stays
    assert (found[0] == found[1]).all()
    moved = found[0, :, 0] - torch.tensor([8, 9])
    assert moved.abs().max() <= 2 and len(moved.unique(dim=0)) > 1


def test_depth_labels_move_with_the_left_image_and_keep_their_values():
    torch.manual_seed(0)
    depth = torch.zeros(STEPS, EPISODES, 1, SIDE, SIDE, dtype=torch.int16)
    depth[..., 8, 9] = 30_000
    images, moved = PairedAugment(AugmentConfig(shift=2, brightness=0.2, noise=1.0))(dots(), depth)
    assert moved.dtype == torch.int16 and moved.shape == depth.shape and moved.max() == 30_000
    assert torch.equal(places(moved[:, :, None])[:, :, 0], places(images)[:, :, 0])
    assert PairedAugment(AugmentConfig(noise=1.0))(dots(), depth)[1] is depth


def test_each_share_changes_what_it_says_alike_in_both_eyes():
    torch.manual_seed(0)
    grey = torch.full((STEPS, EPISODES, 2, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    bright = PairedAugment(AugmentConfig(brightness=0.2))(grey)[0]
    assert (bright[:, :, 0] == bright[:, :, 1]).all() and (bright[0] == bright[1]).all()
    assert 80 <= bright.min() < 95 and 105 < bright.max() <= 120
    torch.testing.assert_close(PairedAugment(AugmentConfig(contrast=0.5))(grey)[0], grey.float())
    torch.testing.assert_close(PairedAugment(AugmentConfig(saturation=0.5))(grey)[0], grey.float())
    eyes = PairedAugment(AugmentConfig(eye_brightness=0.1))(grey)[0]
    assert (eyes[:, :, 0] != eyes[:, :, 1]).all() and (eyes[0] == eyes[1]).all()


def test_noise_differs_in_every_pixel_and_has_the_spread_asked_for():
    torch.manual_seed(0)
    grey = torch.full((STEPS, EPISODES, 2, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    noisy = PairedAugment(AugmentConfig(noise=4.0))(grey)[0]
    assert noisy.std() == pytest.approx(4.0, rel=0.05)
    for axis in range(noisy.ndim):  # steps, episodes, eyes, colours, rows, columns
        assert (noisy.diff(dim=axis).std() - 4.0 * 2**0.5).abs() < 0.3, axis


def test_a_shift_reaches_as_far_to_each_side_as_was_asked_for():
    torch.manual_seed(0)
    images = dots()[:, :1].expand(-1, 200, -1, -1, -1, -1)
    moved = places(PairedAugment(AugmentConfig(shift=2))(images)[0])[0, :, 0] - torch.tensor([8, 9])
    assert [sorted(set(axis.tolist())) for axis in moved.unbind(1)] == [[-2, -1, 0, 1, 2]] * 2


def test_images_stay_in_range_and_are_not_changed_in_place():
    images = torch.randint(0, 256, (STEPS, EPISODES, 2, 3, SIDE, SIDE), dtype=torch.uint8)
    before = images.clone()
    seen = PairedAugment(AugmentConfig(1, 0.4, 0.4, 0.4, 0.1, 20.0))(images)[0]
    assert seen.min() >= 0 and seen.max() <= 255 and torch.equal(images, before)


def test_nothing_asked_is_nothing_done():
    assert not AugmentConfig().active and AugmentConfig(shift=1).active
    images = torch.randint(0, 256, (STEPS, EPISODES, 2, 3, SIDE, SIDE), dtype=torch.uint8)
    torch.testing.assert_close(PairedAugment(AugmentConfig())(images)[0], images.float())
