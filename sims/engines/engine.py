"""The seam under the task: an engine moves bodies and renders, and knows nothing of grasping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ...errors import HandsightError
from ..scene import Scene, SceneIds
from ..world_params import WorldParams

STATE = ("qpos", "qvel", "ctrl", "time", "qacc_warmstart")
"""All that a physics step depends on, besides the model."""
READ = ("xpos", "xmat", "site_xpos", "xanchor", "xaxis", "sensordata")
"""What the task is told of, besides the state."""
TOO_FAST = 200.0
"""Any generalised velocity above this (m/s or rad/s) counts as divergence."""


@dataclass
class BodyState:
    """What the task reads after a step, all float32 on the engine's device, world frame unless said. A robot of J
    joints, of which the arm has A, and D digits."""

    joint_pos: Tensor
    """(N, J) rad, or m where a joint slides: arm, then hand."""
    joint_vel: Tensor
    """(N, J) rad/s, or m/s where a joint slides."""
    joint_anchor: Tensor
    """(N, A, 3) m: points on the arm's joint axes."""
    joint_axis: Tensor
    """(N, A, 3): unit vectors along the arm's joint axes."""
    palm_pos: Tensor
    """(N, 3) m: origin of the palm's frame."""
    palm_rot: Tensor
    """(N, 3, 3): palm frame to world."""
    grasp_pos: Tensor
    """(N, 3) m: the grasp site."""
    tip_pos: Tensor
    """(N, D, 3) m: the fingertips."""
    object_pos: Tensor
    """(N, 3) m: middle of the object's height."""
    object_rot: Tensor
    """(N, 3, 3): object frame to world."""
    object_linvel: Tensor
    """(N, 3) m/s: velocity of the object's origin."""
    object_angvel: Tensor
    """(N, 3) rad/s in the object's frame."""
    touch: Tensor
    """(N, D + 1) bool: which digits, and last the palm, touch the object."""
    force: Tensor | None = None
    """(N, D) N: with how much force each digit and the object press each other; None unless the scene measures it."""


def body_state(field: Callable[[str, Any], Tensor], ids: SceneIds) -> BodyState:
    """What the task reads, out of MuJoCo's arrays.

    Args:
        field: field(name, at) gives (N, ...) float32, of the named array of `mujoco.MjData` the columns `at`: a
            number, a slice or a tuple of numbers.
        ids: where everything lies.
    """
    joints, arm = slice(ids.robot_dofs), slice(ids.arm_dofs)
    return BodyState(
        joint_pos=field("qpos", joints),
        joint_vel=field("qvel", joints),
        joint_anchor=field("xanchor", arm),
        joint_axis=field("xaxis", arm),
        palm_pos=field("xpos", ids.palm),
        palm_rot=field("xmat", ids.palm).reshape(-1, 3, 3),
        grasp_pos=field("site_xpos", ids.grasp_site),
        tip_pos=field("site_xpos", ids.tip_sites),
        object_pos=field("xpos", ids.object),
        object_rot=field("xmat", ids.object).reshape(-1, 3, 3),
        object_linvel=field("qvel", slice(ids.object_qvel, ids.object_qvel + 3)),
        object_angvel=field("qvel", slice(ids.object_qvel + 3, ids.object_qvel + 6)),
        touch=field("sensordata", ids.touch) > 0,
        force=field("sensordata", ids.force).unflatten(1, (-1, 3)).norm(dim=2) if ids.force else None,
    )


class Engine(ABC):
    """N copies of the scene on one device."""

    scene: Scene
    num_worlds: int
    device: torch.device
    model: mujoco.MjModel
    """The scene as MuJoCo compiled it."""
    _overview: Any = None

    def admit(self, params: WorldParams, rows: Tensor) -> WorldParams:
        """What of drawn parameters the worlds can have: all of it, unless an engine's worlds are built once for all.

        Args:
            params: as drawn for a coming reset of K worlds.
            rows: (K,) which worlds.

        Returns:
            What `reset` may be given for them, and what the task tells its policies.
        """
        return params

    @abstractmethod
    def step(self, ctrl: Tensor, active: Tensor) -> Tensor:
        """Run one control step of physics.

        Args:
            ctrl: (N, U) targets of the robot's actuators, rad or m; `Robot.ctrl` makes them of joint targets.
            active: (N,) bool: worlds that move; the others wait for their reset.

        Returns:
            (N,) bool: worlds that diverged (non-finite, absurdly fast, or reset by the simulator); reset them.
        """

    @abstractmethod
    def reset(
        self, mask: Tensor, joint_pos: Tensor, object_pos: Tensor, object_quat: Tensor, params: WorldParams
    ) -> None:
        """Write parameters and a resting state into the worlds of `mask`.

        Args:
            mask: (N,) bool.
            joint_pos: (N, J) rad or m; servo targets are set to the same.
            object_pos: (N, 3) m, world frame.
            object_quat: (N, 4) w x y z, object frame to world.
            params: of all worlds; rows outside the mask are ignored.
        """

    @abstractmethod
    def read(self) -> BodyState:
        """State after the last step or reset, derived quantities up to date."""

    def push(self, velocity: Tensor) -> None:
        """Add `velocity` (N, 3) m/s, world frame, to that of the objects.

        Raises:
            HandsightError: this engine cannot.
        """
        raise HandsightError(f"{type(self).__name__} cannot push objects; expected engine 'mujoco'")

    def physics_state(self) -> Tensor:
        """(N, 1 + Q + V) float64: time s, generalised positions and velocities; (N, 0) where they are not at hand."""
        return torch.zeros(self.num_worlds, 0, dtype=torch.float64)

    @abstractmethod
    def render(self, groups: Collection[str]) -> dict[str, Tensor]:
        """Images of the present state.

        Args:
            groups: any of "depth", "stereo".

        Returns:
            depth (N, 1, H, W) float32 m, 0 = miss; stereo (N, 2, 3, H, W) uint8; always object_pixels (N, 2) int64:
            pixels of the object in the left and the right eye (N, 1: the left one's, without stereo); and object_mask
            (N, H, W) bool, which these are in the left eye, if the engine tells.
        """

    def look(self, camera: str) -> dict[str, Tensor]:
        """What a further camera of the scene sees: depth (N, 1, H, W) float32 m, 0 = miss; rgb (N, 3, H, W) uint8; and
        segmentation (N, 1, H, W) uint8, 1 where the object is."""
        raise NotImplementedError(f"this engine has no camera {camera!r}")

    def render_overview(self, world: int, height: int = 240, width: int = 240) -> np.ndarray:
        """(height, width, 3) uint8: one world from the outside, the upper arm included, by our own ray tracer."""
        from .ray_cameras import OverviewCamera  # it takes a second to import

        if self._overview is None or self._overview.shape != (height, width):
            self._overview = OverviewCamera(self.model, height, width)
        return self._overview.render(self.shown(world))

    @abstractmethod
    def shown(self, world: int) -> dict[str, np.ndarray]:
        """What `OverviewCamera` must know of one world: MuJoCo's poses and looks of it, by name."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that physics depends on, warm starts and per-world model fields included."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it and bring derived quantities up to date."""

    @abstractmethod
    def close(self) -> None:
        """Release threads and memory. May be called twice."""
