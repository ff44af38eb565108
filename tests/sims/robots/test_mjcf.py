"""Any arm and any hand from MJCF: what is read, what is refused, and that environments of it keep their contract."""

import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from handsight.distill.commands.arguments import RobotInitArgs
from handsight.distill.commands.robot import robot_init
from handsight.distill.runs.policy_io import SignatureError, check_signature
from handsight.errors import HandsightError
from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.assets import AssetError
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import SceneConfig
from handsight.sims.robots.draft import draft_robot
from handsight.sims.robots.mjcf import load_robot, of_menagerie
from handsight.sims.robots.robot import HIDDEN_FROM_WRIST, RENDERED
from handsight.sims.scene import Scene
from handsight.sims.scenes import with_image, with_robot

from .tiny_robot import ARM, HAND, ROBOT, write_robot


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The robot, which is found by its name."""
    monkeypatch.setenv("HANDSIGHT_ASSETS", str(tmp_path))
    return load_robot(write_robot(tmp_path))


def model_of(robot) -> mujoco.MjModel:
    return Scene(robot=robot).build()


def test_environments_of_it_keep_the_contract(tiny):
    config = with_image(with_robot(EnvConfig(task=GraspConfig(episode_steps=5)), "tiny"), "8x8")
    env = make(config, ("state", "proprio", "depth", "stereo"), 3)
    assert len(check_vec_env(env)) == 7
    assert env.signature["robot"]["name"] == "tiny"
    env.close()


def test_widths_follow_from_the_files(tiny):
    """6 joints to the palm, 3 of 2 digits, whose tendon makes 2 servos of them."""
    assert (len(tiny.arm), len(tiny.hand), len(tiny.actuators), tiny.arm_actuators) == (6, 3, 8, 6)
    assert [space.dim for space in tiny.action_spaces] == [6]
    assert tiny.action_spaces[0].synergies == ((0.6, 0.8, 0.0), (0.0, 0.0, 0.3))


def test_a_tendon_becomes_a_servo_of_the_sum_of_its_joints(tiny):
    """Coefficients of .5: half the sum is driven with kp 12, so the sum with 3, and a joint gets half of 2 N."""
    pull = tiny.actuators[6]
    assert (pull.kp, pull.kv, tiny.torque_limit[6]) == pytest.approx((3.0, 0.1, 1.0))
    joints = torch.arange(9.0)[None]
    assert tiny.ctrl(joints)[0].tolist() == [0, 1, 2, 3, 4, 5, 13, 8]


def test_gains_limits_masses_are_those_of_the_files(tiny):
    model = model_of(tiny)
    assert (tiny.actuators[0].kp, tiny.actuators[0].kv, tiny.torque_limit[0]) == (2000, 200, 90)
    assert np.isinf(tiny.torque_limit[1]) and tiny.velocity_limit[0] == 0.5
    assert model.joint("hand_long_1").range.tolist() == pytest.approx([0, np.radians(80)])
    assert model.body("hand_palm").mass[0] == pytest.approx(0.3)  # of what is only looked at, too


def test_what_the_toml_says_of_servos_goes_before_what_the_files_say(tmp_path):
    more = '[gains]\n"long_*" = [5, 0.5]\n[torque]\nx = 7\n[velocity]\n"*" = 1.5\n'
    robot = load_robot(write_robot(tmp_path, ROBOT + more))
    assert (robot.actuators[6].kp, robot.torque_limit[0], set(robot.velocity_limit)) == (5.0, 7.0, {1.5})


def test_the_palm_frame_and_what_hangs_on_it_is_where_the_toml_says(tiny):
    """The grasp site is 3 cm above the frame's origin, which is 6 cm above the palm's."""
    model, data = model_of(tiny), None
    assert tiny.grasp_pos == pytest.approx((0.05, 0, 0.03))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert data.body("palm").xpos == pytest.approx([0, 0, 0.02 + 0.06])
    assert data.site("long_tip").xpos - data.body("palm").xpos == pytest.approx([0, 0.02, 0.08])


def test_only_the_hand_touches_and_what_is_only_looked_at_is_dropped(tiny):
    model = model_of(tiny)
    hand = [geom for geom in range(model.ngeom) if model.body(model.geom_bodyid[geom]).name.startswith("hand_")]
    arm = [geom for geom in range(model.ngeom) if model.body(model.geom_bodyid[geom]).name.startswith("arm_")]
    assert len(hand) == 4 and {(model.geom_contype[g], model.geom_conaffinity[g]) for g in hand} == {(1, 2)}
    assert not model.geom_contype[arm].any() and {int(model.geom_group[g]) for g in arm} == {
        RENDERED,
        HIDDEN_FROM_WRIST,
    }


def test_free_joints_and_keyframes_of_a_hand_are_dropped(tiny):
    model = model_of(tiny)
    assert model.nkey == 0 and (model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).sum() == 1  # the object's


@pytest.mark.parametrize(("geometry", "kind"), [("mesh", 7), ("capsule", 3), ("box", 6)])
def test_a_mesh_is_its_hull_or_a_box_that_mujoco_fits_or_round_if_it_is_long(tmp_path, geometry, kind):
    long = HAND.replace('<mesh name="wedge"', '<mesh name="wedge" scale="1 .4 3"')
    robot = load_robot(write_robot(tmp_path, f'geometry = "{geometry}"\n{ROBOT}', hand=long))
    model = model_of(robot)
    assert int(model.geom_type[model.body("hand_palm").geomadr[0]]) == kind


def test_another_shape_or_mass_is_another_robot(tmp_path):
    digests = [load_robot(write_robot(tmp_path / "a")).model]
    digests += [load_robot(write_robot(tmp_path / "b", hand=HAND.replace('mass=".2"', 'mass=".21"'))).model]
    digests += [load_robot(write_robot(tmp_path / "c", f'geometry = "box"\n{ROBOT}')).model]
    assert len(set(digests)) == 3 and load_robot(write_robot(tmp_path / "d")).model == digests[0]


def test_a_checkpoint_of_another_robot_names_what_differs(tmp_path, monkeypatch):
    signatures = []
    for folder, change in (("a", HAND), ("b", HAND.replace('mass=".2"', 'mass=".21"'))):
        monkeypatch.setenv("HANDSIGHT_ASSETS", str(tmp_path / folder))
        write_robot(tmp_path / folder, hand=change)
        env = make(EnvConfig(scene=SceneConfig(robot="tiny")), ("state",), 1)
        signatures.append(env.signature)
        env.close()
    with pytest.raises(SignatureError, match=r"robot.digest: expected .*, found"):
        check_signature(signatures[0], signatures[1], "an old policy")


def test_the_draft_of_a_hand_finds_palm_digits_and_what_closes_them(tmp_path):
    write_robot(tmp_path)
    draft = draft_robot(tmp_path / "arm.xml", tmp_path / "hand.xml")
    assert [digit["root"] for digit in draft["digits"]] == ["long_1", "thumb_1"]
    assert draft["palm"]["body"] == "palm" and draft["palm"]["facing"][0] > 0.99 and draft["palm"]["fingers"][2] > 0.99
    assert draft["closed_hand"]["long_2"] > draft["open_hand"]["long_2"] and draft["mount"]["at"] == "flange"


THUMB, WEDGE, YAW = '<position name="thumb"', '<mesh name="wedge"', '<position joint="yaw" kp="300" kv="30"/>'
MOTOR = HAND.replace('kp="3" kv=".1"', "").replace(THUMB, '<motor name="thumb"')
NO_SERVOS = HAND[: HAND.index("<actuator>")] + "</mujoco>"
SECRET = HAND.replace(WEDGE, f'<mesh name="other" file="../../secret.stl"/>{WEDGE}')
BROKEN_ARM = ARM.replace('axis="1 0 0" range="-2 2"', 'axis="0 0 0"')
BAD = {
    "unknown joint 'long_3' (did you mean long_": (ROBOT.replace("long_2 = 0.8", "long_3 = 0.8"), ARM, HAND),
    "unknown site or body 'flangs' (did you mean flange?)": (ROBOT.replace('"flange"', '"flangs"'), ARM, HAND),
    "unknown body 'plam' (did you mean palm?)": (ROBOT.replace('body = "palm"', 'body = "plam"'), ARM, HAND),
    "unknown site or geom or body 'long_edn' (did you mean long_end?)": (ROBOT.replace("_end", "_edn"), ARM, HAND),
    "hand hand.xml has no actuators": (ROBOT, ARM, NO_SERVOS),
    "long_1 is outside its limits: expected 0..1.396, found 1.6": (ROBOT.replace("= 0.6\nl", "= 1.6\nl"), ARM, HAND),
    "workspace is out of reach": ("workspace = [[9, 9, 9], [10, 10, 10]]\n" + ROBOT, ARM, HAND),
    "palm.facng: unknown name 'facng' (did you mean": (ROBOT.replace("pos = [0, 0, 0.06]", "facng = 1"), ARM, HAND),
    "is not TOML": (ROBOT.replace("[home]", "[home"), ARM, HAND),
    "'thumb' of hand.xml is no position servo": (ROBOT, ARM, MOTOR),
    "expected an actuator for each joint, found none for yaw": (ROBOT, ARM.replace(YAW, ""), HAND),
    "leads out of": (ROBOT, ARM, SECRET),
    "MuJoCo cannot compile it": (ROBOT, BROKEN_ARM, HAND),
    "expected that file in one of": (ROBOT.replace('"arm.xml"', '"leg.xml"'), ARM, HAND),
    "digits: expected two or more with different names, found long": (
        ROBOT.replace('name = "thumb"', 'name = "long"'),
        ARM,
        HAND,
    ),
    "digits: expected two or more with different names, found none": (
        "digits = []\n" + ROBOT[: ROBOT.index("[[digits]]")],
        ARM,
        HAND,
    ),
    "digits: expected it, found nothing": (ROBOT[: ROBOT.index("[[digits]]")], ARM, HAND),
    "home.x: Input should be a valid number, unable to parse string as a number, found 'far'": (
        ROBOT.replace("x = 0.6", 'x = "far"'),
        ARM,
        HAND,
    ),
    "expected either site or pos": (ROBOT.replace('site = "middle"', ""), ARM, HAND),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_wrong_is_named(tmp_path, message):
    robot, arm, hand = BAD[message]
    with pytest.raises(HandsightError) as error:
        load_robot(write_robot(tmp_path, robot, arm, hand))
    assert message in str(error.value) and "tiny.toml" in str(error.value)


def test_a_reset_that_the_arm_does_not_reach_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDSIGHT_ASSETS", str(tmp_path))
    short = ARM.replace('axis="1 0 0" range="-2 2"', 'axis="1 0 0" range="-2 .55"')
    write_robot(tmp_path, ROBOT.replace("x = 0.6", "x = 0.5"), short)
    with pytest.raises(HandsightError, match="robot tiny: no arm posture for the palm at"):
        make(EnvConfig(scene=SceneConfig(robot="tiny")), ("state",), 1)


def test_an_included_file_may_not_lead_out_either(tmp_path):
    hand = HAND.replace("<asset>", '<include file="more.xml"/><asset>')
    path = write_robot(tmp_path, hand=hand)
    (tmp_path / "more.xml").write_text('<mujoco><asset><mesh name="far" file="/etc/far.stl"/></asset></mujoco>')
    with pytest.raises(HandsightError, match=r"more.xml: '/etc/far.stl' leads out of"):
        load_robot(path)


def test_files_of_menagerie_are_found_by_their_model(tmp_path, monkeypatch):
    """In a folder as `mujoco-menagerie` leaves them; what is not there, or cannot be fetched, is named."""
    pytest.importorskip("mujoco_menagerie")
    arm, hand = "menagerie:kuka_iiwa_14", "menagerie:leap_hand/right_hand"
    for model, file, content in (("kuka_iiwa_14", "iiwa14.xml", ARM), ("leap_hand", "right_hand.xml", HAND)):
        (tmp_path / "men" / model).mkdir(parents=True)
        (tmp_path / "men" / model / file).write_text(content)
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path / "men"))
    robot = load_robot(write_robot(tmp_path, ROBOT.replace("arm.xml", arm).replace("hand.xml", hand)))
    assert robot.model == load_robot(write_robot(tmp_path / "plain")).model
    out = robot_init(RobotInitArgs(Path(arm), Path(hand), tmp_path / "d.toml"))
    assert f'hand = "{hand}"' in out.read_text() and load_robot(out).name == "d"
    for word, message in (
        ("kuka_iiwa_41", "Unknown robot 'kuka_iiwa_41'. Did you mean 'kuka_iiwa_14'"),
        ("leap_hand/foot", "'leap_hand' has no entry point 'foot'; available: left_hand"),
        ("franka_fr3", "'franka_fr3' not found under MENAGERIE_ROOT"),
    ):
        with pytest.raises(AssetError, match=f"menagerie:{word}: {message}"):
            of_menagerie(word)
    monkeypatch.delenv("MENAGERIE_ROOT")
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MENAGERIE_BASE_URL", (tmp_path / "nowhere").as_uri())
    with pytest.raises(AssetError, match=r"menagerie:leap_hand: .*not found; without a network, MENAGERIE_ROOT names"):
        of_menagerie("leap_hand")
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    with pytest.raises(AssetError, match=r"needs mujoco-menagerie, .* not installed: pip install 'handsight\[robots"):
        of_menagerie("leap_hand")
