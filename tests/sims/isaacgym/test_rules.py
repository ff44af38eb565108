"""The fake refuses what Isaac Gym's documentation forbids: a worker that breaks a rule does not pass its tests."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from isaacgym import gymapi, gymtorch
from isaacgym.gymapi import RuleBroken

from handsight.sims.env_config import CameraRig, SceneConfig
from handsight.sims.isaacgym import worker as isaac_worker
from handsight.sims.isaacgym.engine import table_textures
from handsight.sims.isaacgym.model import build_spec, shared_arrays
from handsight.sims.scene import Scene
from handsight.sims.world_params import WorldParams

GROUPS = ("depth", "stereo")
FAKE_TORCH = SimpleNamespace(**run_path(str(Path(gymapi.__file__).parents[1] / "torch.py")))
TENSORS = isaac_worker.Torch(gymtorch, FAKE_TORCH, "cpu")


def two_cylinders() -> WorldParams:
    """Parameters of two worlds, without a task that draws them."""
    one, three = torch.ones(2), torch.full((2, 3), 0.5)
    cylinder = torch.tensor([[[0.001] * 3, [0.001] * 3, [0.03, 0.04, 0.0]]]).repeat(2, 1, 1)
    return WorldParams(
        kind=one.long(), size=torch.tensor([[0.03, 0.03, 0.04]] * 2), geom_size=cylinder, geom_pos=0 * cylinder,
        mass=0.1 * one, com=0 * three, inertia=1e-4 * three, friction=one, arm_gain=one, hand_gain=one,
        object_rgb=three, table_rgb=three, table_texture=one.long(), light_dir=-three, light_diffuse=one,
        camera_shift=0 * three, camera_turn=0 * three, eye_shift=torch.zeros(2, 2, 3), eye_turn=torch.zeros(2, 2, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts():
    """What a worker of two worlds is told, without a process."""
    above = CameraRig(mount="world", position=(0.62, 0.0, 0.8), right=(0, -1, 0), up=(1, 0, 0), height=8, width=8)
    scene = Scene(SceneConfig(rig=above))
    model = scene.build()
    spec = build_spec(scene, model, two_cylinders(), GROUPS) | {"compute_device": 0, "graphics_device": 0}
    arrays = {name: np.zeros(*layout) for name, layout in shared_arrays(2, scene, model, GROUPS).items()}
    arrays["textures"][:] = table_textures(model)
    arrays["reset_object"][:, 3] = 1.0
    return spec, arrays


@pytest.fixture
def simulation(parts):
    spec, arrays = parts
    for name in ("reset", "reset_joints", "targets"):
        arrays[name][:] = 0
    return isaac_worker.Simulation(gymapi, TENSORS, spec, arrays)


def test_the_worker_keeps_the_rules(simulation):
    simulation.memory["reset"][:] = 1
    simulation.advance(9, True, [])
    simulation.advance(1, False, GROUPS)
    assert (simulation.memory["joints"][..., 0] == 0).all()
    assert simulation.memory["depth"][:, 0, 0, 0] == pytest.approx(0.8, abs=1e-5)


def late_camera(self):
    pose = self.spec["cameras"][0][0]
    isaac_worker.Simulation._acquire(self)
    self._camera(self.envs[0], self.actors[0][0], pose)


def late_actor(self):
    env, box = self.envs[0], self.gym.create_box(self.sim, 1, 1, 1, self.api.AssetOptions())
    self.gym.create_actor(env, box, self._transform([0, 0, 0, 0, 0, 0, 1]), "late", 0, 0, 0)


def servos_off(self, env, actors, world):
    pass


def sim_twice(self):
    self.gym.create_sim(0, 0, self.api.SIM_PHYSX, self._sim_params())


@pytest.mark.parametrize(
    ("method", "body", "words"),
    [
        ("_acquire", late_camera, "create_camera_sensor must come before prepare_sim"),
        ("_dress", late_actor, "no actor can be added to a world once the next one is begun"),
        ("_set_physics", servos_off, "position targets need driveMode DOF_MODE_POS"),
        ("_dress", sim_twice, "create_sim was called twice"),
    ],
)
def test_a_world_that_is_built_in_the_wrong_order_is_refused(parts, method, body, words):
    with pytest.raises(RuleBroken, match=words):
        type("Broken", (isaac_worker.Simulation,), {method: body})(gymapi, TENSORS, *parts)


def calls(simulation):
    return simulation.gym, simulation.sim, simulation.tensors.unwrap


def set_twice(simulation):
    kept = simulation._set(False)
    kept += simulation._set(False)
    return kept


def ids_of(values, dtype, count=None):
    def step(simulation):
        gym, sim, unwrap = calls(simulation)
        ids = np.array(values, dtype)
        gym.set_actor_root_state_tensor_indexed(sim, unwrap(simulation.roots), unwrap(ids), count or len(ids))
        gym.simulate(sim)

    return step


def refresh_after_setter(simulation):
    kept = simulation._set(False)
    simulation.gym.refresh_dof_state_tensor(simulation.sim)
    return kept


def refresh_twice(simulation):
    simulation.gym.simulate(simulation.sim)
    simulation.gym.refresh_dof_state_tensor(simulation.sim)
    simulation.gym.refresh_dof_state_tensor(simulation.sim)


def forget_tensor(simulation):
    simulation._set(False)  # what it returns keeps the tensors alive
    simulation.gym.simulate(simulation.sim)


def in_order(*names):
    def step(simulation):
        for name in names:
            extra = (True,) if name == "fetch_results" else ()
            getattr(simulation.gym, name)(simulation.sim, *extra)

    return step


READY = ("simulate", "fetch_results", "step_graphics", "render_all_camera_sensors", "start_access_image_tensors")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (set_twice, "may be called once between two calls of simulate"),
        (ids_of([2, 2], np.int32), "takes unique actor ids"),
        (ids_of([2, 5], np.int32, 1), "takes unique actor ids and their number"),
        (ids_of([2, 5], np.int64), "takes 32-bit actor ids"),
        (ids_of([2, 6], np.int32), "no such actor"),
        (refresh_after_setter, "stale until simulate"),
        (refresh_twice, "refreshed once after each simulate"),
        (forget_tensor, "its tensor no longer exists"),
        (in_order("simulate", "step_graphics"), "step_graphics belongs after fetch_results"),
        (in_order("simulate", "fetch_results", "render_all_camera_sensors"), "belongs after step_graphics"),
        (in_order(*READY[:3], "start_access_image_tensors"), "belongs after render_all_camera_sensors"),
        (in_order(*READY, "render_all_camera_sensors"), "between start and end of access deadlocks"),
        (in_order(*READY[:4], "end_access_image_tensors"), "belongs after start_access_image_tensors"),
        (in_order("prepare_sim"), "prepare_sim must come before prepare_sim"),
    ],
)
def test_a_step_in_the_wrong_order_is_refused(simulation, step, words):
    with pytest.raises(RuleBroken, match=words):
        step(simulation)


def test_images_read_after_the_end_of_access_are_wrong(simulation):
    simulation.advance(1, False, GROUPS)
    seen = simulation.memory["depth"].copy()
    tensors = simulation.images["depth"]
    assert not np.allclose(np.stack(tensors)[:, None], -seen)


def test_velocities_and_positions_apply_at_the_next_simulate_only(simulation):
    simulation.memory["reset"][:] = 1
    simulation.memory["reset_joints"][..., 0] = simulation.memory["targets"][:] = 0.3
    kept = simulation._set(True)
    assert (simulation.gym.q == 0).all()
    simulation.gym.simulate(simulation.sim)
    assert simulation.gym.q == pytest.approx(0.3)
    assert kept
