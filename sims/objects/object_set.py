"""`ObjectSet`: what can be grasped, as one frozen value: kinds by name, their slots in the model, shape and mass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ...errors import HandsightError, unknown
from ..env_config import KINDS, Split
from ..world_params import WorldParams
from .meshes import EMPTY, Meshes
from .solids import Solid

TINY = 0.001
"""m: size of a geom slot that a kind does not use; it hides inside the others."""


@dataclass(frozen=True)
class Slot:
    """A geom of the object in the model, whose size and place differ between environments."""

    name: str
    is_round: bool = False
    """A cylinder along z (radius, half height), or else a box (half sizes); unless the set is of meshes."""


@dataclass(frozen=True)
class ObjectSet:
    """Kinds of object that share one model: each is put together from the same slots."""

    name: str
    """What a signature calls it."""
    train: tuple[str, ...]
    """Kinds that are trained on."""
    held_out: tuple[str, ...]
    """Kinds that are never trained on."""
    slots: tuple[Slot, ...]
    """`G` geoms of the object's body."""
    shape: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    """(kind (N,) int64, radius (N,) m, half height (N,) m) -> sizes (N, G, 3) in MuJoCo's convention and places
    (N, G, 3) of the geoms, m, and half extents (N, 3) of the bounding box, m; object's frame, z up as it stands."""

    meshes: Meshes | None = None
    """Convex pieces that the slots take turns to show; None: the slots are boxes and cylinders, whose sizes differ."""

    @staticmethod
    def of_solids(name: str, solids: Sequence[Solid]) -> ObjectSet:
        """A set of solids, those for training first. Raises SolidError: none, or two of one name."""
        solids = sorted(solids, key=lambda solid: solid.held_out)
        meshes = Meshes(solids)

        def shape(kind: Tensor, radius: Tensor, half_height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """As `ObjectSet.shape`; radius and half height are the solids' own."""
            pieces = meshes.pieces(kind.device, radius.dtype)
            return pieces.size[kind], pieces.pos[kind], meshes.bodies(kind.device).half[kind].to(radius.dtype)

        return ObjectSet(
            name,
            train=tuple(solid.name for solid in solids if not solid.held_out),
            held_out=tuple(solid.name for solid in solids if solid.held_out),
            slots=tuple(Slot(f"object_piece_{number}") for number in range(meshes.slots)),
            shape=shape,
            meshes=meshes,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All kinds, in the order of their numbers."""
        return self.train + self.held_out

    def drawn(self, kinds: tuple[str, ...], split: Split) -> tuple[str, ...]:
        """The kinds that episodes draw: those that are named, or of a set other than `primitives`, where none but
        the default's are named, those of a split.

        Raises:
            HandsightError: there is no such kind, or the split has none.
        """
        if self.name != "primitives" and kinds == KINDS:
            kinds = {"train": self.train, "held_out": self.held_out, "all": self.names}[split]
            if not kinds:
                raise HandsightError(f"object set {self.name!r} has no objects of split {split!r}")
        for kind in kinds:
            if kind not in self.names:
                raise HandsightError(f"object set {self.name!r}: {unknown('kind of object', kind, self.names)}")
        if not kinds:
            raise HandsightError(f"no kinds of object; available: {', '.join(self.names)}")
        return kinds

    def add_to(self, spec: mujoco.MjSpec, body: mujoco.MjsBody, **geom: Any) -> None:
        """Add the slots to the object's body, and meshes to its model; `geom`: what all slots have in common."""
        if self.meshes is not None:
            self.meshes.add_to(spec)
            for slot in self.slots:
                body.add_geom(name=slot.name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=EMPTY, **geom)
            return
        for slot in self.slots:
            shape = mujoco.mjtGeom.mjGEOM_CYLINDER if slot.is_round else mujoco.mjtGeom.mjGEOM_BOX
            body.add_geom(name=slot.name, type=shape, size=[0.03, 0.03, 0.04], **geom)

    def weigh(
        self, kind: Tensor, mass: Tensor, middle: float, geom_size: Tensor, geom_pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mass (N,) kg, centre of mass (N, 3) m and moments (N, 3) kg m^2 about it, object's frame.

        Args:
            kind: (N,) int64.
            mass: (N,) kg, as drawn; a solid has a mass of its own, which is multiplied by mass / middle.
            middle: kg, of the range that masses are drawn from.
            geom_size: (N, G, 3) m, of `shape`.
            geom_pos: (N, G, 3) m, of `shape`.
        """
        if self.meshes is None:
            return mass, *self.mass_properties(mass, geom_size, geom_pos)
        bodies = self.meshes.bodies(kind.device)
        mass = bodies.mass[kind] * (mass / middle)
        return mass, bodies.com[kind], bodies.inertia[kind] * mass[:, None]

    def resting_height(self, params: WorldParams) -> Tensor:
        """(N,) m: how high an object's origin is above the table as it lies when the episode begins."""
        if self.meshes is None or params.rest is None:
            return params.size[:, 2]
        return self.meshes.bodies(params.kind.device).heights[params.kind, params.rest]

    def resting_turn(self, params: WorldParams) -> Tensor | None:
        """(N, 4) w x y z: how it is turned then, but for the yaw; None: it stands upright."""
        if self.meshes is None or params.rest is None:
            return None
        return self.meshes.bodies(params.kind.device).quats[params.kind, params.rest]

    def mass_properties(self, mass: Tensor, geom_size: Tensor, geom_pos: Tensor) -> tuple[Tensor, Tensor]:
        """Centre of mass and inertia, for uniform density over the summed volumes of the geoms.

        Every kind is symmetric about two of its own planes through the centre of mass, so its axes are principal axes.
        Parts that overlap (the cross) count twice where they do; boxes and cylinders: textbook moments, parallel axes.

        Args:
            mass: (N,) kg.
            geom_size: (N, G, 3) m, MuJoCo's convention.
            geom_pos: (N, G, 3) m, object's frame.

        Returns:
            Centre of mass (N, 3) m and moments (N, 3) kg m^2 about it, object's frame.
        """
        x, y, z = geom_size.unbind(-1)
        cylinder = torch.zeros_like(x, dtype=torch.bool)
        for column, slot in enumerate(self.slots):
            cylinder[:, column] = slot.is_round
        height = torch.where(cylinder, y, z)
        volume = torch.where(cylinder, 2 * math.pi * x * x * y, 8 * x * y * z)
        share = volume / volume.sum(1, keepdim=True) * mass[:, None]
        com = (share[..., None] * geom_pos).sum(1) / mass[:, None]
        box = torch.stack([y * y + z * z, x * x + z * z, x * x + y * y], -1) / 3
        side = x * x / 4 + height * height / 3
        own = torch.where(cylinder[..., None], torch.stack([side, side, x * x / 2], -1), box)
        offset = (geom_pos - com[:, None]) ** 2
        apart = offset.sum(-1, keepdim=True) - offset
        return com, (share[..., None] * (own + apart)).sum(1)

    def bounding_boxes(self, geom_size: np.ndarray) -> np.ndarray:
        """(N, G, 6) m: centre and half size of each box or cylinder (N, G, 3) in its own frame, as MuJoCo's
        `geom_aabb`; `Pieces` has those of meshes."""
        half = geom_size.copy()
        for column, slot in enumerate(self.slots):
            if slot.is_round:
                half[:, column] = geom_size[:, column][:, [0, 0, 1]]
        return np.concatenate([np.zeros_like(half), half], -1)

    def facts(self) -> dict[str, Any]:
        """All that the value decides, JSON-able: what a signature's digest is made of."""
        if self.meshes is not None:
            return {"train": self.train, "held_out": self.held_out, "solids": self.meshes.facts()}
        kinds = torch.arange(len(self.names))
        shapes = self.shape(kinds, torch.full_like(kinds, 0.03, dtype=torch.float), torch.full(kinds.shape, 0.04))
        slots = [[slot.name, slot.is_round] for slot in self.slots]
        sizes = [[round(value, 6) for value in part.flatten().tolist()] for part in shapes]
        return {"train": self.train, "held_out": self.held_out, "slots": slots, "shapes": sizes}
