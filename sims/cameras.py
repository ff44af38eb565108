"""The calibrated stereo pair, and what turns rendered depth into the millimetres that policies see.

The depth camera *is* the left eye. Camera frames follow MuJoCo: x right, y up, the camera looks along -z.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import mujoco
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import HandsightError, unknown
from .draws import Draws
from .env_config import CameraConfig, CameraRig, DepthSensor
from .rotation import exp_quat, quat_multiply, quat_to_matrix, rotate
from .world_params import WorldParams

EYES = ("left", "right")
SKY = (0.55, 0.62, 0.7, 1.0)
"""Colour of a pixel in whose direction nothing stands, RGBA 0..1."""
FARTHEST = 32.0
"""m: what an int16 of millimetres can hold; a match that seems to lie beyond is taken to be here."""


def eye_sides(rig: CameraRig, device: torch.device) -> Tensor:
    """(2, 3), mount's frame: where each eye moves if they come apart by one."""
    return torch.tensor([[-0.5], [0.5]], device=device) * torch.tensor(rig.right, device=device)


def eye_poses(rig: CameraRig, params: WorldParams, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Where the eyes are and how they look, as drawn: the pair is one rigid body that is moved, and turned about the
    middle between its eyes; then each eye is moved and turned on its own.

    Args:
        rig: the pair as it was designed.
        params: of N environments.
        dtype: of what is returned.

    Returns:
        Places (N, 2, 3) m and quaternions (N, 2, 4) w x y z, eye to mount, both in the mount's frame.
    """
    drawn = (params.camera_shift, params.camera_turn, params.eye_shift, params.eye_turn)
    shift, turn, eye_shift, eye_turn = (one.to(dtype) for one in drawn)
    quat, axes, middle, nominal = _drawing(rig, dtype, shift.device)
    pair = quat_multiply(quat, exp_quat(turn))
    apart = (nominal + eye_shift) @ axes  # in the pair's own frame
    places = middle + shift[:, None] + rotate(quat_to_matrix(pair), apart)
    return places, quat_multiply(pair[:, None], exp_quat(eye_turn))


@cache
def _drawing(rig: CameraRig, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """The pair as it was designed, in the mount's frame: its quaternion (4,), axes (3, 3), middle (3,) m and the eyes'
    places (2, 3) m seen from there. Kept, as a GPU would be waited for."""
    parts = _quat(rig), _axes(rig), np.array(rig.position), np.array(_places(rig)) - rig.position
    return [torch.as_tensor(part, dtype=dtype, device=device) for part in parts]


def extrinsics(rig: CameraRig, params: WorldParams) -> Tensor:
    """(N, 2, 4, 4): from each eye's frame (x right, y up, looking along -z) to the mount's frame, as drawn."""
    places, quats = eye_poses(rig, params)
    pose = torch.eye(4, dtype=places.dtype, device=places.device).repeat(len(places), 2, 1, 1)
    pose[..., :3, :3], pose[..., :3, 3] = quat_to_matrix(quats), places
    return pose


def add_cameras(rig: CameraRig, spec: mujoco.MjSpec) -> None:
    """Add the cameras `left` and `right` to the scene."""
    body = spec.worldbody if rig.mount == "world" else spec.body(rig.mount)
    if body is None:
        raise HandsightError(f"the camera rig is mounted on {rig.mount!r}: no such body; available: world, palm")
    for eye, offset in zip(EYES, _places(rig), strict=True):
        body.add_camera(name=eye, pos=offset, quat=_quat(rig), fovy=rig.fov_y, resolution=[rig.width, rig.height])


def add_camera(camera: CameraConfig, spec: mujoco.MjSpec) -> None:
    """Add one of the further cameras to the scene."""
    body = spec.worldbody if camera.mount == "world" else spec.body(camera.mount)
    if body is None:
        known = [one.name for one in spec.bodies]
        raise HandsightError(f"camera {camera.name!r}: {unknown('mount', camera.mount, known)}")
    body.add_camera(name=f"camera_{camera.name}", pos=camera.position, quat=_quat(camera), fovy=camera.opening)


def _places(rig: CameraRig) -> list[list[float]]:
    """m in the mount's frame: left eye, right eye."""
    offsets = (-0.5 * rig.baseline, 0.5 * rig.baseline)
    return [[p + side * r for p, r in zip(rig.position, rig.right, strict=True)] for side in offsets]


def _quat(rig: CameraRig | CameraConfig) -> np.ndarray:
    """Camera to mount, w x y z."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, _axes(rig).ravel())
    return quat


def _axes(rig: CameraRig | CameraConfig) -> np.ndarray:
    """(3, 3) camera to mount: the columns are the camera's axes."""
    x = np.array(rig.right) / np.linalg.norm(rig.right)
    z = np.cross(x, rig.up) / np.linalg.norm(np.cross(x, rig.up))
    return np.stack([x, np.cross(z, x), z], axis=1)


def sense_depth(sensor: DepthSensor, depth: Tensor, rig: CameraRig, draws: Draws) -> Tensor:
    """What a depth camera reports, m along the optical axis of the left eye; 0 = no return.

    Args:
        sensor: its errors.
        depth: (N, 1, H, W) float32 m, true; 0 where nothing was hit.
        rig: its nominal focal length and baseline.
        draws: random numbers of these N images.
    """
    grain = lambda name: draws.gaussian(name, depth[0].numel()).reshape(depth.shape)  # noqa: E731
    hit, scale = depth > 0, rig.focal_pixels * rig.baseline
    true = torch.where(hit, scale / depth, 0.0)
    seen, lost = true, ~hit
    if sensor.edge_mix > 0:
        seen = _mix_edges(true, grain("depth_edge"), sensor.edge_mix)
    if sensor.disparity_noise > 0:
        seen = seen + sensor.disparity_noise * grain("depth_noise")
    if sensor.shadows:
        lost = lost | _in_shadow(true)
    if sensor.dropout > 0:
        lost = lost | (grain("depth_dropout") < _quantile(sensor.dropout))
    return torch.where(lost, 0.0, scale / seen.clamp(min=scale / FARTHEST))


def _mix_edges(disparity: Tensor, grain: Tensor, share: float) -> Tensor:
    """Disparity (N, 1, H, W) px in which a `share` of the pixels beside a step have the value across it."""
    mixed, chosen = disparity.clone(), grain < _quantile(share)
    left, right = disparity[..., :-1], disparity[..., 1:]
    step = (right - left).abs() > 1
    mixed[..., :-1] = torch.where(step & chosen[..., :-1], right, left)
    mixed[..., 1:] = torch.where(step & chosen[..., 1:], left, mixed[..., 1:])
    return mixed


def _in_shadow(disparity: Tensor) -> Tensor:
    """(N, 1, H, W) bool: the right eye sees something nearer in the direction of this pixel's point. A point of column
    x lies in the right image at x - disparity, and what stands before it comes from a column further right."""
    width = disparity.shape[-1]
    column = torch.arange(width, dtype=disparity.dtype, device=disparity.device) - disparity
    leftmost, reach = column.clone(), 1
    while reach < width:  # least of this column and those right of it, twice as many each time: faster than cummin
        leftmost[..., :-reach] = torch.minimum(leftmost[..., :-reach], leftmost[..., reach:])
        reach *= 2
    return leftmost < column - 0.5


def _quantile(share: float) -> float:
    """Below this is a `share` of normal numbers."""
    return NormalDist().inv_cdf(share) if share < 1 else math.inf


def blurred(images: Tensor, sigma: float) -> Tensor:
    """(..., H, W) uint8 as a lens out of focus shows them: a Gaussian of `sigma` pixels, the border repeated."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / sigma) ** 2)
    weights = weights / weights.sum()
    planes = F.pad(images.flatten(0, -3)[:, None].float(), (reach,) * 4, mode="replicate")
    seen = F.conv2d(F.conv2d(planes, weights[None, None, :, None]), weights[None, None, None])
    return seen.round_().to(torch.uint8).reshape(images.shape)


def depth_to_millimetres(depth: Tensor, rig: CameraRig | CameraConfig) -> Tensor:
    """Depth as every policy, buffer and file holds it.

    Args:
        depth: (N, 1, H, W) float32, m along the optical axis; 0 = no return.
        rig: its `depth_max` clips the range.

    Returns:
        (N, 1, H, W) int16, mm; 0 = no return.
    """
    clipped = depth.clamp(0.001, rig.depth_max).mul(1000.0).round()
    return torch.where(depth > 0, clipped, torch.zeros_like(clipped)).to(torch.int16)
