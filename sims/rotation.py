"""Batched rotations: matrices (..., 3, 3), quaternions (..., 4) as w x y z, rotation vectors (..., 3) in rad."""

from __future__ import annotations

import torch
from torch import Tensor


def quat_to_matrix(q: Tensor) -> Tensor:
    """Unit quaternions to matrices."""
    w, x, y, z = q.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a b."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def exp_quat(v: Tensor) -> Tensor:
    """Rotation vector to quaternion."""
    angle = v.norm(dim=-1, keepdim=True)
    half = 0.5 * angle
    scale = torch.where(angle > 1e-6, torch.sin(half) / angle.clamp_min(1e-6), torch.full_like(angle, 0.5))
    return torch.cat([torch.cos(half), scale * v], -1)


def exp_matrix(v: Tensor) -> Tensor:
    """Rotation vector to matrix."""
    return quat_to_matrix(exp_quat(v))


def log_matrix(rotation: Tensor) -> Tensor:
    """Matrix to rotation vector, for angles below pi (axis from the antisymmetric part)."""
    axis = 0.5 * torch.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )
    sine = axis.norm(dim=-1, keepdim=True)
    cosine = 0.5 * (rotation[..., 0, 0] + rotation[..., 1, 1] + rotation[..., 2, 2] - 1.0)[..., None]
    # Half-angle formula: torch.atan2 rounds differently at the end of a batch, so worlds would depend on their number.
    angle = 2.0 * torch.atan(sine / (1.0 + cosine).clamp_min(1e-6))
    return axis * torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), torch.ones_like(sine))


def rotate(rotation: Tensor, v: Tensor) -> Tensor:
    """R v for rotation (N, 3, 3) and v (N, ..., 3), as sums per world so that no product mixes worlds."""
    middle = (1,) * (v.ndim - 2)
    return (rotation.reshape(len(rotation), *middle, 3, 3) * v[..., None, :]).sum(-1)


def rotate_back(rotation: Tensor, v: Tensor) -> Tensor:
    """R^T v, same shapes."""
    return rotate(rotation.transpose(-1, -2), v)
