"""Whatever is drawn changes the quantity that it is named after, by as much as it says, on every engine of ours.

Each test sets a range of `Randomization` to single values, or reads what was drawn, and measures the world: forces and
accelerations of the simulator, positions and intensities in images.
"""

import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from handsight import sims as package
from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.env_config import CarryConfig, DepthSensor, Randomization, SceneConfig
from handsight.sims.tasks.randomization import PARAM_DRAWS
from handsight.sims.world_params import WorldParams

from . import test_draws_are_seen
from .draws_probe import ABOVE, GRAVITY, WORLDS
from .draws_probe import probe as probe

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
    "position_noise": "position_noise", "rest": "rest", "goal": "goal",
    "gravity": "gravity", "joint_friction": "joint_friction", "latency": "latency", "proprio_noise": "proprio_noise",
    "blur": "blur", "distractors": "distractors", "background": "background",
}  # fmt: skip
"""By draw or parameter: the test below that measures it, without `test_`."""


def test_every_draw_and_every_parameter_has_its_test():
    written = "".join(path.read_text() for path in Path(package.__file__).parent.rglob("*.py"))
    drawn = set(re.findall(r'draws(?:\(\))?\.(?:uniform|gaussian|integer|choice)\(\s*"(\w+)"', written))
    drawn |= set(re.findall(r'grain\("(\w+)"\)', written))
    drawn |= {
        name for call in re.findall(r"draws\.unit\(([\w=, ]+)\)", written) for name in re.findall(r"(\w+)=", call)
    }
    assert {"posture", "object_xy", "depth_noise", "pixel_noise", "stagger"} <= drawn, "the pattern finds draws"
    named = (
        {one.name for c in (Randomization, DepthSensor, WorldParams) for one in fields(c)} | set(PARAM_DRAWS) | drawn
    )
    assert named - set(COVERED) == set(), "these have no test"
    assert set(COVERED) - named == set(), "these are drawn no more"
    assert [test for test in COVERED.values() if f"test_{test}" not in globals() | vars(test_draws_are_seen)] == []


def test_position_noise():
    config = EnvConfig(task=GraspConfig(randomization=Randomization(position_noise=0.03)))
    env = make(config, ("position", "noisy_position"), 256)
    obs = env.reset(0)
    errors = (obs["noisy_position"] - obs["position"])[:, :3]
    assert float(errors.std()) == pytest.approx(0.03, rel=0.1) and abs(float(errors.mean())) < 0.004
    env.close()


def test_proprio_noise():
    config = EnvConfig(task=GraspConfig(randomization=Randomization(proprio_noise=0.03)))
    envs = [make(one, ("proprio",), 64) for one in (config, EnvConfig())]
    noisy, exact = (env.reset(0)["proprio"] for env in envs)
    errors = noisy - exact
    assert float(errors.std()) == pytest.approx(0.03, rel=0.05) and abs(float(errors.mean())) < 0.002
    for env in envs:
        env.close()


def test_latency():
    """Two steps late, an action does what it does on time after two steps of standing still."""
    late = EnvConfig(task=GraspConfig(randomization=Randomization(latency=(2, 2))))
    envs = [make(one, ("proprio",), 2) for one in (late, EnvConfig())]
    actions = torch.rand(4, 2, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for env, sent in zip(envs, ([*actions, actions[0], actions[0]], [*(0 * actions[:2]), *actions]), strict=True):
        env.reset(0)
        for action in sent:
            env.step(action)
    one, other = (env.engine.read().joint_pos for env in envs)
    assert torch.equal(one, other) and envs[0].drawn()["latency"].tolist() == [2, 2]
    for env in envs:
        env.close()


def test_goal():
    """The command moves with the box from which it is drawn."""
    boxes = [{}, {"goal_x": (0.62, 0.82)}]
    envs = [make(EnvConfig(task=CarryConfig(**box)), ("command",), 8) for box in boxes]
    for env in envs:
        env.reset(0)
    moved = envs[1].goal - envs[0].goal
    assert moved == pytest.approx(torch.tensor([0.1, 0.0, 0.0]).expand(8, 3), abs=1e-6)
    for env in envs:
        env.close()


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


def test_gravity(probe):
    """It falls with a share of 9.81 m/s^2; 1 N more accelerates it by 1 / m as ever."""
    for factor in (0.7, 1.3):
        probe.reset(gravity=(factor, factor))
        falls = accelerations(probe)[:, 2]
        assert falls == pytest.approx([-factor * GRAVITY] * WORLDS, rel=1e-4)
        assert accelerations(probe, (0, 0, 1, 0, 0, 0))[:, 2] - falls == pytest.approx([10.0] * WORLDS, rel=1e-3)


def test_joint_friction(probe):
    """A joint of the arm that is pushed from rest is held back by its share of the torque limit."""
    limits = probe.engine.model.actuator_forcerange[:3, 1]
    for share in (0.0, 0.01, 0.03):
        _ = probe.reset(joint_friction=(share, share)) if share else probe.reset()
        for joint, limit in enumerate(limits):
            probe.array("qfrc_applied")[:, joint] = 0.2 * limit
            probe.forward()
            held = probe.array("qfrc_constraint")[:, joint].copy()
            probe.array("qfrc_applied")[:] = 0
            assert held == pytest.approx([-share * limit] * WORLDS, rel=0.02, abs=1e-6)


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


def test_rest():
    """An object of meshes lies on the face that was drawn: each face of its poses points down in some world."""
    scene = SceneConfig(objects="procedural")
    env = make(EnvConfig(scene=scene, task=GraspConfig(kinds=("board_0",)), threads=1), ("state",), 64)
    env.reset(0)
    down = -env.engine.read().object_rot.numpy()[:, 2]  # in the object's frame: one of its six sides
    rest = env.drawn()["rest"].numpy()
    assert np.abs(down).max(1) == pytest.approx([1] * 64, abs=1e-5)
    sides = [{tuple(np.round(side).astype(int)) for side in down[rest == pose]} for pose in range(6)]
    assert [len(one) for one in sides] == [1] * 6 and len(set.union(*sides)) == 6
    env.close()


def test_stagger(probe):
    probe.reset()
    probe.env.stagger()
    ends = torch.stack([probe.env.step(torch.zeros(WORLDS, 6)).truncated for _ in range(probe.env.episode_steps)])
    assert ends.any(0).all() and len(set(ends.int().argmax(0).tolist())) > 1


def test_whole_numbers_are_drawn_up_to_both_ends_of_their_range(probe):
    drawn = [probe.reset(seed=seed, latency=(1, 3))["latency"] for seed in range(8)]
    assert {float(one) for row in drawn for one in row} == {1.0, 2.0, 3.0}
