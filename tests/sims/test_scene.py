"""The scene against published figures and against physics."""

import math

import mujoco
import numpy as np
import pytest

from handsight.sims.env_config import CameraRig, SceneConfig
from handsight.sims.robots.kuka_allegro import ARM_JOINTS, DIGITS, HAND_JOINTS, TORQUE_LIMIT
from handsight.sims.scene import Scene


@pytest.fixture(scope="module")
def model():
    return Scene(SceneConfig()).build()


def pose(model, joints):
    data = mujoco.MjData(model)
    data.qpos[: len(joints)] = joints
    mujoco.mj_forward(model, data)
    return data


def test_stretched_arm_reaches_its_published_length(model):
    """KUKA's data sheet: axis 2 is .36 m up, then .42 and .40 to the wrist centre, .126 to the flange."""
    data = pose(model, np.zeros(7))
    assert data.body("arm_2").xpos == pytest.approx([0, 0, 0.36], abs=1e-6)
    assert data.body("arm_4").xpos == pytest.approx([0, 0, 0.36 + 0.42], abs=1e-6)
    assert data.body("arm_6").xpos == pytest.approx([0, 0, 0.36 + 0.42 + 0.40], abs=1e-6)
    flange = data.body("arm_7").xpos + np.array([0, 0, 0.045])
    assert flange == pytest.approx([0, 0, 0.36 + 0.42 + 0.40 + 0.126], abs=1e-6)


def test_elbow_bends_by_the_law_of_cosines(model):
    data = pose(model, [0, 0, 0, math.pi / 2, 0, 0, 0])
    reach = np.linalg.norm(data.body("arm_6").xpos - data.body("arm_2").xpos)
    assert reach == pytest.approx(math.hypot(0.42, 0.40), abs=1e-6)


def test_fingers_have_the_published_length_and_ranges(model):
    data = pose(model, np.zeros(23))
    palm = data.body("palm")
    tip = palm.xmat.reshape(3, 3).T @ (data.site("middle_tip").xpos - palm.xpos)
    assert tip == pytest.approx([0, 0, 0.0007 + 0.0164 + 0.054 + 0.0384 + 0.0267], abs=1e-6)
    assert model.joint("index_1").range == pytest.approx([-0.196, 1.61])
    assert model.joint("thumb_0").range == pytest.approx([0.263, 1.396])


def test_bending_a_finger_brings_its_tip_out_of_the_palm(model):
    straight = pose(model, np.zeros(23))
    bent = pose(model, [0] * 7 + [0, 1.0, 0.8, 0.8] * 3 + [1.0, 0.3, 0.3, 0.3])
    for digit in DIGITS[:3]:
        frame = straight.body("palm").xmat.reshape(3, 3)
        moved = frame.T @ (bent.site(f"{digit}_tip").xpos - straight.site(f"{digit}_tip").xpos)
        assert moved[0] > 0.05, digit


def test_servos_are_limited_to_the_published_torque(model):
    data = pose(model, np.zeros(23))
    data.ctrl[:] = model.jnt_range[:23, 1] * 50
    mujoco.mj_forward(model, data)
    assert np.abs(data.actuator_force) == pytest.approx(TORQUE_LIMIT)
    assert [model.actuator(i).name for i in range(model.nu)] == [*ARM_JOINTS, *HAND_JOINTS]


def test_depth_camera_is_the_left_eye_and_the_baseline_is_kept(model):
    ids = Scene().ids(model)
    left, right = (model.cam_pos[i] for i in ids.cameras)
    assert np.linalg.norm(left - right) == pytest.approx(0.06)
    assert model.cam_quat[ids.cameras[0]] == pytest.approx(model.cam_quat[ids.cameras[1]])


def test_rig_refuses_what_it_cannot_be():
    with pytest.raises(Exception, match="no such body; available: world, palm"):
        Scene(SceneConfig(rig=CameraRig(mount="elbow"))).build()
