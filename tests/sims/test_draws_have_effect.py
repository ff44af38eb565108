"""Whatever is drawn changes the quantity that it is named after, by as much as it says, on every engine of ours.

Each test sets a range of `Randomization` to single values, or reads what was drawn, and measures the world: forces and
accelerations of the simulator, positions and intensities in images.
"""

import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handsight import sims as package
from handsight.sims import CameraRig, EnvConfig, GraspConfig, make
from handsight.sims.env_config import EXACT_DEPTH, DepthSensor, Randomization, SceneConfig
from handsight.sims.tasks.randomization import PARAM_DRAWS, ParamDrawer
from handsight.sims.world_params import WorldParams

ABOVE = CameraRig(
    mount="world", position=(0.62, 0.0, 0.8), right=(0, -1, 0), up=(1, 0, 0), height=64, width=64, fov_y=50,
    depth_max=1.2,
)  # fmt: skip
"""80 cm above the table, looking down: image x runs along -y of the world, image y (down) along -x."""
ONE = Randomization(
    mass=(0.1, 0.1), radius=(0.03, 0.03), half_height=(0.04, 0.04), friction=(0.5, 0.5), arm_gain=(1, 1),
    hand_gain=(1, 1), light_tilt=0, light_strength=(0.2, 0.2), camera_shift=0, camera_turn=0, depth=EXACT_DEPTH,
    pixel_noise=0, textures=False,
)  # fmt: skip
"""Every draw has one outcome."""
WORLDS, GRAVITY = 4, 9.81
COVERED = {
    "mass": "mass", "com": "centre_of_mass", "inertia": "inertia", "friction": "friction", "arm_gain": "gains",
    "hand_gain": "gains", "radius": "size", "half_height": "size", "size": "size", "geom_size": "size",
    "geom_pos": "size", "kind": "kind", "object_rgb": "colours", "table_rgb": "colours",
    "table_texture": "textures", "textures": "textures", "light": "light_tilt", "light_tilt": "light_tilt",
    "light_dir": "light_tilt", "light_strength": "light_strength", "light_diffuse": "light_strength",
    "camera_shift": "camera_shift", "camera_turn": "camera_turn", "baseline": "baseline", "eye_shift": "baseline",
    "eye_turn": "eye_turn", "depth": "disparity_noise", "disparity_noise": "disparity_noise",
    "depth_noise": "disparity_noise", "edge_mix": "edge_mix", "depth_edge": "edge_mix", "dropout": "dropout",
    "depth_dropout": "dropout", "shadows": "shadows", "pixel_noise": "pixel_noise",
    "reset_kind": "reset_kind_posture_and_place", "posture": "reset_kind_posture_and_place",
    "object_xy": "reset_kind_posture_and_place", "object_yaw": "yaw", "stagger": "stagger",
}  # fmt: skip
"""By draw or parameter: the test below that measures it, without `test_`."""


class Probe:
    """Worlds of one engine whose ranges can be set, and whose simulator can be looked into."""

    def __init__(self, engine: str) -> None:
        scene = SceneConfig(rig=ABOVE, substeps=3)
        self.config = EnvConfig(
            engine=engine, scene=scene, task=GraspConfig(randomization=ONE, kinds=("box",)), threads=1
        )
        self.env = make(self.config, ("state", "proprio", "calibration", "depth", "stereo"), WORLDS)
        self.engine, self.on_cpu = self.env.engine, engine == "mujoco"
        self.ids = self.engine._ids
        self.bound = {}

    def reset(self, seed=0, kinds=("box",), kind="wide", **ranges):
        """New episodes under these ranges; all others have one outcome. Returns what was drawn."""
        task = replace(self.config.task, randomization=replace(ONE, **ranges), kinds=kinds)
        self.env._config = task
        self.env._drawer = ParamDrawer(task.randomization, kinds, self.engine.scene, self.env.device)
        self.env.set_reset_mix({kind: 1.0})
        self.obs = self.env.reset(seed)
        self.drawn = {name: value.double().numpy() for name, value in vars(self.env._params).items()}
        return self.drawn

    def array(self, name):
        """(N, ...) view of the simulator's own array."""
        if name not in self.bound:
            if self.on_cpu:
                self.bound[name] = self.engine._batch.bind(name)
            else:
                import warp

                self.bound[name] = warp.to_torch(getattr(self.engine._d, name)).numpy()
        return self.bound[name]

    def forward(self):
        """Forces and accelerations of the present state."""
        if self.on_cpu:
            self.engine._batch.forward()
        else:
            import mujoco_warp

            mujoco_warp.forward(self.engine._m, self.engine._d)
            self.engine._stale = True

    def settle(self, steps):
        """Let the object come to rest; the arm holds."""
        joints, everyone = self.engine.read().joint_pos.clone(), torch.ones(WORLDS, dtype=torch.bool)
        for _ in range(steps):
            assert not self.engine.step(self.engine.scene.robot.ctrl(joints), everyone).any()

    def alone(self, height=None, x=0.62, y=0.0):
        """The arm swings aside; with `height` the object stands upright there, in the air or on the table."""
        q = self.array("qpos")
        q[:, 0] = 1.8
        if height is not None:
            q[:, 23:30] = [x, y, height, 1, 0, 0, 0]
            self.array("qvel")[:] = 0
        self.forward()

    def images(self):
        """{"depth": (N, 64, 64) m, "left", "right": (N, 3, 64, 64) grey levels, "mask": (N, 64, 64)}."""
        found = self.engine.render(("depth", "stereo"))
        depth, stereo = found["depth"][:, 0].double().numpy().copy(), found["stereo"].double().numpy().copy()
        return {
            "depth": depth,
            "left": stereo[:, 0],
            "right": stereo[:, 1],
            "mask": found["object_mask"].numpy().copy(),
        }

    def object(self, name):
        """(N, 6) of the object's free joint: three along the world's axes, then three about its own."""
        begin = self.ids.object_qvel
        return self.array(name)[:, begin : begin + 6].copy()


@pytest.fixture(scope="module", params=["mujoco", "mujoco_warp"])
def probe(request):
    found = Probe(request.param)
    yield found
    found.env.close()


def test_every_draw_and_every_parameter_has_its_test():
    written = "".join(path.read_text() for path in Path(package.__file__).parent.rglob("*.py"))
    drawn = set(re.findall(r'draws\.(?:uniform|gaussian|integer|choice)\(\s*"(\w+)"', written))
    drawn |= set(re.findall(r'grain\("(\w+)"\)', written))
    assert {"posture", "object_xy", "depth_noise", "pixel_noise", "stagger"} <= drawn, "the pattern finds draws"
    named = (
        {one.name for c in (Randomization, DepthSensor, WorldParams) for one in fields(c)} | set(PARAM_DRAWS) | drawn
    )
    assert named - set(COVERED) == set(), "these have no test"
    assert set(COVERED) - named == set(), "these are drawn no more"
    assert [test for test in COVERED.values() if f"test_{test}" not in globals()] == []


# -- physics ---------------------------------------------------------------------------------------------------------


def accelerations(probe, force=(0, 0, 0, 0, 0, 0)):
    """(N, 6) of the object in the air, pushed by a force (N) and a torque (N m), world frame, at its centre of mass."""
    probe.alone(height=0.5)
    probe.array("xfrc_applied")[:, probe.ids.object] = force
    probe.forward()
    found = probe.object("qacc")
    probe.array("xfrc_applied")[:] = 0
    return found


def test_mass(probe):
    """In the air 1 N accelerates by 1 / m against gravity; on the table it weighs m g."""
    for mass in (0.1, 0.2):
        assert probe.reset(mass=(mass, mass))["mass"] == pytest.approx([mass] * WORLDS)
        assert accelerations(probe, (0, 0, 1, 0, 0, 0))[:, 2] == pytest.approx([1 / mass - GRAVITY] * WORLDS, rel=1e-4)
        probe.reset(mass=(mass, mass))
        probe.settle(12)
        assert probe.object("qfrc_constraint")[:, 2] == pytest.approx([mass * GRAVITY] * WORLDS, rel=0.02)


def test_inertia(probe):
    """A box of half sizes .03, .024, .04 m: I_z = m / 3 (.03^2 + .024^2) = 4.92e-5 kg m^2 at .1 kg; a torque of 1e-3
    N m spins it up by 20.3 rad/s^2, and one of twice the mass by half of that."""
    for mass, spin in ((0.1, 20.33), (0.2, 10.16)):
        probe.reset(mass=(mass, mass))
        assert accelerations(probe, (0, 0, 0, 0, 0, 1e-3))[:, 5] == pytest.approx([spin] * WORLDS, rel=1e-3)


def test_centre_of_mass(probe):
    """A torque turns a body about its centre of mass, so its origin, c away from it, is accelerated by -alpha x c."""
    probe.reset(kinds=("mug",))
    com = probe.drawn["com"]
    assert (com[:, 0] > 0.002).all() and not com[:, 1].any()
    pushed = accelerations(probe, (0, 0, 0, 0, 0, 1e-3)) - accelerations(probe)
    assert pushed[:, 1] == pytest.approx(-pushed[:, 5] * com[:, 0], rel=1e-3)
    assert abs(pushed[:, 1]).min() > 0.01


@pytest.mark.parametrize("mu", [0.3, 0.6])
def test_friction(probe, mu):
    """A sliding object is held back by mu times what it weighs."""
    probe.reset(friction=(mu, mu))
    probe.settle(12)
    probe.array("qvel")[:, probe.ids.object_qvel] = 0.5
    probe.forward()
    force = probe.object("qfrc_constraint")
    assert -force[:, 0] / force[:, 2] == pytest.approx([mu] * WORLDS, rel=0.05)
    model = probe.engine.model  # MuJoCo takes the friction of the geom of higher priority, and the larger of equals
    others = np.delete(model.geom_priority, probe.ids.object_geoms)
    assert model.geom_priority[list(probe.ids.object_geoms)].min() > others.max(), (
        "fingers and table have their own say"
    )


def torques(probe, joints):
    """(N, A) torque for .01 rad ahead, and for .1 rad/s, of these joints, N m."""
    ctrl, qvel = probe.array("ctrl"), probe.array("qvel")
    probe.forward()
    rest, kept = probe.array("qfrc_actuator")[:, joints].copy(), ctrl.copy()
    ctrl[:, joints] += 0.01
    probe.forward()
    ahead = probe.array("qfrc_actuator")[:, joints] - rest
    ctrl[:] = kept
    qvel[:, joints] = 0.1
    probe.forward()
    moving = probe.array("qfrc_actuator")[:, joints] - rest
    qvel[:] = 0
    return ahead, moving


@pytest.mark.parametrize("which", ["arm_gain", "hand_gain"])
def test_gains(probe, which):
    """Torque per radian and per rad/s are as many times the servos' own; those of the other servos are not."""
    arm, hand = slice(0, 7), slice(7, 23)
    own, other = (arm, hand) if which == "arm_gain" else (hand, arm)
    found = {}
    for gain in (1.0, 1.5):
        probe.reset(**{which: (gain, gain)})
        found[gain] = [torques(probe, joints) for joints in (own, other)]
    for kp_or_kv in range(2):
        assert found[1.5][0][kp_or_kv] == pytest.approx(1.5 * found[1.0][0][kp_or_kv], rel=1e-3)
        assert abs(found[1.0][0][kp_or_kv]).min() > 1e-4
        assert found[1.5][1][kp_or_kv] == pytest.approx(found[1.0][1][kp_or_kv], rel=1e-3)


# -- shape and place -------------------------------------------------------------------------------------------------


def extent(mask):
    """Rows and columns that a mask (64, 64) spans."""
    rows, columns = np.nonzero(mask)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


def test_size(probe):
    """Below the camera, with its top .8 m - 2 h away: 2 r and 2 * .8 r across, in pixels of f / z."""
    for radius, half in ((0.025, 0.03), (0.04, 0.05)):
        drawn = probe.reset(radius=(radius, radius), half_height=(half, half))
        np.testing.assert_allclose(drawn["size"], [[radius, 0.8 * radius, half]] * WORLDS, rtol=1e-5)
        probe.alone(height=half)
        seen, scale = probe.images(), ABOVE.focal_pixels / (0.8 - 2 * half)
        for mask, depth in zip(seen["mask"], seen["depth"], strict=True):
            assert depth[mask].min() == pytest.approx(0.8 - 2 * half, abs=1e-3)
            rows, columns = extent(mask)
            assert (rows, columns) == pytest.approx((2 * radius * scale, 1.6 * radius * scale), abs=1.6)


def test_kind(probe):
    """Seen from 26 cm above, of the square around it: a box covers .8, a cylinder pi / 4, a cross of two bars of .45
    1 - .55^2, and all five are told apart."""
    area = {}
    for kind in ("box", "cylinder", "cross", "tee", "mug"):
        drawn = probe.reset(kinds=(kind,), radius=(0.04, 0.04))
        assert (drawn["kind"] == probe.env.kinds.index(kind)).all()
        probe.alone(height=0.5)
        area[kind] = probe.images()["mask"].sum((1, 2)).mean() / (0.08 * ABOVE.focal_pixels / 0.26) ** 2
    assert area["box"] == pytest.approx(0.8, abs=0.04)
    assert area["cylinder"] == pytest.approx(math.pi / 4, abs=0.04)
    assert area["cross"] == pytest.approx(1 - 0.55**2, abs=0.07)  # half a pixel at each of eight edges
    assert len({round(one, 2) for one in area.values()}) == 5
    kinds = {kind for seed in range(4) for kind in probe.reset(seed=seed, kinds=("box", "mug"))["kind"].tolist()}
    assert kinds == {0.0, 4.0}


def test_reset_kind_posture_and_place(probe):
    """`near` puts the object below the hand, within 3.5 and 4 cm; `wide` anywhere within 10 and 18 cm of the middle."""
    for kind, low, high in (("near", 0.14, 0.20), ("wide", 0.15, 0.29)):
        probe.reset(seed=1, kind=kind)
        body = probe.engine.read()
        height = body.palm_pos[:, 2].numpy()
        assert (height >= low - 0.006).all() and (height <= high + 0.006).all() and np.ptp(height) > 0.005
        middle = body.grasp_pos if kind == "near" else torch.tensor([0.62, 0.0, 0.0])
        off = (body.object_pos - middle)[:, :2].abs().numpy()
        assert (off <= ((0.041, 0.046) if kind == "near" else (0.1001, 0.1801))).all() and np.ptp(
            off, axis=0
        ).min() > 0.004


def test_yaw(probe):
    probe.reset(seed=2)
    turned = probe.engine.read().object_rot.numpy()
    yaw = np.arctan2(turned[:, 1, 0], turned[:, 0, 0])
    assert np.ptp(yaw) > 1 and turned[:, 2, 2] == pytest.approx([1] * WORLDS, abs=1e-6)


def test_stagger(probe):
    probe.reset()
    probe.env.stagger()
    ends = torch.stack([probe.env.step(torch.zeros(WORLDS, 6)).truncated for _ in range(probe.env.episode_steps)])
    assert ends.any(0).all() and len(set(ends.int().argmax(0).tolist())) > 1


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


def test_pixel_noise(probe):
    """The standard deviation of what is added, of the grey levels that it does not lead beyond 0 or 255."""
    clean = observed(probe)["stereo"]
    inside = (clean > 40) & (clean < 215)
    for sigma in (3.0, 8.0):
        error = (observed(probe, pixel_noise=sigma)["stereo"] - clean)[inside]
        assert error.std() == pytest.approx(sigma, rel=0.03) and abs(error.mean()) < 0.1
