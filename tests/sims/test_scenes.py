"""The scenes of the study: what is where, what can be seen, what can be reached."""

import dataclasses
import math

import mujoco
import numpy as np
import pytest
import torch

from handsight.errors import HandsightError
from handsight.sims import EnvConfig, make
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import CarryConfig, GraspConfig, Randomization, TaskConfig
from handsight.sims.robots.kuka_allegro import KUKA_ALLEGRO, OPEN_HAND
from handsight.sims.scene import Scene
from handsight.sims.scenes import SCENES, scene, with_scene, with_task
from handsight.sims.tasks.resets import CENTRE, RESETS, PostureBank

ALL = ("state", "proprio", "depth", "stereo")


def short(name, steps=6):
    env = scene(name)
    return dataclasses.replace(env, threads=1, task=dataclasses.replace(env.task, episode_steps=steps))


def test_wrist_is_the_default():
    """Runs and checkpoints made before there were scenes are runs of this one."""
    assert SCENES["wrist"] == EnvConfig()


def test_occluded_is_open_with_a_wall():
    bare = dataclasses.replace(SCENES["occluded"].scene, wall=None)
    assert dataclasses.replace(SCENES["occluded"], scene=bare) == SCENES["open"]


def test_an_unknown_scene_is_refused_with_what_there_is():
    with pytest.raises(HandsightError, match=r"unknown scene 'ocluded' \(did you mean occluded\?\); available: wrist,"):
        scene("ocluded")


def test_a_scene_keeps_engine_and_threads():
    changed = with_scene(EnvConfig(engine="isaacgym", threads=3), "open")
    assert (changed.engine, changed.threads, changed.scene) == ("isaacgym", 3, SCENES["open"].scene)


@pytest.mark.parametrize("name", ["open", "occluded"])
def test_scene_keeps_the_contract(name):
    env = make(short(name), ALL, 4)
    assert len(check_vec_env(env)) == 7
    env.close()


@pytest.mark.parametrize("name", ["open", "occluded"])
def test_fixed_pair_stays_where_it_is_and_looks_at_the_table(name):
    """Pinhole by hand: the middle of the image is 0.8 m away, 25 degrees below the horizontal."""
    model, rig = Scene(SCENES[name].scene).build(), SCENES[name].scene.rig
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    left, right = (data.camera(eye) for eye in ("left", "right"))
    middle = (left.xpos + right.xpos) / 2
    assert middle == pytest.approx([0.62, 0.8 * math.cos(math.radians(25)), 0.08 + 0.8 * math.sin(math.radians(25))])
    assert middle - 0.8 * left.xmat.reshape(3, 3)[:, 2] == pytest.approx([*CENTRE, 0.08], abs=1e-6)
    assert right.xpos - left.xpos == pytest.approx([-rig.baseline, 0, 0])  # its right is toward the robot
    data.qpos[:7] = 1.0
    mujoco.mj_forward(model, data)
    assert (left.xpos + right.xpos) / 2 == pytest.approx(middle)


def placed(env, x, y):
    """Share of the left eye's pixels that show an object at (x, y), with the arm swung aside."""
    engine = env.engine
    engine._data["qpos"][:, 0] = -1.8
    engine._data["qpos"][:, 23:25] = x, y
    engine._batch.forward()
    env._observe(engine.read())
    return env.measure()["visible"] * env._rig.height * env._rig.width


def test_the_wall_hides_what_stands_behind_it_from_both_eyes():
    env = make(short("occluded"), ALL, 16)
    bare = make(short("open"), ALL, 16)
    env.reset(0), bare.reset(0)
    for x in (0.52, 0.62, 0.72):  # the whole width: no eye looks round the wall's ends
        assert not placed(env, x, 0.16).any(), x
        assert (placed(bare, x, 0.16) >= 8).all(), x
    before = placed(env, 0.62, -0.12)
    assert (before > 8).all()
    assert not any(_pixels_from(env, "right", x, 0.16) for x in (0.52, 0.72))
    assert _pixels_from(env, "right", 0.62, -0.12) > 0
    env.close(), bare.close()


def _pixels_from(env, eye, x, y, side=32):
    """Pixels of the object as MuJoCo's own rays see it from an eye: one ray through the middle of each pixel."""
    model, data = env.engine.model, mujoco.MjData(env.engine.model)
    data.qpos[:7], data.qpos[0] = 0.0, -1.8
    data.qpos[23:27] = x, y, 0.05, 1.0
    mujoco.mj_forward(model, data)
    camera = data.camera(eye)
    half = math.tan(math.radians(model.camera(eye).fovy[0]) / 2)
    grid = (np.arange(side) + 0.5) / side * 2 - 1
    hits, geom = 0, np.zeros(1, np.int32)
    for v in grid * half:
        for u in grid * half:
            ray = camera.xmat.reshape(3, 3) @ np.array([u, -v, -1.0])
            mujoco.mj_ray(model, data, camera.xpos, ray / np.linalg.norm(ray), None, 1, -1, geom)
            hits += geom[0] in env.engine._ids.object_geoms
    return hits


def test_an_object_is_some_pixels_large_wherever_it_stands_in_the_open():
    env = make(short("open"), ("proprio", "depth"), 16)
    env.reset(0)
    spread = RESETS["wide"].object_xy
    for sides in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        x, y = (c + side * s for c, side, s in zip(CENTRE, sides, spread, strict=True))
        assert (placed(env, x, y) >= 8).all(), sides
    env.close()


def test_disparity_tells_near_from_far_on_the_table():
    """f b / Z by hand: f = 16 / tan 16 deg = 55.8 px, b = 0.1 m; Z = 0.8 -+ 0.18 cos 25 deg = 0.637 and 0.963 m."""
    rig = SCENES["open"].scene.rig
    near, far = rig.disparity(0.637), rig.disparity(0.963)
    assert (near, far) == (pytest.approx(8.76, abs=0.01), pytest.approx(5.79, abs=0.01))


def test_no_posture_of_the_bank_touches_the_wall():
    """At reset, with the hand open; the next test moves it."""
    model = Scene(SCENES["occluded"].scene).build()
    bank, data = PostureBank(KUKA_ALLEGRO, model, torch.device("cpu")), mujoco.MjData(model)
    hand = [geom for geom in range(model.ngeom) if model.geom_contype[geom] == 1]
    wall = model.geom("wall").id
    for kind in range(len(RESETS)):
        for posture in bank.joint_pos[kind, ::4].numpy():
            data.qpos[:7], data.qpos[7:23] = posture, OPEN_HAND
            mujoco.mj_kinematics(model, data)
            gap = min(mujoco.mj_geomDistance(model, data, geom, wall, 1.0, None) for geom in hand)
            assert gap > 0.04, (list(RESETS)[kind], posture)


def test_the_hand_reaches_the_place_nearest_to_the_wall_without_touching_it():
    """Over it, then down to 5 cm above the table, from every posture that is drawn; the objects wait far away."""
    env = make(dataclasses.replace(scene("occluded"), threads=1), ("state", "proprio"), 8)
    env.reset(0)
    engine = env.engine
    engine._data["qpos"][:, 23:25] = CENTRE[0] + 0.2, CENTRE[1] - 0.3
    engine._batch.forward()
    env._observe(engine.read())
    goal, touched = torch.tensor([CENTRE[0], CENTRE[1] + RESETS["wide"].object_xy[1], 0.05]), 0
    for step in range(30):
        away = goal - engine.read().grasp_pos
        if step < 15:
            away[:, 2] = 0.0
        action = torch.zeros(8, env.action_dim)
        action[:, :3] = (away / 0.035).clamp(-1, 1)
        env.step(action)
        touched += _hand_on_wall(engine)
    assert (engine.read().grasp_pos - goal).norm(dim=1).max() < 0.02 and touched == 0
    env.close()


def _hand_on_wall(engine):
    """Worlds in which the hand touches the wall, by geometry."""
    model, data = engine.model, mujoco.MjData(engine.model)
    wall, count = model.geom("wall").id, 0
    for qpos in engine._data["qpos"]:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        hand = (geom for geom in range(model.ngeom) if model.geom_contype[geom] == 1)
        count += any(mujoco.mj_geomDistance(model, data, geom, wall, 0.1, None) <= 0 for geom in hand)
    return count


def test_the_wall_stops_hand_and_object():
    model = Scene(SCENES["occluded"].scene).build()
    wall, palm = model.geom("wall"), model.geom("palm")
    thing = model.geom("object_box_a")
    for other in (palm, thing):
        assert (wall.contype[0] & other.conaffinity[0]) or (other.contype[0] & wall.conaffinity[0])


def test_isaac_gym_refuses_a_wall():
    config = with_scene(EnvConfig(engine="isaacgym"), "occluded")
    with pytest.raises(HandsightError, match="engine 'isaacgym' has no walls: expected a scene without one"):
        make(config, ("state",), 2)


def test_another_task_keeps_all_that_tasks_share():
    kinds = {"action_space": "palm6+synergy5", "kinds": ("box",), "split": "all", "level": 2,
             "levels": 3, "reset_mix": {"near": 1.0}, "postures": "held_out"}  # fmt: skip
    asked = GraspConfig(**kinds, randomization=Randomization(pixel_noise=1.0), hardest=Randomization(pixel_noise=9.0))
    carry = with_task(EnvConfig(task=asked), "carry").task
    shared = [one.name for one in dataclasses.fields(TaskConfig) if one.name != "episode_steps"]
    assert carry.name == "carry" and carry.episode_steps == CarryConfig.episode_steps
    assert [getattr(carry, name) for name in shared] == [getattr(asked, name) for name in shared]
    assert all(getattr(asked, name) != getattr(GraspConfig(), name) for name in shared), "a field that nobody changed"
