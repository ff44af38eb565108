"""The Isaac Gym engine: physics and cameras in a worker under the user's own Python 3.8 (`worker.py`).

Isaac Gym applies what is set at its next `simulate` only, and shows nothing before. So a control step holds its last
physics step back until the task has said which worlds are reset; resets are then set, once, and that last step moves
all worlds together. A reset world is therefore one physics step old when it is first seen.

A world keeps the object, servo gains, camera mount and colours of its first episode: Isaac Gym's GPU pipeline fixes
shapes and masses when the simulation is built. What changes from episode to episode is where things stand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ...errors import HandsightError
from ..engines.engine import TOO_FAST, BodyState, Engine
from ..env_config import IsaacConfig
from ..rotation import quat_to_matrix, rotate, rotate_back
from ..scene import Scene
from ..world_params import WorldParams
from .model import build_spec, links, shared_arrays
from .process import WorkerError, WorkerProcess

WORKER = Path(__file__).with_name("worker.py")
TOUCH_FORCE = 0.01
"""N: a net contact force above this is a touch."""
CLEAR = 0.003
"""m above the table: a link lower than this may feel the table, so its force is not counted as touch."""
FOCAL_TOLERANCE = 0.01
"""Largest relative difference of focal lengths between our rig and the simulator's cameras."""


class IsaacEngine(Engine):
    """N worlds in Isaac Gym. Nothing is rendered or simulated here: states, targets and images cross shared memory."""

    def __init__(
        self, scene: Scene, num_worlds: int, groups: Collection[str], isaac: IsaacConfig, device: str = "cpu"
    ) -> None:
        """groups: image groups to render, any of "depth", "stereo"; device: where states and images are delivered.

        Raises:
            WorkerError: the worker does not start (`process.py` names the ways).
            HandsightError: the scene has a wall, or the robot's actuators do not move one joint each.
        """
        config, robot = scene.config, scene.robot
        if robot.palm_touch is not None:
            raise HandsightError(f"engine 'isaacgym' has robots that are built in, found {robot.name} from MJCF")
        if robot.is_coupled:
            raise HandsightError(
                f"engine 'isaacgym' drives every joint by itself: expected an actuator for each of the joints of "
                f"{robot.name}, found {len(robot.actuators)} actuators for {len(robot.joints)} joints"
            )
        if config.wall is not None:
            raise HandsightError(
                "engine 'isaacgym' has no walls: expected a scene without one (wrist, open), found a wall; occluded "
                "scenes run on engine 'mujoco'"
            )
        self.num_worlds, self.device = num_worlds, torch.device(device)
        self.scene, self.model, self._config, self._isaac = scene, scene.build(), config, isaac
        self._groups = tuple(groups)
        self._links = links(robot, self.model)
        self._hand = self._links[len(robot.arm) :]
        site = lambda name: self._tensor(self.model.site(name).pos)  # noqa: E731
        owner = lambda name: self.model.body(int(self.model.site(name).bodyid[0])).name  # noqa: E731
        self._grasp = site(robot.grasp_site)
        self._tips = [(self._links.index(owner(digit.tip)), site(digit.tip)) for digit in robot.digits]
        self._digits = [
            [column for column, name in enumerate(self._hand) if _is_below(self.model, name, digit.root)]
            for digit in robot.digits
        ]
        self._capsules = self._hand_capsules()
        self._params: WorldParams | None = None
        self._shown: dict[str, Tensor] = {}
        self._images: dict[str, Tensor] = {}
        self._twin: Engine | None = None
        self._start()

    @property
    def params(self) -> WorldParams:
        """What the worlds were built with; drawn at the first reset."""
        assert self._params is not None, "the worlds are built at the first reset"
        return self._params

    def _start(self) -> None:
        python = self._isaac.python or os.environ.get("HANDSIGHT_ISAAC_PYTHON")
        if not python:
            raise WorkerError(
                "engine 'isaacgym' needs the Python 3.8 that has isaacgym, and none is named: expected --isaac-python "
                "PATH or HANDSIGHT_ISAAC_PYTHON; docs/isaac.md says how to make one"
            )
        arrays = shared_arrays(self.num_worlds, self.scene, self.model, self._groups)
        self.worker = WorkerProcess(python, WORKER, arrays, self._isaac.timeout)
        """The process behind this engine."""
        shape = (self.num_worlds,)
        self._pending = torch.zeros(shape, dtype=torch.bool)
        self._bad = torch.zeros(shape, dtype=torch.bool, device=self.device)
        self._owed = False

    def _build(self, params: WorldParams) -> None:
        """Make the simulation for these parameters; one worker builds once."""
        if self._params is not None:
            self.worker.close()
            self._start()
        self._params = params.each(Tensor.clone)
        spec = build_spec(self.scene, self.model, params, self._groups)
        devices = {"compute_device": self._isaac.compute_device, "graphics_device": self._isaac.graphics_device}
        if self._groups:
            self.worker.arrays["textures"][:] = table_textures(self.model)
        built = self.worker.call("build", timeout=10 * self._isaac.timeout, **spec, **devices)
        if self._groups:
            self._check_projection(built["projection"])

    def _check_projection(self, found: list[float]) -> None:
        """The simulator's pinhole must be our rig's: focal lengths in half images."""
        rig = self._config.rig
        expected = [2 * rig.focal_pixels / rig.width, 2 * rig.focal_pixels / rig.height]
        if any(abs(a / b - 1) > FOCAL_TOLERANCE for a, b in zip(found, expected, strict=True)):
            self.close()
            raise WorkerError(f"Isaac Gym's cameras have focal lengths {found} half images, expected {expected}")

    # -- stepping --------------------------------------------------------------------------------------------------

    def admit(self, params: WorldParams, rows: Tensor) -> WorldParams:
        return params if self._params is None else self._params.each(lambda value: value[rows])

    def step(self, ctrl: Tensor, active: Tensor) -> Tensor:
        targets = self.worker.arrays["targets"]
        np.copyto(targets, ctrl.cpu().numpy(), where=active.cpu().numpy()[:, None])
        self._advance(self._config.substeps - 1, ())
        self._owed = True
        return active & (self._bad | ~self._sane(self._read_arrays()))

    def reset(
        self, mask: Tensor, joint_pos: Tensor, object_pos: Tensor, object_quat: Tensor, params: WorldParams
    ) -> None:
        """The first reset builds the simulation, for the parameters that it brings; later ones keep them."""
        if self._params is None:
            self._build(params)
        rows = mask.cpu()
        arrays, index = self.worker.arrays, rows.numpy()
        joints = joint_pos.cpu().numpy()[index]
        arrays["targets"][index] = self.scene.robot.ctrl(joint_pos).cpu().numpy()[index]
        arrays["reset_joints"][index] = np.stack([joints, np.zeros_like(joints)], -1)
        arrays["reset_object"][index, :3] = object_pos.cpu().numpy()[index]
        arrays["reset_object"][index, 3:7] = object_quat.cpu().numpy()[index]
        arrays["reset_object"][index, 7:] = 0.0
        self._pending |= rows
        self._bad &= ~mask
        self._owed = True

    def _settle(self) -> None:
        """The physics step that was held back, with the resets that came meanwhile, and the images after it."""
        if not self._owed:
            return
        self._advance(1, self._groups)
        self._owed = False
        now = self._read_arrays()
        sane = self._sane(now)
        self._bad |= ~sane
        if self._shown:  # a world that has just diverged shows its last sane state until it is reset, a step later
            now = {name: torch.where(_like(sane, value), value, self._shown[name]) for name, value in now.items()}
        self._shown = now
        names = [*self._groups, "object_pixels"] if self._groups else []
        self._images = {name: self._tensor(self.worker.arrays[name], None) for name in names}

    def _advance(self, substeps: int, render: Collection[str]) -> None:
        self.worker.arrays["reset"][:] = self._pending.numpy()
        self.worker.call("advance", substeps=substeps, reset=bool(self._pending.any()), render=list(render))
        self._pending = torch.zeros_like(self._pending)

    def _read_arrays(self) -> dict[str, Tensor]:
        return {name: self._tensor(self.worker.arrays[name]) for name in ("joints", "links", "object", "force")}

    def _sane(self, state: Mapping[str, Tensor]) -> Tensor:
        speeds = torch.cat([state["joints"][..., 1], state["object"][:, 7:]], 1)
        finite = torch.stack([value.flatten(1).isfinite().all(1) for value in state.values()]).all(0)
        return finite & (speeds.abs() < TOO_FAST).all(1)

    def _tensor(self, array: np.ndarray, dtype: torch.dtype | None = torch.float32) -> Tensor:
        """Out of shared memory: one copy."""
        return torch.from_numpy(array).to(self.device, dtype, copy=True)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self) -> BodyState:
        self._settle()
        state = self._shown
        poses, thing, arm = state["links"], state["object"], len(self.scene.robot.arm)
        place, turn = poses[..., :3], quat_to_matrix(poses[..., 3:])
        palm_rot, object_rot = turn[:, -1], quat_to_matrix(thing[:, 3:7])
        tips = [place[:, link] + rotate(turn[:, link], site) for link, site in self._tips]
        return BodyState(
            joint_pos=state["joints"][..., 0],
            joint_vel=state["joints"][..., 1],
            joint_anchor=place[:, :arm],
            joint_axis=turn[:, :arm, :, 2],
            palm_pos=place[:, -1],
            palm_rot=palm_rot,
            grasp_pos=place[:, -1] + rotate(palm_rot, self._grasp),
            tip_pos=torch.stack(tips, 1),
            object_pos=thing[:, :3],
            object_rot=object_rot,
            object_linvel=thing[:, 7:10],
            object_angvel=rotate_back(object_rot, thing[:, 10:]),
            touch=self._touch(place, turn, state["force"]),
        )

    def _touch(self, place: Tensor, turn: Tensor, force: Tensor) -> Tensor:
        """(N, D + 1) bool. Isaac Gym's GPU pipeline gives the net contact force of a link, not its partner: as the hand
        does not collide with itself, that is the object or the table, and links on the table are not counted."""
        feels = force[:, -len(self._hand) :] > TOUCH_FORCE
        low = torch.full_like(force[:, : len(self._hand)], math.inf)
        for column, (link, ends, radius) in enumerate(self._capsules):
            for end in ends:
                low[:, column] = torch.minimum(
                    low[:, column], (place[:, link] + rotate(turn[:, link], end))[:, 2] - radius
                )
        feels &= low > CLEAR
        digits = [feels[:, columns].any(1) for columns in self._digits]
        return torch.stack([*digits, feels[:, -1]], 1)

    def _hand_capsules(self) -> list[tuple[int, list[Tensor], float]]:
        """For each hand link: its index, the ends (corners, for the palm) of its shape in its frame, and its radius."""
        shapes = []
        for name in self._hand:
            body = self.model.body(name)
            ends, radius = [], 0.0
            for geom in range(int(body.geomadr[0]), int(body.geomadr[0]) + int(body.geomnum[0])):
                size, middle = self.model.geom_size[geom], self.model.geom_pos[geom]
                if name == self.scene.robot.palm:
                    corners = np.array(np.meshgrid(*([-1, 1],) * 3)).reshape(3, -1).T * size
                    ends = [self._tensor(middle + corner) for corner in corners]
                else:  # the fingers' capsules lie along their links
                    radius = float(size[0])
                    ends = [self._tensor(middle + np.array([0, 0, side * size[1]])) for side in (-1, 1)]
            shapes.append((self._links.index(name), ends, radius))
        return shapes

    def render(self, groups: Collection[str]) -> dict[str, Tensor]:
        if not self._groups:
            raise RuntimeError(f"this engine was made without cameras; asked to render {sorted(groups)}")
        self._settle()
        images = {name: self._images[name] for name in groups}
        return images | {"object_pixels": self._images["object_pixels"].long()}

    def shown(self, world: int) -> dict[str, np.ndarray]:
        """The state that Isaac Gym reports, as MuJoCo would hold it."""
        from ..engines.mujoco_cpu import MujocoEngine  # it takes a second to import

        self._twin = self._twin or MujocoEngine(self.scene, 1, ())
        body, one = self.read(), slice(world, world + 1)
        pose, params = self._shown["object"][one].cpu(), self.params.each(lambda value: value[one].cpu())
        everywhere = torch.ones(1, dtype=torch.bool)
        self._twin.reset(everywhere, body.joint_pos[one].cpu(), pose[:, :3], pose[:, 3:7], params)
        return self._twin.shown(0)

    # -- saving ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where everything is, and what was seen: Isaac Gym cannot draw a state without moving it. Contacts that the
        solver remembers are not part of it, so a restored simulation goes on close to, but not bit for bit like, the
        saved one."""
        self._settle()
        params = {name: value.clone() for name, value in self.params.known.items()}
        tensors = {"shown": self._shown, "images": self._images}
        saved = {group: {name: value.clone() for name, value in part.items()} for group, part in tensors.items()}
        return saved | {"params": params, "targets": self.worker.arrays["targets"].copy(), "bad": self._bad.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        params = WorldParams(**state["params"])
        if self._params is None or any(not torch.equal(v, self._params.known[k]) for k, v in params.known.items()):
            self._build(params)
        self._shown = {name: value.clone() for name, value in state["shown"].items()}
        self._images = {name: value.clone() for name, value in state["images"].items()}
        arrays = self.worker.arrays
        arrays["targets"][:] = state["targets"]
        arrays["reset_joints"][:] = self._shown["joints"].cpu()
        arrays["reset_object"][:] = self._shown["object"].cpu()
        self._bad = state["bad"].clone()
        self._pending = torch.ones_like(self._pending)
        self._owed = False

    def close(self) -> None:
        self.worker.close()
        if self._twin:
            self._twin.close()


def _is_below(model: mujoco.MjModel, body: str, root: str) -> bool:
    """Whether a body is `root` or hangs below it."""
    index = model.body(body).id
    while index and index != model.body(root).id:
        index = int(model.body_parentid[index])
    return bool(index)


def table_textures(model: mujoco.MjModel) -> np.ndarray:
    """(K, H, W, 4) uint8: the model's table textures, opaque."""
    count, height, width = model.ntex, int(model.tex_height[0]), int(model.tex_width[0])
    rgb = model.tex_data.reshape(count, height, width, 3)
    return np.concatenate([rgb, np.full((count, height, width, 1), 255, np.uint8)], -1)


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (value.ndim - 1))
