"""The calibrated stereo pair, and what turns rendered depth into the millimetres that policies see.

The depth camera *is* the left eye. Camera frames follow MuJoCo: x right, y up, the camera looks along -z.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from ..errors import HandsightError
from .env_config import CameraRig
from .rotation import quat_to_matrix
from .world_params import WorldParams

EYES = ("left", "right")


def eye_sides(rig: CameraRig, device: torch.device) -> Tensor:
    """(2, 3), mount's frame: where each eye moves if they come apart by one."""
    return torch.tensor([[-0.5], [0.5]], device=device) * torch.tensor(rig.right, device=device)


def extrinsics(rig: CameraRig, params: WorldParams) -> Tensor:
    """(N, 2, 4, 4): from each eye's frame (x right, y up, looking along -z) to the mount's frame, as drawn."""
    like = params.camera_shift
    rotation = torch.tensor(_axes(rig), dtype=like.dtype, device=like.device)
    pose = torch.eye(4, dtype=like.dtype, device=like.device).repeat(len(like), 2, 1, 1)
    pair = small_turn(params.camera_turn)[:, None]
    pose[..., :3, :3] = rotation @ pair @ small_turn(params.eye_turn)
    places = torch.tensor(_places(rig), dtype=like.dtype, device=like.device)
    pose[..., :3, 3] = places + params.camera_shift[:, None] + params.eye_shift
    return pose


def add_cameras(rig: CameraRig, spec: mujoco.MjSpec) -> None:
    """Add the cameras `left` and `right` to the scene."""
    body = spec.worldbody if rig.mount == "world" else spec.body(rig.mount)
    if body is None:
        raise HandsightError(f"the camera rig is mounted on {rig.mount!r}: no such body; available: world, palm")
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, _axes(rig).ravel())
    for eye, offset in zip(EYES, _places(rig), strict=True):
        body.add_camera(name=eye, pos=offset, quat=quat, fovy=rig.fov_y, resolution=[rig.width, rig.height])


def _places(rig: CameraRig) -> list[list[float]]:
    """m in the mount's frame: left eye, right eye."""
    offsets = (-0.5 * rig.baseline, 0.5 * rig.baseline)
    return [[p + side * r for p, r in zip(rig.position, rig.right, strict=True)] for side in offsets]


def _axes(rig: CameraRig) -> np.ndarray:
    """(3, 3) camera to mount: the columns are the camera's axes."""
    x = np.array(rig.right) / np.linalg.norm(rig.right)
    z = np.cross(x, rig.up) / np.linalg.norm(np.cross(x, rig.up))
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
