"""`Meshes`: solids of convex pieces as one model holds them all, and what each environment's geoms are told of its own.

MuJoCo turns and moves every mesh into a frame of its own when it compiles it. That frame is looked up in a small model
of the meshes alone, so that a geom can be given any of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import mujoco
import numpy as np
import torch
from torch import Tensor

from .solids import Solid, SolidError, directions, support

EMPTY, EMPTY_SIZE = "object_empty", 0.001
"""Name and size (m) of the mesh of a slot that a solid does not need; it hides inside the solid's first piece."""


@dataclass(frozen=True)
class Pieces:
    """What the G geoms of each of K solids are, in MuJoCo's layout."""

    dataid: Tensor
    """(K, G) int32: mesh of each geom, counted from the first one of the set."""
    pos: Tensor
    """(K, G, 3) m, object's frame."""
    quat: Tensor
    """(K, G, 4) w x y z, object's frame."""
    size: Tensor
    """(K, G, 3) m: as MuJoCo compiles it."""
    aabb: Tensor
    """(K, G, 6) m: centre and half size of the bounding box, geom's frame."""
    rbound: Tensor
    """(K, G) m: radius of the ball about the geom's origin that holds it."""


@dataclass(frozen=True)
class Bodies:
    """What is drawn, observed and rewarded of each of K solids."""

    mass: Tensor
    """(K,) kg, before an episode's draw."""
    com: Tensor
    """(K, 3) m, object's frame."""
    inertia: Tensor
    """(K, 3) m^2: moments of one kilogram about the centre of mass."""
    half: Tensor
    """(K, 3) m: half extents of the bounding box."""
    support: Tensor
    """(K, D) m: how far it reaches along the `directions`, object's frame."""
    rests: Tensor
    """(K,) how many resting poses it has."""
    quats: Tensor
    """(K, R, 4) w x y z: how it lies in each; what is beyond `rests` means nothing."""
    heights: Tensor
    """(K, R) m: how high its origin is in each."""


class Meshes:
    """The pieces of K solids, each of which has at most G."""

    def __init__(self, solids: Sequence[Solid]) -> None:
        """solids: K of them, in the order of their kinds. Raises SolidError: none, or two of one name."""
        names = [solid.name for solid in solids]
        if not solids or len({*names}) < len(names):
            raise SolidError(f"expected objects with different names, found {names}")
        self.solids = tuple(solids)
        self.slots = max(len(solid.pieces) for solid in self.solids)
        """G: how many pieces the solid with most has."""

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add all meshes to a model, one after the other; the one of empty slots is the last."""
        for kind, solid in enumerate(self.solids):
            for number, piece in enumerate(solid.pieces):
                spec.add_mesh(name=f"object_{kind}_{number}", uservert=piece.ravel())
        spec.add_mesh(name=EMPTY, uservert=[0, 0, 0, *(EMPTY_SIZE * np.eye(3)).ravel()])

    @staticmethod
    def first(model: mujoco.MjModel) -> int:
        """Where in a model that they were added to the meshes begin."""
        return model.mesh("object_0_0").id

    @cached_property
    def _alone(self) -> mujoco.MjModel:
        spec = mujoco.MjSpec()
        self.add_to(spec)
        return spec.compile()

    @lru_cache  # noqa: B019  (sets live as long as the process)
    def pieces(self, device: torch.device, dtype: torch.dtype) -> Pieces:
        """What the geoms are, for an engine of this device and dtype."""
        model, empty = self._alone, self._alone.nmesh - 1
        dataid, count = np.full((len(self.solids), self.slots), empty), 0
        for kind, solid in enumerate(self.solids):
            dataid[kind, : len(solid.pieces)] = count + np.arange(len(solid.pieces))
            count += len(solid.pieces)
        inside = np.array([solid.pieces[0].mean(0) for solid in self.solids])[:, None]
        pos = np.where(dataid[..., None] == empty, inside, model.mesh_pos[dataid])
        boxes, rbound = np.empty((model.nmesh, 6)), np.empty(model.nmesh)
        for mesh in range(model.nmesh):
            begin = model.mesh_vertadr[mesh]
            points = model.mesh_vert[begin : begin + model.mesh_vertnum[mesh]].astype(np.float64)
            low, high = points.min(0), points.max(0)
            boxes[mesh], rbound[mesh] = [*(low + high) / 2, *(high - low) / 2], np.linalg.norm(points, axis=1).max()
        tensor = lambda values: torch.as_tensor(values, dtype=dtype, device=device)  # noqa: E731
        aabb = boxes[dataid]
        return Pieces(
            torch.as_tensor(dataid, dtype=torch.int32, device=device), tensor(pos), tensor(model.mesh_quat[dataid]),
            tensor(np.abs(aabb[..., :3]) + aabb[..., 3:]), tensor(aabb), tensor(rbound[dataid]),
        )  # fmt: skip

    @lru_cache  # noqa: B019
    def bodies(self, device: torch.device) -> Bodies:
        """What the solids are, on a device."""
        most = max(len(solid.rests) for solid in self.solids)
        fill = lambda rows: np.concatenate([rows, rows[:1].repeat(most - len(rows), 0)])  # noqa: E731
        ways = directions()
        columns = {
            "mass": [s.mass for s in self.solids], "com": [s.com for s in self.solids],
            "inertia": [s.inertia for s in self.solids], "half": [s.half for s in self.solids],
            "support": [support(np.concatenate(s.pieces), ways) for s in self.solids],
            "rests": [len(s.rests) for s in self.solids], "quats": [fill(s.rests) for s in self.solids],
            "heights": [fill(s.heights) for s in self.solids],
        }  # fmt: skip
        return Bodies(
            **{
                name: torch.as_tensor(np.array(values), dtype=torch.float32, device=device)
                for name, values in columns.items()
            }
        )

    def rest(self, kind: Tensor, unit: Tensor) -> Tensor:
        """(N,) int64: one of the resting poses of solids `kind` (N,), drawn by unit (N,) in [0, 1)."""
        return (unit * self.bodies(kind.device).rests[kind]).long()

    def facts(self) -> dict[str, str]:
        """A digest of each solid by name: mass, and vertices to a hundredth of a millimetre."""
        places = lambda one: b"".join(np.round(piece * 1e5).astype("<i8").tobytes() for piece in one.pieces)  # noqa: E731
        whole = {one.name: f"{one.mass:.5f}".encode() + places(one) for one in self.solids}
        return {name: hashlib.sha256(content).hexdigest()[:12] for name, content in whole.items()}
