"""What is drawn of light, colours, cameras and sensors changes images by as much as it says, on every engine of ours.

`test_draws_have_effect.py` lists every draw with its test.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from handsight.sims.cameras import blurred
from handsight.sims.env_config import EXACT_DEPTH

from .draws_probe import ABOVE, WORLDS
from .draws_probe import probe as probe

# -- light and colour ------------------------------------------------------------------------------------------------


def table(probe, of=np.mean, **ranges):
    """(N, 3) grey levels of the table in the left eye, the arm and the object out of the way; of: takes axes, too."""
    probe.reset(**ranges)
    probe.alone(height=0.04, x=5.0)
    return of(probe.images()["left"][:, :, 20:60, 4:60], (2, 3))


def test_light_strength(probe):
    """White squares of the grey table reflect .75 x .95 of the lamp, which stands at 1 / |(.15, .1, -1)| = .984 to it:
    255 x .701 = 179 grey levels for a strength of 1."""
    dark, dim, bright = (table(probe, np.max, light_strength=(one, one)) for one in (0.0, 0.1, 0.3))
    assert dim - dark == pytest.approx(np.full((WORLDS, 3), 17.9), abs=1.01)
    assert bright - dark == pytest.approx(np.full((WORLDS, 3), 53.7), abs=1.01)


def test_light_tilt(probe):
    """What the lamp adds goes with the cosine of its angle to the table; untilted that is 1 / |(.15, .1, -1)|."""
    dark, straight = table(probe, light_strength=(0.0, 0.0)), table(probe)
    leaning = table(probe, light_tilt=2.0)
    direction = probe.drawn["light_dir"]
    lean = direction[:, :2] / -direction[:, 2:] - (0.15, 0.1)
    assert (abs(lean) <= 2.0).all() and np.ptp(lean) > 1
    cosine = -direction[:, 2:] * math.sqrt(1 + 0.15**2 + 0.1**2)
    assert (leaning - dark) / (straight - dark) == pytest.approx(cosine * np.ones((1, 3)), abs=0.05)
    assert cosine.min() < 0.8


def test_colours(probe):
    """White light: the colours that are seen have the drawn ratios of red, green and blue."""
    probe.reset(textures=True)
    probe.alone(height=0.04)
    seen = probe.images()
    for world in range(WORLDS):
        inside = seen["left"][world][:, seen["mask"][world]].mean(1)
        outside = seen["left"][world][:, 40:, :].mean((1, 2))
        for found, drawn in ((inside, probe.drawn["object_rgb"][world]), (outside, probe.drawn["table_rgb"][world])):
            assert found / found.sum() == pytest.approx(drawn / drawn.sum(), abs=0.02)
    assert np.ptp(probe.drawn["object_rgb"]) > 0.3 and np.ptp(probe.drawn["table_rgb"]) > 0.2


def test_textures(probe):
    """Without them every table is the same grey; with them patterns differ between worlds that drew different ones."""
    grey = table(probe)
    assert np.ptp(grey) < 1
    probe.reset(textures=True)
    probe.alone(height=0.04, x=5.0)
    left = probe.images()["left"].mean(1)
    pattern = [one / one.mean() for one in left]
    assert len(set(probe.drawn["table_texture"])) > 1
    for i in range(WORLDS):
        for j in range(i):
            apart = np.abs(pattern[i] - pattern[j]).mean()
            assert (apart > 0.02) == (probe.drawn["table_texture"][i] != probe.drawn["table_texture"][j])


# -- cameras ---------------------------------------------------------------------------------------------------------


def turn(vector):
    """Rodrigues' formula: the rotation matrix of a rotation vector."""
    angle = np.linalg.norm(vector)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * skew + (1 - math.cos(angle)) * skew @ skew


def expected_pixels(drawn, world, eye, point):
    """Column and row where an eye sees a point, by hand: the pair is shifted, and turned about its middle; each eye
    then stands half the (drawn) baseline aside, and turns on its own."""
    axes = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # columns: right, up and back of the camera
    pair = axes @ turn(drawn["camera_turn"][world])
    side = (-0.5, 0.5)[eye]
    aside = side * 0.06 + drawn["eye_shift"][world, eye] @ axes[:, 0]
    place = np.array([0.62, 0, 0.8]) + drawn["camera_shift"][world] + pair[:, 0] * aside
    x, y, z = (pair @ turn(drawn["eye_turn"][world, eye])).T @ (np.asarray(point) - place)
    return 32 + ABOVE.focal_pixels * x / -z, 32 - ABOVE.focal_pixels * y / -z


def seen_at(probe, eye):
    """(N, 2) column and row: the middle of the object in an eye's image; it is what changes when it is taken away."""
    name = ("left", "right")[eye]
    probe.alone(height=0.005)
    there = probe.images()[name]
    probe.alone(height=0.005, x=5.0)
    changed = np.abs(there - probe.images()[name]).sum(1) > 6
    found = []
    for one in changed:
        rows, columns = np.nonzero(one)
        assert 20 < len(rows) < 800 and rows.min() > 0 and rows.max() < 63 and columns.min() > 0 and columns.max() < 63
        found.append([columns.mean() + 0.5, rows.mean() + 0.5])
    return np.array(found)


def check_projection(probe, moves, **ranges):
    """Both eyes see a flat box of 1 cm where pinhole and drawn poses say, and that is more than `moves` pixels from
    where they did without the draw; 1 px is 12 mm."""
    flat = {"half_height": (0.005, 0.005), "radius": (0.04, 0.04)}
    drawn = probe.reset(seed=4, **flat, **ranges)
    for eye in range(2):
        expected = np.array([expected_pixels(drawn, world, eye, (0.62, 0, 0.008)) for world in range(WORLDS)])
        assert seen_at(probe, eye) == pytest.approx(expected, abs=0.55)  # whole pixels are counted
        plain = np.array([32 + ABOVE.focal_pixels * (0.03, -0.03)[eye] / 0.792, 32])
        assert np.abs(expected - plain).max() > moves


def test_camera_shift(probe):
    """Sideways by dx an image moves by f dx / z; 5 cm are 4.3 px."""
    check_projection(probe, 2.0, camera_shift=0.05)


def test_camera_turn(probe):
    check_projection(probe, 2.0, camera_turn=0.08)


def test_baseline(probe):
    """An eye that stands db / 2 further aside sees a point f db / 2 z further aside."""
    check_projection(probe, 0.8, baseline=0.05)
    between = probe.drawn["eye_shift"][:, 1] - probe.drawn["eye_shift"][:, 0]
    told = probe.obs["calibration"][:, probe.env.obs_spec["calibration"].part("baseline")][:, 0].double().numpy()
    assert told == pytest.approx(-between[:, 1], abs=1e-6) and np.abs(told).max() <= 0.05


def test_eye_turn(probe):
    check_projection(probe, 2.0, eye_turn=0.08)


# -- sensors ---------------------------------------------------------------------------------------------------------


def observed(probe, height=0.04, **ranges):
    """What the sensors make of the object below the camera: {"depth": (N, 64, 64) m, "stereo", "true": m}."""
    probe.reset(**ranges)
    probe.alone(height=height)
    obs = probe.env._observe(probe.engine.read())
    return {
        "depth": obs["depth"][:, 0].double().numpy() / 1000,
        "stereo": obs["stereo"].double().numpy(),
        "true": probe.images()["depth"],
    }


SCALE = ABOVE.focal_pixels * ABOVE.baseline
"""Disparity (px) times depth (m)."""


def depth_errors(**errors):
    return {"depth": replace(EXACT_DEPTH, **errors)}


def test_disparity_noise(probe):
    """Half a millimetre of rounding apart, disparities err by so many pixels; by twice as many at twice the range."""
    for sigma in (0.1, 0.2):
        seen = observed(probe, **depth_errors(disparity_noise=sigma))
        inside = seen["depth"] < 1.19
        error = (SCALE / seen["depth"] - SCALE / seen["true"])[inside]
        assert error.std() == pytest.approx(sigma, rel=0.04) and abs(error.mean()) < 0.01


def test_dropout(probe):
    seen = observed(probe, **depth_errors(dropout=0.2))
    assert (seen["depth"] == 0).mean() == pytest.approx(0.2, abs=0.015)
    assert (observed(probe)["depth"] == 0).mean() == 0


def beside_a_step(true):
    """Pixels whose neighbour in the row is more than a pixel of disparity away."""
    step = np.abs(np.diff(SCALE / true, axis=2)) > 1
    return np.pad(step, ((0, 0), (0, 0), (0, 1))) | np.pad(step, ((0, 0), (0, 0), (1, 0)))


def test_edge_mix(probe):
    """The share of the pixels beside a step that have another depth than the true one; nothing else changes."""
    for share in (0.3, 0.6):
        drawn = {"half_height": (0.15, 0.15)}
        seen = observed(probe, height=0.15, **drawn, **depth_errors(edge_mix=share))
        edge, wrong = beside_a_step(seen["true"]), np.abs(seen["depth"] - seen["true"]) > 0.002
        assert edge.sum() > 50 and not wrong[~edge].any()
        assert wrong[edge].mean() == pytest.approx(share, abs=0.13)


def test_shadows(probe):
    """Left of the object lies what it hides from the right eye: as wide as its step of disparity, f b (1 / z - 1 / Z),
    3.1 px, but for what is half hidden."""
    tall = {"half_height": (0.15, 0.15)}
    seen = observed(probe, height=0.15, **tall, **depth_errors(shadows=True))
    width = SCALE * (1 / 0.5 - 1 / 0.8)
    middle = seen["depth"][:, 32]
    object_begins = (np.abs(seen["true"][:, 32] - 0.5) < 0.01).argmax(1)
    lost = middle == 0
    assert lost.sum(1) == pytest.approx([width] * WORLDS, abs=1.1)
    assert all(one[begin - 2 : begin].all() for one, begin in zip(lost, object_begins, strict=True))
    assert not (observed(probe, height=0.15, **tall)["depth"] == 0).any()


def test_blur(probe):
    """Weights exp(-k^2 / 2), k = -3 .. 3, add up to 2.506: of one bright pixel 255 / 2.506^2 = 41 stay, 41 exp(-.5)
    = 25 come to each neighbour. The image is blurred before its noise is added."""
    point = torch.zeros(1, 9, 9, dtype=torch.uint8)
    point[0, 4, 4] = 255
    assert blurred(point, 1.0)[0, 4, 3:6].tolist() == [25, 41, 25] and blurred(point, 1.0)[0, 3, 4] == 25
    clean = observed(probe)["stereo"]
    seen = observed(probe, blur=1.0)["stereo"]
    assert (
        np.array_equal(seen, blurred(torch.from_numpy(clean).to(torch.uint8), 1.0).numpy()) and seen.std() < clean.std()
    )


def test_pixel_noise(probe):
    """The standard deviation of what is added, of the grey levels that it does not lead beyond 0 or 255."""
    clean = observed(probe)["stereo"]
    inside = (clean > 40) & (clean < 215)
    for sigma in (3.0, 8.0):
        error = (observed(probe, pixel_noise=sigma)["stereo"] - clean)[inside]
        assert error.std() == pytest.approx(sigma, rel=0.03) and abs(error.mean()) < 0.1


def test_the_lamps_direction_is_a_unit_vector(probe):
    probe.reset(light_tilt=2.0)
    assert np.linalg.norm(probe.drawn["light_dir"], axis=1) == pytest.approx([1.0] * WORLDS, abs=1e-6)
