"""Batched rotations: matrices (..., 3, 3), quaternions (..., 4) as w x y z, rotation vectors (..., 3) in rad.

In few operations over all entries at once: with some hundred environments an operation costs more than its numbers.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def _squares(dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """For each entry of a matrix: which two of the 16 products of a quaternion's entries it is made of, the second's
    sign, and start and factor of 1 - 2 (a + b) on the diagonal, of 2 (a + b) beside it. Kept, as a GPU would be waited
    for."""
    pick = torch.tensor([10, 6, 7, 6, 5, 11, 7, 11, 5, 15, 3, 2, 3, 15, 1, 2, 1, 10], device=device)
    sign = [1, -1, 1, 1, 1, -1, -1, 1, 1]
    start, factor = [1, -0.0, -0.0, -0.0] * 2 + [1], [-2, 2, 2, 2] * 2 + [-2]  # -0 + x is x, 0 included
    return [pick, *(torch.tensor(row, dtype=dtype, device=device) for row in (sign, start, factor))]


@cache
def _hamilton(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which of the 16 products of two quaternions' entries are the four terms, one a row, of w, x, y and z; signs."""
    pick = [4 * row + (row ^ column) for row in range(4) for column in range(4)]
    sign = [[1, 1, 1, 1], [-1, 1, -1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1]]
    return torch.tensor(pick, device=device), torch.tensor(sign, dtype=dtype, device=device)


@cache
def _corners(device: torch.device) -> tuple[Tensor, Tensor]:
    """Where a matrix's entries stand off the diagonal, in the order of its axis (three to add, three to take away), and
    on it."""
    return torch.tensor([7, 2, 3, 5, 6, 1], device=device), torch.tensor([0, 4, 8], device=device)


def _products(a: Tensor, b: Tensor) -> Tensor:
    """(..., 16): every entry of a by every entry of b."""
    return (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2)


def quat_to_matrix(q: Tensor) -> Tensor:
    """Unit quaternions to matrices."""
    pick, sign, start, factor = _squares(q.dtype, q.device)
    a, b = _products(q, q).index_select(-1, pick).chunk(2, -1)
    return (start + factor * (a + sign * b)).unflatten(-1, (3, 3))


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a b."""
    pick, sign = _hamilton(a.dtype, a.device)
    terms = _products(a, b).index_select(-1, pick).unflatten(-1, (4, 4)) * sign
    first, second, third, fourth = terms.unbind(-2)
    return first + second + third + fourth


def exp_quat(v: Tensor) -> Tensor:
    """Rotation vector to quaternion."""
    angle = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    half = 0.5 * angle
    scale = torch.where(angle > 1e-6, torch.sin(half) / angle.clamp_min(1e-6), 0.5)
    return torch.cat([torch.cos(half), scale * v], -1)


def exp_matrix(v: Tensor) -> Tensor:
    """Rotation vector to matrix."""
    return quat_to_matrix(exp_quat(v))


def log_matrix(rotation: Tensor) -> Tensor:
    """Matrix to rotation vector, for angles below pi (axis from the antisymmetric part)."""
    off, diagonal = _corners(rotation.device)
    entries = rotation.flatten(-2)
    plus, minus = entries.index_select(-1, off).chunk(2, -1)
    axis = 0.5 * (plus - minus)
    sine = torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    x, y, z = entries.index_select(-1, diagonal).split(1, -1)
    cosine = 0.5 * (x + y + z - 1.0)
    # Half-angle formula: torch.atan2 rounds differently at the end of a batch, so worlds would depend on their number.
    angle = 2.0 * torch.atan(sine / (1.0 + cosine).clamp_min(1e-6))
    return axis * torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), 1.0)


def times(a: Tensor, b: Tensor) -> Tensor:
    """a b of matrices (N, I, K) and (N, K, J), I K J < 400: as sums per world in a fixed order, whatever their number.
    That is what torch does with so small ones on a CPU; a GPU's library may mix worlds."""
    return torch.bmm(a, b) if a.device.type == "cpu" else (a[..., None] * b[:, None]).sum(2)


def rotate(rotation: Tensor, v: Tensor) -> Tensor:
    """R v for rotation (N, 3, 3) and v (3,), (N, 3) or (N, K, 3), as sums per world so that no product mixes worlds."""
    if v.ndim < 3:
        return times(rotation, v.expand(len(rotation), 3).unsqueeze(-1)).squeeze(-1)
    return times(v, rotation.transpose(1, 2))


def rotate_back(rotation: Tensor, v: Tensor) -> Tensor:
    """R^T v, same shapes."""
    return rotate(rotation.transpose(-1, -2), v)
