"""The calibrated stereo pair, and what turns rendered depth into the millimetres that policies see.

The depth camera *is* the left eye. Camera frames follow MuJoCo: x right, y up, the camera looks along -z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ..errors import HandsightError
from .rotation import quat_to_matrix
from .world_params import WorldParams

EYES = ("left", "right")


@dataclass(frozen=True)
class CameraRig:
    """A stereo pair with parallel optical axes: its mount, its intrinsics and its depth range."""

    mount: str = "palm"
    """Body that carries the pair: "palm" (wrist pair) or "world" (fixed pair)."""
    position: tuple[float, float, float] = (0.11, 0.0, -0.14)
    """m in the mount's frame: the middle between the eyes."""
    right: tuple[float, float, float] = (0.0, -1.0, 0.0)
    """The camera's x axis in the mount's frame; the eyes sit along it."""
    up: tuple[float, float, float] = (-0.961, 0.0, 0.276)
    """The camera's y axis in the mount's frame."""
    baseline: float = 0.06
    """m between the eyes."""
    fov_y: float = 45.0
    """Vertical field of view, degrees."""
    height: int = 32
    """Height of an image, pixels."""
    width: int = 32
    """Width of an image, pixels."""
    depth_max: float = 0.6
    """m: depth beyond this is clipped to it."""

    def __post_init__(self) -> None:
        if self.height < 8 or self.width < 8:
            raise HandsightError(f"camera images must be at least 8 x 8 pixels, not {self.height} x {self.width}")
        if not 1.0 <= self.fov_y <= 150.0:
            raise HandsightError(f"fov_y must lie within 1..150 degrees, not {self.fov_y}")
        if not 0.1 <= self.depth_max <= 32.0:
            raise HandsightError(f"depth_max must lie within 0.1..32 m (int16 millimetres), not {self.depth_max}")

    @property
    def focal_pixels(self) -> float:
        """Focal length in pixels, the same in x and y (square pixels)."""
        return 0.5 * self.height / math.tan(math.radians(self.fov_y) / 2)

    def intrinsics(self) -> list[list[float]]:
        """3 x 3 pinhole matrix K per eye: u = fx X/Z + cx, v = fy Y/Z + cy with Z along the optical axis, Y down."""
        f = self.focal_pixels
        return [[f, 0.0, self.width / 2], [0.0, f, self.height / 2], [0.0, 0.0, 1.0]]

    def disparity(self, depth: Tensor) -> Tensor:
        """Disparity in pixels of a point at `depth` m along the optical axis: f b / Z (rectified pair)."""
        return self.focal_pixels * self.baseline / depth

    def describe(self) -> dict[str, Any]:
        """What travels with a checkpoint: mount, intrinsics, baseline, image size and depth range."""
        return {
            "mount": self.mount, "position": list(self.position), "right": list(self.right), "up": list(self.up),
            "baseline": self.baseline, "intrinsics": self.intrinsics(), "height": self.height, "width": self.width,
            "depth_max": self.depth_max,
        }  # fmt: skip

    def sides(self, device: torch.device) -> Tensor:
        """(2, 3), mount's frame: where each eye moves if they come apart by one."""
        return torch.tensor([[-0.5], [0.5]], device=device) * torch.tensor(self.right, device=device)

    def extrinsics(self, params: WorldParams) -> Tensor:
        """(N, 2, 4, 4): from each eye's frame (x right, y up, looking along -z) to the mount's frame, as drawn."""
        like = params.camera_shift
        rotation = torch.tensor(self._axes(), dtype=like.dtype, device=like.device)
        pose = torch.eye(4, dtype=like.dtype, device=like.device).repeat(len(like), 2, 1, 1)
        pair = small_turn(params.camera_turn)[:, None]
        pose[..., :3, :3] = rotation @ pair @ small_turn(params.eye_turn)
        places = torch.tensor(self._places(), dtype=like.dtype, device=like.device)
        pose[..., :3, 3] = places + params.camera_shift[:, None] + params.eye_shift
        return pose

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the cameras `left` and `right` to the scene."""
        body = spec.worldbody if self.mount == "world" else spec.body(self.mount)
        if body is None:
            raise HandsightError(f"the camera rig is mounted on {self.mount!r}: no such body; available: world, palm")
        for eye, offset in zip(EYES, self._places(), strict=True):
            body.add_camera(
                name=eye, pos=offset, quat=self._quat(), fovy=self.fov_y, resolution=[self.width, self.height]
            )

    def _places(self) -> list[list[float]]:
        """m in the mount's frame: left eye, right eye."""
        offsets = (-0.5 * self.baseline, 0.5 * self.baseline)
        return [[p + side * r for p, r in zip(self.position, self.right, strict=True)] for side in offsets]

    def _quat(self) -> np.ndarray:
        """Camera to mount, w x y z."""
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._axes().ravel())
        return quat

    def _axes(self) -> np.ndarray:
        """(3, 3) camera to mount: the columns are the camera's axes."""
        x = np.array(self.right) / np.linalg.norm(self.right)
        z = np.cross(x, self.up) / np.linalg.norm(np.cross(x, self.up))
        return np.stack([x, np.cross(z, x), z], axis=1)


def small_turn(turn: Tensor) -> Tensor:
    """(..., 3) rotation vectors -> (..., 3, 3), by the quaternion (1, turn / 2), as engines turn their cameras."""
    quat = torch.cat([torch.ones_like(turn[..., :1]), turn / 2], dim=-1)
    return quat_to_matrix(quat / quat.norm(dim=-1, keepdim=True))


def depth_to_millimetres(depth: Tensor, rig: CameraRig, noise: Tensor | None = None) -> Tensor:
    """Rendered depth as every policy, buffer and file holds it. The only place where depth values change.

    Args:
        depth: (N, 1, H, W) float32, m along the optical axis; 0 where no surface was hit.
        rig: its `depth_max` clips the range.
        noise: (N, 1, H, W) float32 m, added where there is a return, or None.

    Returns:
        (N, 1, H, W) int16, mm; 0 = no return.
    """
    hit = depth > 0
    if noise is not None:
        depth = depth + noise
    clipped = depth.clamp(0.001, rig.depth_max).mul(1000.0).round()
    return torch.where(hit, clipped, torch.zeros_like(clipped)).to(torch.int16)
