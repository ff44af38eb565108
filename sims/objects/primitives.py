"""`PRIMITIVES`: kinds of object put together from two boxes and a cylinder."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..env_config import KINDS
from .object_set import TINY, ObjectSet, Slot


def build_objects(kind: Tensor, radius: Tensor, half_height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes and places of the geoms (box, box, cylinder) of each environment's object.

    Args:
        kind: (N,) int64, index into `KINDS`.
        radius: (N,) half width, m.
        half_height: (N,) m.

    Returns:
        geom_size (N, 3, 3) and geom_pos (N, 3, 3) in the object's frame (origin at the middle of its height, z up when
        it stands), and size (N, 3): half extents of the bounding box.
    """
    size, pos, extent = (table[kind] for table in _shapes(kind.device))
    size, pos, extent = (_measure(table, radius, half_height) for table in (size, pos, extent))
    return size, pos, extent


def _measure(table: Tensor, radius: Tensor, half_height: Tensor) -> Tensor:
    """Lengths (N, ..., 3) m from their shares (N, ..., 3, 3) of radius, half height and one metre."""
    each = (-1,) + (1,) * (table.ndim - 2)
    return table[..., 0] * radius.reshape(each) + table[..., 1] * half_height.reshape(each) + table[..., 2]


@cache
def _shapes(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For every kind the shares of size (K, 3, 3, 3), position (K, 3, 3, 3) and extent (K, 3, 3)."""
    radius, half_height, metre = torch.eye(3, device=device)
    options = [_shape(name, radius, half_height, metre) for name in KINDS]
    size, pos, extent = (torch.stack([option[i] for option in options]) for i in range(3))
    return size, pos, extent


def _shape(name: str, r: Tensor, h: Tensor, metre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """size (3, 3, 3), position (3, 3, 3) and extent (3, 3) of one kind, the last axis as in the three units given."""
    zero, tiny = 0 * metre, TINY * metre
    hidden, origin = (tiny, tiny, tiny), (zero, zero, zero)
    match name:
        case "box":
            parts = ((r, 0.8 * r, h), origin), (hidden, origin), (hidden, origin)
            extent = (r, 0.8 * r, h)
        case "cylinder":
            parts = (hidden, origin), (hidden, origin), ((r, h, zero), origin)
            extent = (r, r, h)
        case "cross":
            parts = ((r, 0.45 * r, h), origin), ((0.45 * r, r, h), origin), (hidden, origin)
            extent = (r, r, h)
        case "tee":
            bar, stem = (zero, 0.55 * r, zero), (zero, -0.4 * r, zero)
            parts = ((r, 0.4 * r, h), bar), ((0.4 * r, 0.6 * r, h), stem), (hidden, origin)
            extent = (r, r, h)
        case _:  # mug: a cylinder with a handle on its side
            handle = (1.05 * r, zero, zero)
            parts = ((0.35 * r, 0.22 * r, 0.6 * h), handle), (hidden, origin), ((0.8 * r, h, zero), origin)
            extent = (1.4 * r, 0.8 * r, h)
    size, pos = (torch.stack([torch.stack(part[i]) for part in parts]) for i in range(2))
    return size, pos, torch.stack(extent)


PRIMITIVES = ObjectSet(
    name="primitives",
    train=KINDS,
    held_out=(),
    slots=(Slot("object_box_a"), Slot("object_box_b"), Slot("object_cylinder", is_round=True)),
    shape=build_objects,
)
"""The first set of the house: five kinds, all of them for training."""
