"""The Isaac Gym engine with a fake of Isaac Gym: the contract, what crosses the boundary, and what is reset when."""

import ast
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from isaacgym import geometry

from handsight.sims import CameraRig, EnvConfig, GraspConfig, make
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import IsaacConfig, SceneConfig
from handsight.sims.isaacgym import worker as isaac_worker
from handsight.sims.isaacgym.model import links, robot_urdf
from handsight.sims.isaacgym.process import PROTOCOL
from handsight.sims.robots.kuka_allegro import KUKA_ALLEGRO
from handsight.sims.scene import Scene

SIMS = Path(isaac_worker.__file__).parent
FOR_PYTHON38 = [SIMS / "worker.py", *(Path(geometry.__file__).with_name(name) for name in ("gymapi.py", "geometry.py"))]
pytestmark = pytest.mark.usefixtures("isaacgym_fake")
ALL = ("state", "proprio", "depth", "stereo")


def fake(python=sys.executable, observe=("state", "proprio"), num_envs=4, steps=5, rig=None, **isaac):
    scene = SceneConfig(rig=rig or CameraRig(height=8, width=16))
    isaac = IsaacConfig(python=python, timeout=60, **isaac)
    config = EnvConfig(engine="isaacgym", scene=scene, task=GraspConfig(episode_steps=steps), isaac=isaac)
    return make(config, observe, num_envs)


def test_engine_keeps_the_contract_under_either_interpreter(isaac_python):
    env = fake(isaac_python, ALL)
    promises = check_vec_env(env)
    assert len(promises) == 7 and not any("not offered" in promise for promise in promises)
    assert env.engine.worker.hello["versions"]["isaacgym"].startswith("FAKE")
    assert isaac_python == sys.executable or env.engine.worker.hello["versions"]["python"].startswith("3.8.")
    env.close()


def test_the_fake_moves_the_robot_where_mujoco_has_it():
    """Two readers of the same joint angles: MuJoCo's model, and the URDF written from it, read by other code."""
    model = Scene(SceneConfig()).build()
    asset = geometry.read_urdf(robot_urdf(model, KUKA_ALLEGRO), from_text=True)
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    for _ in range(5):
        data.qpos[:23] = rng.uniform(model.jnt_range[:23, 0], model.jnt_range[:23, 1])
        mujoco.mj_kinematics(model, data)
        angles = [data.joint(name).qpos[0] for name in asset.dof_names]
        places, turns = asset.kinematics(np.array([angles]))
        for i, link in enumerate(asset.links):
            assert places[0, i] == pytest.approx(data.body(link).xpos, abs=1e-6), link
            assert turns[0, i].ravel() == pytest.approx(data.body(link).xmat, abs=1e-6), link


def test_joints_and_links_cross_under_their_names_though_the_importer_orders_them_otherwise():
    model = Scene(SceneConfig()).build()
    asset = geometry.read_urdf(robot_urdf(model, KUKA_ALLEGRO), from_text=True)
    assert sorted(asset.dof_names) == sorted(KUKA_ALLEGRO.joints) and asset.dof_names != list(KUKA_ALLEGRO.joints)
    assert set(links(KUKA_ALLEGRO, model)) < set(asset.links)
    env = fake()
    env.reset(0)
    body = env.engine.read()
    expected = env._bank.joint_pos.reshape(-1, 7)
    assert all(float((expected - arm).abs().max(1).values.min()) < 1e-6 for arm in body.joint_pos[:, :7])
    env.close()


def test_urdf_has_masses_limits_and_straight_lengths_of_the_model():
    model = Scene(SceneConfig()).build()
    text = robot_urdf(model, KUKA_ALLEGRO)
    assert text.count("<collision>") == sum(
        bool(model.geom_contype[g]) for g in range(model.ngeom) if 0 < model.geom_bodyid[g] < model.body("object").id
    )
    assert '<cylinder radius="0.0115" length="0.05" />' in text  # a proximal phalanx: 54 mm less the 4 mm at its root
    assert '<limit lower="-0.196" upper="1.61" effort="0.7" velocity="9.5" />' in text
    assert '<mass value="5.76" />' in text


def test_a_control_step_is_nine_physics_steps_in_two_commands_whether_worlds_reset_or_not():
    env = fake(steps=3)
    env.reset(0)
    calls, call = [], env.engine.worker.call
    env.engine.worker.call = lambda command, **words: calls.append(words) or call(command, **words)
    for _ in range(5):  # the fourth resets every world
        env.step(torch.zeros(4, 6))
    quiet, reset = [(8, False), (1, False)], [(8, False), (1, True)]
    assert [(words["substeps"], words["reset"]) for words in calls] == 3 * quiet + reset + quiet
    env.close()


def test_a_reset_world_is_seen_where_it_was_put_and_the_others_go_on():
    env = fake()
    env.reset(0)
    for _ in range(2):
        env.step(torch.ones(4, 6))
    before = env.engine.read()
    env._ended = torch.tensor([False, True, False, False])
    step = env.step(torch.ones(4, 6))
    after = env.engine.read()
    assert step.first.tolist() == [False, True, False, False]
    home = env._bank.joint_pos.reshape(-1, 7)
    assert float((home - after.joint_pos[1, :7]).abs().max(1).values.min()) < 1e-6
    moved = (after.joint_pos - before.joint_pos).abs().max(1).values
    assert (moved[[0, 2, 3]] > 1e-3).all()
    env.close()


def test_world_that_breaks_in_the_held_back_step_shows_its_last_state_and_is_reset_next():
    env = fake(steps=20)
    env.reset(0)
    advance, arrays = env.engine._advance, env.engine.worker.arrays

    def poison(substeps, render):
        advance(substeps, render)
        if substeps == 1:
            arrays["joints"][2, 0, 1] = np.nan

    env.engine._advance = poison
    first = env.step(torch.zeros(4, 6))
    assert first.obs["proprio"].isfinite().all() and not first.log["diverged"].any()
    env.engine._advance = advance
    second = env.step(torch.zeros(4, 6))
    assert second.log["diverged"].tolist() == [False, False, True, False]
    assert second.first.tolist() == [False, False, True, False] and not second.valid[2]
    assert not env.step(torch.zeros(4, 6)).log["diverged"].any()
    env.close()


def test_worlds_keep_the_objects_of_their_first_episode():
    env = fake(steps=2)
    env.reset(0)
    size = env.measure()["kind"].clone(), env._params.size.clone()
    for _ in range(4):
        env.step(torch.zeros(4, 6))
    env.reset(7)
    assert torch.equal(env.measure()["kind"], size[0]) and torch.equal(env._params.size, size[1])
    env.close()


def test_checkpoint_restores_another_process_with_its_own_objects():
    env, other = fake(observe=ALL, steps=9), fake(observe=ALL, steps=9)
    env.reset(0)
    other.reset(1)
    for _ in range(3):
        last = env.step(torch.full((4, 6), 0.3)).obs
    restored = other.load_state_dict(env.state_dict())
    assert all(torch.equal(last[group], restored[group]) for group in ALL)
    for _ in range(3):
        once, again = env.step(torch.full((4, 6), -0.2)), other.step(torch.full((4, 6), -0.2))
        assert all(torch.equal(once.obs[group], again.obs[group]) for group in ALL)
    env.close()
    other.close()


def test_depth_is_positive_metres_and_zero_where_nothing_is():
    """From 0.8 m above, looking straight down, the table is 0.8 m away; straight ahead there is sky."""
    above = CameraRig(mount="world", position=(0.62, 0.0, 0.8), right=(0, -1, 0), up=(1, 0, 0), height=16, width=16)
    env = fake(observe=("depth",), rig=above)
    env.reset(0)
    depth = env.engine.render(("depth",))["depth"]
    assert float(depth.max()) == pytest.approx(0.8, abs=0.01) and float(depth.min()) > 0.5
    env.close()
    ahead = CameraRig(
        mount="world", position=(0, 0, 0.5), right=(0, -1, 0), up=(0, 0, 1), fov_y=90, height=16, width=16
    )
    env = fake(observe=("depth", "stereo"), rig=ahead)
    env.reset(0)
    images = env.engine.render(("depth", "stereo"))
    assert (images["depth"][:, 0, :8] == 0).all() and (images["depth"][:, 0, -1, 8] > 0).all()
    assert images["stereo"][0, 0, :, 0, 0].tolist() == [140, 158, 178]  # the fake's sky: RGB, blue last
    env.close()


@pytest.mark.slow  # compiles the ray tracer of the overview
def test_a_film_from_outside_is_drawn_from_the_reported_state():
    env = fake()
    env.reset(0)
    assert env.render_overview(1, 24, 32).std() > 5
    env.close()


@pytest.mark.parametrize("path", FOR_PYTHON38, ids=lambda path: path.name)
def test_worker_is_written_for_python_38(path):
    ast.parse(path.read_text(), feature_version=(3, 8))
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run([vermin, "-t=3.8-", "--no-tips", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module)])
    }
    assert names - sys.stdlib_module_names <= {"numpy", "isaacgym", "torch"}


def test_both_sides_hold_the_same_protocol():
    assert isaac_worker.PROTOCOL == PROTOCOL
