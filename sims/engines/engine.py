"""The seam under the task: an engine moves bodies and renders, and knows nothing of grasping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ..world_params import WorldParams

TOO_FAST = 200.0
"""Any generalised velocity above this (m/s or rad/s) counts as divergence."""


@dataclass
class BodyState:
    """What the task reads after a step, all float32 on the engine's device, world frame unless said."""

    joint_pos: Tensor
    """(N, 23) rad: arm, then hand."""
    joint_vel: Tensor
    """(N, 23) rad/s."""
    joint_anchor: Tensor
    """(N, 7, 3) m: points on the arm's joint axes."""
    joint_axis: Tensor
    """(N, 7, 3): unit vectors along them."""
    palm_pos: Tensor
    """(N, 3) m."""
    palm_rot: Tensor
    """(N, 3, 3): palm frame to world."""
    grasp_pos: Tensor
    """(N, 3) m: the grasp site."""
    tip_pos: Tensor
    """(N, 4, 3) m: index, middle, ring, thumb."""
    object_pos: Tensor
    """(N, 3) m: middle of the object's height."""
    object_rot: Tensor
    """(N, 3, 3): object frame to world."""
    object_linvel: Tensor
    """(N, 3) m/s."""
    object_angvel: Tensor
    """(N, 3) rad/s in the object's frame."""
    touch: Tensor
    """(N, 5) bool: index, middle, ring, thumb, palm touch the object."""


class Engine(ABC):
    """N copies of the scene on one device."""

    num_worlds: int
    device: torch.device
    model: mujoco.MjModel

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
    def step(self, joint_target: Tensor, active: Tensor) -> Tensor:
        """Run one control step of physics.

        Args:
            joint_target: (N, 23) rad, position servo targets.
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
            joint_pos: (N, 23) rad; servo targets are set to the same.
            object_pos: (N, 3) m.
            object_quat: (N, 4) w x y z.
            params: rows outside the mask are ignored.
        """

    @abstractmethod
    def read(self) -> BodyState:
        """State after the last step or reset, derived quantities up to date."""

    def physics_state(self) -> Tensor:
        """(N, 1 + Q + V) float64: time s, generalised positions and velocities; (N, 0) where they are not at hand."""
        return torch.zeros(self.num_worlds, 0, dtype=torch.float64)

    @abstractmethod
    def render(self, groups: Collection[str]) -> dict[str, Tensor]:
        """Images of the present state.

        Args:
            groups: any of "depth", "stereo".

        Returns:
            depth (N, 1, H, W) float32 m, 0 = miss; stereo (N, 2, 3, H, W) uint8; always object_pixels (N,) int64:
            pixels of the object in the left eye; and object_mask (N, H, W) bool, which these are, if the engine tells.
        """

    @abstractmethod
    def render_overview(self, world: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8: one world from the outside."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that physics depends on, warm starts and per-world model fields included."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it and bring derived quantities up to date."""

    @abstractmethod
    def close(self) -> None:
        """Release threads and memory. May be called twice."""
