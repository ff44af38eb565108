"""What is drawn of light, colours, cameras and sensors changes images by as much as it says, on every engine of ours.

`test_draws_have_effect.py` lists every draw with its test.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from handsight.errors import HandsightError
from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.assets import AssetError
from handsight.sims.backgrounds import SKY_BYTES, background_images, behind
from handsight.sims.cameras import blurred
from handsight.sims.env_config import EXACT_DEPTH, SceneConfig
from handsight.sims.scenes import FIXED

from .draws_probe import ABOVE, ONE, WORLDS
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


# -- what is only to be looked at ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["mujoco", "mujoco_warp"])
def crowded(request):
    """Worlds of an engine with two to five things about the object, seen from above, and what was drawn."""
    task = GraspConfig(randomization=replace(ONE, distractors=(2, 5), half_height=(0.04, 0.04)))
    config = EnvConfig(request.param, SceneConfig(rig=replace(ABOVE, fov_y=60)), task, threads=1)
    env = make(config, ("depth", "stereo", "proprio"), 8)
    obs = env.reset(0)
    yield env, obs, env.drawn()["distractors"].double().numpy()
    env.close()


def test_distractors(crowded):
    """As many as the range says stand 24 to 42 cm from the middle of the table, on it; from above each shows its top
    at .8 m - 2 h, in its colour."""
    _, obs, drawn = crowded
    there = drawn[..., 2] > 0
    counts = there.sum(1)
    assert drawn.shape == (8, 5, 9) and counts.min() >= 2 and counts.max() <= 5 and len(set(counts)) > 1
    away = np.hypot(drawn[..., 0] - 0.62, drawn[..., 1])[there]
    assert away.min() >= 0.24 and away.max() <= 0.42 and np.ptp(away) > 0.1
    looked_at = agree = 0
    for world, number in zip(*np.nonzero(there), strict=True):
        x, y, high, *size, red, green, blue = drawn[world, number]
        assert high == pytest.approx(size[1] if number % 2 else size[2])  # it stands on the table
        distance, focal = 0.8 - 2 * high, 32 / math.tan(math.radians(30))
        row, column = (int(32 - focal * off / distance) for off in (x - 0.62, y - 0.03))  # of the left eye
        if 0 < row < 63 and 0 < column < 63:
            looked_at += 1
            seen = obs["stereo"][world, 0, :, row, column].double().numpy()
            ratio = seen / seen.sum() - np.array([red, green, blue]) / (red + green + blue)
            deep = float(obs["depth"][world, 0, row, column]) / 1000
            agree += abs(deep - distance) < 2e-3 and abs(ratio).max() < 0.06
    assert looked_at > 10 and agree >= 0.8 * looked_at  # the arm, and things on each other, hide some


def test_distractors_touch_nothing(crowded):
    """Hand and object pass through them; and who has none draws, simulates and saves as ever."""
    env, *_ = crowded
    model = env.engine.model
    about = [model.geom(f"distractor_{number}").id for number in range(5)]
    assert not model.geom_contype[about].any() and not model.geom_conaffinity[about].any()
    usual = make(EnvConfig(threads=1), ("proprio",), 1)
    assert usual.engine.model.nmocap == 0 and not {"distractors", "background"} & {*usual.state_dict()["params"]}
    usual.close()


def test_background(tmp_path, monkeypatch):
    """A picture that says where it is looked at: red counts its columns, green its rows. The fixed pair sees, where
    nothing stands, the column and row of the pixel's longitude and latitude."""
    from matplotlib.image import imsave

    where = np.zeros((128, 256, 3), np.uint8)
    where[..., 0], where[..., 1], where[..., 2] = np.arange(256), np.arange(128)[:, None], 77
    (tmp_path / "rooms").mkdir()
    imsave(tmp_path / "rooms" / "one.png", where)
    imsave(tmp_path / "rooms" / "two.png", where)
    monkeypatch.setenv("HANDSIGHT_ASSETS", str(tmp_path))
    rig = replace(FIXED, height=32, width=32)
    ranges = replace(ONE, background="rooms")
    env = make(EnvConfig(scene=SceneConfig(rig=rig), task=GraspConfig(randomization=ranges)), ("depth", "stereo"), 4)
    obs = env.reset(0)
    sky = (obs["stereo"][:, 0, 2] == 77) & (obs["depth"][:, 0, :, :] == 0)
    assert 0.03 < float(sky.float().mean()) < 0.5
    world, row, column = (one.numpy() for one in sky.nonzero(as_tuple=True))
    right, up = np.array(rig.right), np.array(rig.up)
    way = np.outer((column + 0.5 - 16) / rig.focal_pixels, right) - np.outer((row + 0.5 - 16) / rig.focal_pixels, up)
    way -= np.cross(right, up)  # the camera looks along its -z
    longitude = (np.arctan2(way[:, 1], way[:, 0]) / (2 * np.pi) + 0.5) * 256
    latitude = (0.5 - np.arctan2(way[:, 2], np.hypot(way[:, 0], way[:, 1])) / np.pi) * 128
    seen = obs["stereo"][:, 0].permute(0, 2, 3, 1).numpy()[world, row, column].astype(float)
    assert abs(seen[:, 0] - longitude + 0.5).max() < 1.01 and abs(seen[:, 1] - latitude + 0.5).max() < 1.01
    both = sky & (obs["stereo"][:, 1, 2] == 77)  # what is infinitely far has no disparity
    left, other = (obs["stereo"][:, eye].permute(0, 2, 3, 1)[both] for eye in (0, 1))
    assert torch.equal(left, other) and len(set((env.drawn()["background"] * 2).long().tolist())) == 2
    env.close()
    (tmp_path / "rooms" / "two.png").write_text("no image")
    background_images.cache_clear()
    with pytest.raises(AssetError, match=r"two\.png: cannot be read"):
        background_images("rooms")
    with pytest.raises(AssetError, match=r"background 'cellar' is not built in: expected cellar in a folder of"):
        background_images("cellar")


def test_a_background_stands_still_while_the_wrist_turns():
    """The hand's pair sees the world's directions: the same picture, turned by the palm, as a fixed pair would."""
    images = background_images("procedural")[:2]
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rig, nothing = replace(FIXED, height=8, width=8), torch.tensor(SKY_BYTES, dtype=torch.uint8)
    stereo = nothing[:, None, None].expand(2, 2, 3, 8, 8)
    ahead = torch.eye(3).expand(2, 2, 3, 3)
    once, turned = (behind(stereo, images, rig, one) for one in (ahead, turn @ ahead))
    rolled = behind(stereo, images.roll(-64, 3), rig, ahead)  # a quarter of the way around
    assert torch.equal(turned, rolled) and not torch.equal(turned, once)


def test_our_backgrounds_are_many_and_meet_at_their_ends():
    images = background_images("procedural").float()
    assert images.shape == (16, 3, 128, 256) and images.flatten(1).std(1).min() > 15
    apart = (images[:, None] - images[None]).abs().mean((2, 3, 4))
    assert apart[~torch.eye(16, dtype=torch.bool)].min() > 10
    assert (images[..., 0] - images[..., -1]).abs().mean() < (images[..., 0] - images[..., 40]).abs().mean() / 4


def test_isaac_gym_has_neither():
    for ranges in (replace(ONE, background="procedural"), replace(ONE, distractors=(0, 1))):
        config = EnvConfig("isaacgym", task=GraspConfig(randomization=ranges))
        with pytest.raises(HandsightError, match="engine 'isaacgym' has no distractors and no backgrounds"):
            make(config, ("state",), 1)
