"""A second robot, of which the package knows nothing: every width follows from it."""

import mujoco
import numpy as np
import pytest
import torch

from handsight.distill.runs.policy_io import SignatureError, check_signature
from handsight.errors import HandsightError
from handsight.sims import CameraRig, GraspConfig
from handsight.sims.checker import check_vec_env
from handsight.sims.engines.mujoco_cpu import MujocoEngine
from handsight.sims.env_config import IsaacConfig, SceneConfig
from handsight.sims.isaacgym.engine import IsaacEngine
from handsight.sims.objects.primitives import PRIMITIVES
from handsight.sims.robots.kuka_allegro import KUKA_ALLEGRO
from handsight.sims.robots.robot import FIRM, RENDERED, ActionSpace, Actuator, Digit, Robot
from handsight.sims.scene import Scene
from handsight.sims.tasks.grasp import GraspTask
from handsight.sims.tasks.resets import TILT, palm_rotation
from handsight.sims.tasks.signature import FIRST_EDITION, as_today

ARM, HAND = ("x", "y", "z", "swing"), ("left_1", "left_2", "right_1")


def _build(spec: mujoco.MjSpec) -> None:
    """A gantry whose palm points as episodes begin, a wrist that swings, and two digits of two joints and of one."""
    body, slide = spec.worldbody, mujoco.mjtJoint.mjJNT_SLIDE
    for name, axis in zip(ARM[:3], np.eye(3), strict=True):
        body = body.add_body(name=name, gravcomp=1, mass=1.0, inertia=[0.01] * 3)
        body.add_joint(name=name, type=slide, axis=axis, range=[-1, 1], limited=1, damping=[50, 0, 0])
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, palm_rotation().ravel())
    palm = body.add_body(name="hub", quat=quat, gravcomp=1, mass=0.5, inertia=[0.01] * 3)
    palm.add_joint(name="swing", axis=[0, 0, 1], range=[-0.5, 0.5], limited=1, armature=0.1, damping=[5, 0, 0])
    look = {"group": RENDERED, "contype": 1, "conaffinity": 2, "condim": 4, **FIRM}
    palm.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.02, 0.04, 0.03], **look)
    palm.add_site(name="between", pos=TOY.grasp_pos)
    for side, digit in ((1, TOY.digits[0]), (-1, TOY.digits[1])):
        link = palm
        for name in (joint for joint in HAND if joint.startswith(digit.name)):
            place = [0, 0.03 * side, 0.03] if link is palm else [0, 0, 0.04]
            link = link.add_body(name=name, pos=place, gravcomp=1, mass=0.05, inertia=[1e-5] * 3)
            link.add_joint(name=name, axis=[side, 0, 0], range=[0, 1], limited=1, armature=0.01, damping=[0.2, 0, 0])
            link.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, 0, 0, 0.04], size=[0.01, 0, 0], **look)
        link.add_site(name=digit.tip, pos=[0, 0, 0.04])
    tendon = spec.add_tendon(name="left")
    for joint in HAND[:2]:
        tendon.wrap_joint(joint, 1.0)
    for actuator in TOY.actuators:
        kind = mujoco.mjtTrn.mjTRN_TENDON if actuator.name == "left" else mujoco.mjtTrn.mjTRN_JOINT
        servo = spec.add_actuator(name=actuator.name, target=actuator.name, trntype=kind)
        servo.set_to_position(kp=actuator.kp, kv=actuator.kv)


TOY = Robot(
    name="toy_gantry",
    arm=ARM,
    hand=HAND,
    actuators=(
        *(Actuator(name, (name,), 2000.0, 200.0) for name in ARM),
        Actuator("left", HAND[:2], 3.0, 0.1),
        Actuator("right_1", HAND[2:], 3.0, 0.1),
    ),
    digits=(Digit("left", "left_1", "left_tip"), Digit("right", "right_1", "right_tip")),
    palm="hub",
    grasp_site="between",
    grasp_pos=(0.0, 0.0, 0.08),
    home=(0.6, 0.0, 0.2, 0.0),
    open_hand=(0.0, 0.0, 0.0),
    closed_hand=(0.5, 0.5, 0.7),
    action_spaces=(ActionSpace("palm4+closure2", ("x", "y", "z"), ((0.5, 0.5, 0.7),), (0.0,), closing=1),),
    torque_limit=(100.0,) * 4 + (1.0,) * 3,
    velocity_limit=(1.0,) * 4 + (5.0,) * 3,
    workspace=((0.3, -0.3, 0.02), (0.9, 0.3, 0.45)),
    build=_build,
)


@pytest.fixture
def env():
    rig = CameraRig(mount="hub", position=(0.05, 0.0, 0.0), height=8, width=8)
    engine = MujocoEngine(Scene(SceneConfig(rig=rig), TOY), 4, ("depth", "stereo"), 2)
    made = GraspTask(GraspConfig(episode_steps=5), engine, ("state", "proprio", "depth", "stereo"))
    yield made
    made.close()


def test_another_robot_keeps_the_contract(env):
    promises = check_vec_env(env)
    assert len(promises) == 7 and not any("not offered" in promise for promise in promises)


def test_widths_follow_from_the_robot(env):
    """7 joints of which 3 are the hand's, 2 digits, 1 synergy, 4 numbers of action."""
    assert env.action_dim == 4 and env.engine.model.nu == 6
    state, proprio = (env.obs_spec[group].parts for group in ("state", "proprio"))
    assert (state["touch"], state["tip_from_object"]) == (3, 6)
    assert [proprio[name] for name in ("joint_position", "hand_error", "synergy", "last_action")] == [7, 3, 1, 4]


def test_the_palm_goes_where_it_is_sent_though_the_arm_slides(env):
    """A gantry's joint velocity is the palm's: 35 mm a step are asked for, more than half of it arrives in three."""
    env.reset(0)
    before = env.engine.read().palm_pos
    for _ in range(3):
        env.step(torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(4, 1))
    moved = env.engine.read().palm_pos - before
    assert (moved[:, 0] > 0.05).all() and (moved[:, 1:].abs() < 0.02).all()


def test_a_tendon_is_sent_the_sum_of_the_joints_that_it_moves():
    joints = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]])
    assert TOY.ctrl(joints)[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 1.1, 0.7])
    many = torch.rand(3, len(KUKA_ALLEGRO.joints))
    assert torch.equal(KUKA_ALLEGRO.ctrl(many), many)


def test_postures_of_the_bank_reach_thepalm_rotation(env):
    env.reset(0)
    assert torch.allclose(env.engine.read().palm_rot[:, 2, 0], -torch.cos(torch.tensor(TILT)), atol=0.05)


def test_signatures_tell_robots_apart_and_read_those_that_named_none(env):
    named = {what: {"name": thing.name} for what, thing in (("robot", KUKA_ALLEGRO), ("objects", PRIMITIVES))}
    for what, entry in named.items():
        assert FIRST_EDITION[what]["name"] == entry["name"]
    old = {name: value for name, value in env.signature.items() if name not in FIRST_EDITION}
    assert as_today(old)["robot"] == FIRST_EDITION["robot"]
    with pytest.raises(SignatureError, match=r'robot.name: expected "kuka_allegro", found "toy_gantry"'):
        check_signature(old, env.signature, "an old policy")


def test_what_the_first_edition_is_taken_for_is_what_we_have_today():
    engine = MujocoEngine(Scene(), 1, ())
    signature = GraspTask(GraspConfig(), engine, ("state",)).signature
    assert {what: signature[what] for what in ("robot", "objects")} | {"version": 1} == FIRST_EDITION
    engine.close()


def test_isaac_gym_refuses_a_robot_whose_tendons_it_cannot_drive():
    with pytest.raises(HandsightError, match="found 6 actuators for 7 joints"):
        IsaacEngine(Scene(robot=TOY), 1, (), IsaacConfig())
