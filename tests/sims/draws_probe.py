"""Worlds whose ranges can be set, and whose simulator can be looked into: what the tests of draws measure with."""

from dataclasses import replace

import pytest
import torch

from handsight.sims import CameraRig, EnvConfig, GraspConfig, make
from handsight.sims.env_config import EXACT_DEPTH, Randomization, SceneConfig
from handsight.sims.tasks.randomization import ParamDrawer

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
        self.env._config, self.env._ranges = task, task.randomization
        self.env._drawer = ParamDrawer(task.randomization, kinds, self.engine.scene, self.env.device)
        self.env.set_reset_mix({kind: 1.0})
        self.obs = self.env.reset(seed)
        self.drawn = {name: value.double().numpy() for name, value in self.env._params.known.items()}
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
