"""What stands in a simulated environment, as meshes for a 3-D page, and where they are between two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import mujoco
import numpy as np
import trimesh
from mujoco import mjtGeom
from numpy.typing import NDArray
from trimesh import creation

from ...sims.robots.robot import HIDDEN_FROM_WRIST, RENDERED

Shown = Mapping[str, NDArray]
"""As `Engine.shown`: MuJoCo's poses and looks of one environment, by name."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""


def bodies(model: mujoco.MjModel, shown: Shown) -> Iterator[tuple[int, Colour, Any]]:
    """All that any camera sees as it stands now: geoms of one body and colour as one mesh (m), in the frame of the
    geom that is named with it."""
    groups: dict[tuple[int, Colour], list[int]] = {}
    for geom in np.flatnonzero(np.isin(model.geom_group, (RENDERED, HIDDEN_FROM_WRIST))).tolist():
        groups.setdefault((int(model.geom_bodyid[geom]), _colour(model, shown, geom)), []).append(geom)
    for (_, rgb), geoms in groups.items():
        home = np.linalg.inv(_frame(shown, geoms[0]))
        parts = [(_solid(model, shown, geom), home @ _frame(shown, geom)) for geom in geoms]
        if meshes := [mesh.apply_transform(frame) for mesh, frame in parts if mesh is not None]:
            yield geoms[0], rgb, trimesh.util.concatenate(meshes)


def _frame(shown: Shown, geom: int) -> NDArray:
    """(4, 4): geom to world."""
    place = np.c_[shown["geom_xmat"][geom].reshape(3, 3), shown["geom_xpos"][geom]]
    return np.r_[place, [[0, 0, 0, 1]]]


def _colour(model: mujoco.MjModel, shown: Shown, geom: int) -> Colour:
    """The geom's own, or that of its material where MuJoCo's default shows that it has none."""
    rgba, material = shown["geom_rgba"][geom], int(shown["geom_matid"][geom])
    rgba = model.mat_rgba[material] if material >= 0 and np.allclose(rgba, (0.5, 0.5, 0.5, 1)) else rgba
    red, green, blue = (np.clip(rgba[:3], 0, 1) * 255).astype(int).tolist()
    return red, green, blue


def _solid(model: mujoco.MjModel, shown: Shown, geom: int) -> trimesh.Trimesh | None:
    """The geom in its own frame; None for one without a surface of its own, such as a plane."""
    size, mesh = shown["geom_size"][geom].astype(float), int(shown.get("geom_dataid", model.geom_dataid)[geom])
    match model.geom_type[geom]:
        case mjtGeom.mjGEOM_BOX:
            return creation.box(extents=2 * size)
        case mjtGeom.mjGEOM_CYLINDER:
            return creation.cylinder(radius=size[0], height=2 * size[1])
        case mjtGeom.mjGEOM_CAPSULE:
            return creation.capsule(radius=size[0], height=2 * size[1], count=[16, 16])
        case mjtGeom.mjGEOM_SPHERE | mjtGeom.mjGEOM_ELLIPSOID:
            return creation.icosphere().apply_scale(np.where(size > 0, size, size[0]))
        case mjtGeom.mjGEOM_MESH if mesh >= 0:
            vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
            faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
            return trimesh.Trimesh(vertices, faces, process=False)


def poses(was: Shown, now: Shown, geoms: NDArray[np.int64], share: float) -> tuple[NDArray, NDArray]:
    """Where geoms are between two steps: places (G, 3) m and quaternions (G, 4) w x y z. share: 0 is `was`, 1 `now`."""
    before, after = np.empty((2, len(geoms), 4))
    for quats, one in ((before, was), (after, now)):
        for quat, rotation in zip(quats, one["geom_xmat"][geoms].astype(float), strict=True):
            mujoco.mju_mat2Quat(quat, rotation)
    after[(before * after).sum(1) < 0] *= -1
    quats = before + share * (after - before)
    places = was["geom_xpos"][geoms] * (1 - share) + now["geom_xpos"][geoms] * share
    return places, quats / np.linalg.norm(quats, axis=1, keepdims=True)
