"""What two MJCF files and a TOML file decide, number by number, on the tiny robot."""

import mujoco
import numpy as np
import pytest

from handsight.distill.commands.robot import _collisions, solve_home
from handsight.errors import HandsightError
from handsight.sims.robots.draft import draft_robot
from handsight.sims.robots.mjcf import load_robot
from handsight.sims.robots.robot import HIDDEN_FROM_WRIST, RENDERED
from handsight.sims.scene import Scene

from .tiny_robot import ARM, HAND, ROBOT, write_robot

DT = 0.08 / 9
"""s: time step of the default scene."""


def model_of(robot):
    return Scene(robot=robot).build()


def at_home(robot):
    model = model_of(robot)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return data


def test_arm_and_hand_stand_where_base_and_mount_say(tmp_path):
    """Foot at the base; the hand half turned about the flange's z, 10 cm above it: 2 + 10 + 6 cm to the palm."""
    turned = ROBOT.replace('at = "flange"', 'at = "flange"\npos = [0, 0, 0.1]\nquat = [0, 0, 0, 1]')
    data = at_home(load_robot(write_robot(tmp_path, f"base = [0.1, 0.2, 0.3]\n{turned}")))
    assert data.body("arm_foot").xpos == pytest.approx([0.1, 0.2, 0.3])
    assert data.body("palm").xpos == pytest.approx([0.1, 0.2, 0.3 + 0.18])
    assert data.site("grasp").xpos - data.body("palm").xpos == pytest.approx([-0.05, 0, 0.03])


def test_the_palm_faces_where_the_toml_says(tmp_path):
    """Out of the palm is the body's y, along the fingers its x: the house's x and z; y is then the body's z."""
    faced = ROBOT.replace("pos = [0, 0, 0.06]", "pos = [0, 0, 0.06]\nfacing = [0, 2, 0]\nfingers = [3, 1, 0]")
    robot = load_robot(write_robot(tmp_path, faced))
    axes = at_home(robot).body("palm").xmat.reshape(3, 3)
    np.testing.assert_allclose(axes.T, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-9)
    assert robot.grasp_pos == pytest.approx((0, 0.03, 0.05))
    with pytest.raises(HandsightError, match="two directions across each other, found the same"):
        load_robot(write_robot(tmp_path / "b", faced.replace("[3, 1, 0]", "[0, 1, 0]")))


def test_postures_and_speeds_of_joints_that_nobody_names(tmp_path):
    """Nearest to 0 within their limits; .5 m/s, 2 rad/s in the arm, 8 in the hand. Of two names that fit a joint the
    later one wins."""
    hand = HAND.replace('name="long_2" axis="0 1 0" range="0 80"', 'name="long_2" axis="0 1 0" range="10 80"')
    more = '[gains]\n"*" = [7, 0.7]\n"long_1" = [5, 0.5]\n'
    robot = load_robot(write_robot(tmp_path, ROBOT + more, hand=hand))
    assert robot.home == pytest.approx((0.6, 0, 0.2, 0, 2.37, 0))
    assert robot.open_hand == pytest.approx((0, np.radians(10), 0))
    assert robot.velocity_limit == (0.5, 0.5, 0.5, 2, 2, 2, 8, 8, 8)
    assert [servo.kp for servo in robot.actuators] == [7] * 6 + [5, 7]
    several = ROBOT.replace("long_1 = 0.6\nlong_2 = 0.8", '"long_*" = 0.7')
    assert load_robot(write_robot(tmp_path / "b", several)).closed_hand == pytest.approx((0.7, 0.7, 0.3))


def test_strength_is_the_least_that_servo_and_joint_allow(tmp_path):
    arm = ARM.replace('name="x" type="slide"', 'name="x" type="slide" actuatorfrcrange="-40 40"')
    arm = arm.replace('name="yaw" axis="0 0 1"', 'name="yaw" axis="0 0 1" actuatorfrcrange="-9 9"')
    robot = load_robot(write_robot(tmp_path, arm=arm))
    assert (robot.torque_limit[0], robot.torque_limit[5]) == (40, 9) and np.isinf(robot.torque_limit[1])
    model = model_of(robot)
    assert model.actuator_forcerange[0].tolist() == [-40, 40] and not model.actuator_forcelimited[1]


def test_action_spaces_are_those_of_the_toml(tmp_path):
    rows = "{long_1 = 1.0, long_2 = 0.5}, {thumb_1 = 0.3}, {long_2 = -0.2}"
    space = f'[action_spaces."palm6+synergy5"]\nsynergies = [{rows}]\n'
    robot = load_robot(write_robot(tmp_path, ROBOT + space + "lowest = [0, 0, -1]\n"))
    found = robot.action_spaces[0]
    assert (found.twist[3:], found.dim, found.closing, found.lowest) == (("roll", "pitch", "yaw"), 9, 2, (0, 0, -1))
    assert found.synergies == ((1.0, 0.5, 0.0), (0.0, 0.0, 0.3), (0.0, -0.2, 0.0))
    for wrong in ("lowest = [0, 0]\n", "closing = 4\n"):
        with pytest.raises(HandsightError, match=r"action_spaces.palm6\+synergy5: expected `lowest` for each of 3"):
            load_robot(write_robot(tmp_path / "b", ROBOT + space + wrong))


def test_a_hands_own_wrist_belongs_to_the_way_to_the_palm(tmp_path):
    """Joints above the palm are the arm's; one beside that way, or above the palm after the fingers, is refused."""
    wrist = HAND.replace('<site name="middle"', '<joint name="wrist" axis="1 0 0" range="-30 30"/><site name="middle"')
    wrist = wrist.replace("<actuator>", '<actuator><position name="w" joint="wrist" kp="9" kv="1"/>')
    wrist = wrist.replace("      <freejoint/>\n", "").replace("0 0 1 1 0 0 0 .", "0 .")
    robot = load_robot(write_robot(tmp_path, hand=wrist))
    assert robot.arm[-1] == "hand_wrist" and len(robot.hand) == 3 and robot.arm_actuators == 7
    with pytest.raises(HandsightError, match=r"joint 'yaw' of arm.xml: expected joints one after the other down"):
        load_robot(write_robot(tmp_path / "b", ROBOT.replace('at = "flange"', 'at = "pitch"')))


def test_joints_are_as_in_their_files_and_as_heavy_as_their_servos_need(tmp_path):
    """Armature kp dt^2 / .16 in the arm, / .04 in the hand, if the file has less of it; springs and damping stay."""
    hand = HAND.replace(
        'name="long_1" axis="0 1 0"', 'name="long_1" armature=".7" stiffness="2" springref="30" axis="0 1 0"'
    )
    model = model_of(load_robot(write_robot(tmp_path, hand=hand)))
    dof = lambda name: model.joint(name).dofadr[0]  # noqa: E731
    assert model.dof_armature[dof("arm_x")] == pytest.approx(2000 * DT**2 / 0.16)
    assert model.dof_armature[dof("hand_thumb_1")] == pytest.approx(3 * DT**2 / 0.04)
    assert model.dof_armature[dof("hand_long_1")] == pytest.approx(0.7)
    assert model.dof_damping[dof("arm_x")] == 50 and model.dof_damping[dof("hand_long_1")] == pytest.approx(0.1)
    assert model.joint("hand_long_1").stiffness[0] == 2
    assert model.qpos_spring[model.joint("hand_long_1").qposadr[0]] == pytest.approx(np.radians(30))


def test_bodies_weigh_what_their_files_say_and_hang_free_of_gravity(tmp_path):
    model, arm = model_of(load_robot(write_robot(tmp_path))), mujoco.MjModel.from_xml_string(ARM)
    for name in ("foot", "x", "yaw"):
        assert model.body(f"arm_{name}").mass == pytest.approx(arm.body(name).mass)
        assert model.body(f"arm_{name}").inertia == pytest.approx(arm.body(name).inertia)
    assert model.body("hand_long_2").mass[0] == pytest.approx(0.05)
    own = [body for body in range(1, model.nbody) if model.body(body).name.startswith(("arm_", "hand_"))]
    assert (model.body_gravcomp[own] == 1).all() and model.body_gravcomp[model.body("object").id] == 0


def test_a_wrist_camera_sees_the_links_of_the_last_two_joints_and_the_hand(tmp_path):
    model = model_of(load_robot(write_robot(tmp_path)))
    group = {
        name: int(model.geom_group[model.body(f"arm_{name}").geomadr[0]])
        for name in ("foot", "z", "roll", "pitch", "yaw")
    }
    assert group == {
        "foot": HIDDEN_FROM_WRIST,
        "z": HIDDEN_FROM_WRIST,
        "roll": HIDDEN_FROM_WRIST,
        "pitch": RENDERED,
        "yaw": RENDERED,
    }


def test_coupled_joints_and_tendons_stay_coupled(tmp_path):
    follow = '<equality><joint joint1="long_2" joint2="long_1" polycoef="0.1 1.5 0 0 0"/></equality><tendon>'
    model = model_of(load_robot(write_robot(tmp_path, hand=HAND.replace("<tendon>", follow))))
    assert model.neq == 1 and model.eq_data[0, :3].tolist() == [0.1, 1.5, 0]
    assert [model.joint(int(one[0])).name for one in (model.eq_obj1id, model.eq_obj2id)] == [
        "hand_long_2",
        "hand_long_1",
    ]
    assert model.wrap_prm.tolist() == [1, 1]
    uneven = HAND.replace('joint="long_2" coef=".5"', 'joint="long_2" coef=".3"')
    with pytest.raises(HandsightError, match=r"'pull' of hand.xml: expected it at a joint, or at a fixed tendon"):
        load_robot(write_robot(tmp_path / "b", hand=uneven))


BOXES = (
    '<geom name="long_box" type="box" size=".05 .010 .012" mass=".05"/><geom type="box" size=".01 .03 .05" mass=".05"/>'
)


def test_a_long_box_is_round_and_a_flat_one_is_not(tmp_path):
    """Radius the mean of the two thin half sides, as long as the box; along the box's longest side."""
    hand = HAND.replace('<geom name="pad"', BOXES + '<geom name="pad"')
    model = model_of(load_robot(write_robot(tmp_path, hand=hand)))
    first = int(model.body("hand_thumb_1").geomadr[0])
    assert model.geom_type[first : first + 2].tolist() == [mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX]
    assert model.geom_size[first, :2] == pytest.approx([0.011, 0.039])
    axis = np.zeros(3)
    mujoco.mju_rotVecQuat(axis, np.array([0.0, 0, 1]), model.geom_quat[first])
    assert abs(axis) == pytest.approx([1, 0, 0], abs=1e-9)


def test_a_hull_has_at_most_64_faces(tmp_path):
    ways = np.random.default_rng(0).standard_normal((300, 3))
    ball = " ".join(f"{x:.5f}" for x in (0.03 * ways / np.linalg.norm(ways, axis=1, keepdims=True)).ravel())
    hand = HAND[: HAND.index('vertex="')] + f'vertex="{ball}"' + HAND[HAND.index("/></asset>") :]
    model = model_of(load_robot(write_robot(tmp_path, f'geometry = "mesh"\n{ROBOT}', hand=hand)))
    assert model.nmesh == 1 and 50 < model.mesh_facenum[0] <= 64


def test_digests_change_with_sizes_and_masses_and_places_alone(tmp_path):
    changes = (
        "",
        'size=".01" mass=".05"/><site|size=".011" mass=".05"/><site',
        'pos=".03 -.02 .02"|pos=".03 -.02 .03"',
    )
    digests = []
    for number, change in enumerate(changes):
        hand = HAND.replace(*change.split("|")) if change else HAND
        assert bool(change) == (hand != HAND)
        digests.append(load_robot(write_robot(tmp_path / str(number), hand=hand)).model)
    assert len({*digests}) == 3


def test_folders_of_a_compiler_tag_may_not_lead_out_either(tmp_path):
    hand = HAND.replace("<asset>", '<compiler meshdir="../.."/><asset><mesh name="far" file="secret.stl"/>')
    with pytest.raises(HandsightError, match=r"secret.stl' leads out of"):
        load_robot(write_robot(tmp_path / "deep", hand=hand))


def test_a_workspace_just_out_of_reach_is_refused(tmp_path):
    """Slides of +-2 m on three axes reach 12 m, and links add 8 cm."""
    near, far = (f"workspace = [[{place}], [{place}]]\n{ROBOT}" for place in ("8, 8, 2", "9, 8, 4"))  # 11.5 and 12.7 m
    load_robot(write_robot(tmp_path / "a", near))
    with pytest.raises(HandsightError, match="workspace is out of reach"):
        load_robot(write_robot(tmp_path / "b", far))


def test_home_keeps_the_palm_over_the_table_and_links_above_it(tmp_path):
    robot = load_robot(write_robot(tmp_path))
    home = [*solve_home(robot).values()]
    model = model_of(robot)
    data = mujoco.MjData(model)
    data.qpos[:6] = home
    mujoco.mj_kinematics(model, data)
    assert data.site("grasp").xpos[:2] == pytest.approx([0.62, 0], abs=0.02)
    assert data.body("palm").xpos[2] == pytest.approx(0.2, abs=0.02)


def test_digits_in_each_other_are_named(tmp_path):
    crossed = ROBOT + "[open_hand]\nlong_1 = 1.2\nlong_2 = 0.9\nthumb_1 = 0.0\n"
    close = HAND.replace('pos=".03 -.02 .02"', 'pos=".03 .02 .03"')
    for hand, verdict, words in ((HAND, "holds", "no digit is in another"), (close, "BROKEN", "long and thumb")):
        robot = load_robot(write_robot(tmp_path / verdict, crossed, hand=hand))
        found = next(iter(_collisions(robot, model_of(robot))))
        assert (found.verdict, found.found) == (verdict, words)


TWO = """<body name="thumb_2" pos=".05 0 .04"><joint name="thumb_2" axis="0 -1 0" range="-80 40" damping=".1"/>
<geom type="capsule" fromto="0 0 0 0 0 .03" size=".01" mass=".05"/></body></body></body>"""
PLATE = '<body name="plate"><body name="palm" quat=".70710678 0 .70710678 0">'


def test_a_draft_says_where_tips_are_how_the_hand_is_mounted_and_what_opposes(tmp_path):
    """The long finger's tip is 5 mm below the end of its last geom, .04 + .01 m; the palm, a quarter turned on its
    plate, is turned back; a thumb's first joint is as far when the hand is open as when it is closed."""
    plate = HAND.replace('<body name="palm" pos="0 0 1" quat="0 1 0 0">\n      <freejoint/>', PLATE)
    plate = plate.replace("</worldbody>", "</body></worldbody>")
    plate = plate[: plate.index("<keyframe>")] + "</mujoco>"
    plate = plate.replace('mass=".05"/>\n      </body>\n    </body>', f'mass=".05"/>{TWO}')
    plate = plate.replace("<actuator>", '<actuator><position name="t2" joint="thumb_2" kp="3" kv=".1"/>')
    write_robot(tmp_path, hand=plate)
    draft = draft_robot(tmp_path / "arm.xml", tmp_path / "hand.xml")
    assert draft["digits"][0]["tip"] == "long_2" and draft["digits"][0]["tip_pos"] == pytest.approx(
        [0, 0, 0.045], abs=1e-3
    )
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, np.array(draft["mount"]["quat"]))
    palm = np.zeros(9)
    mujoco.mju_quat2Mat(palm, np.array([np.sqrt(0.5), 0, np.sqrt(0.5), 0]))
    fingers = turn.reshape(3, 3) @ palm.reshape(3, 3) @ np.array(draft["palm"]["fingers"])
    assert fingers == pytest.approx([0, 0, 1], abs=1e-3)
    facing = turn.reshape(3, 3) @ palm.reshape(3, 3) @ np.array(draft["palm"]["facing"])
    assert facing == pytest.approx([1, 0, 0], abs=1e-3)
    assert draft["open_hand"]["thumb_1"] == pytest.approx(draft["closed_hand"]["thumb_1"], abs=1e-3)
    assert draft["open_hand"]["thumb_2"] != pytest.approx(draft["closed_hand"]["thumb_2"], abs=1e-2)
