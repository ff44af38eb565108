"""Objects of a set of meshes, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import mujoco
import numpy as np

from ...errors import HandsightError
from ...sims.engines.ray_caster import POSES, RayCaster, View
from ...sims.objects.object_set import ObjectSet
from ...sims.objects.solids import Solid
from ...sims.robots.robot import RENDERED
from ...sims.scene import look_at

TILE = 96
"""Side of each picture, pixels."""
FROM = np.array([0.65, -0.6, 0.47])
"""Direction from which an object is drawn."""


def portraits(objects: ObjectSet, names: Sequence[str]) -> np.ndarray:
    """(K, TILE, TILE, 3) uint8: these objects of a set of meshes, each on its own as it lies in its steadiest pose.
    Raises HandsightError: the set has no meshes."""
    if objects.meshes is None:
        raise HandsightError(f"object set {objects.name!r} is made of primitives: there are no meshes to draw")
    solids = {solid.name: solid for solid in objects.meshes.solids}
    return np.stack([_portrait(solids[name]) for name in names])


def _portrait(solid: Solid) -> np.ndarray:
    """(TILE, TILE, 3) uint8: one object, from above a corner and so far away that it fills the picture."""
    spec, eye = mujoco.MjSpec(), 4.2 * np.linalg.norm(solid.half) * FROM / np.linalg.norm(FROM)
    body = spec.worldbody.add_body(quat=solid.rests[0])
    for number, piece in enumerate(solid.pieces):
        name = spec.add_mesh(name=f"{number}", uservert=piece.ravel()).name
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, group=RENDERED, rgba=[0.45, 0.62, 0.8, 1])
    sun = {"type": mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, "diffuse": [0.7] * 3, "ambient": [0.1] * 3}
    spec.worldbody.add_light(dir=[-0.3, 0.5, -1.0], **sun)
    spec.worldbody.add_camera(name="view", fovy=30, pos=eye, quat=look_at(eye, np.zeros(3)))
    model = spec.compile()
    model.vis.map.zfar = 10 / model.stat.extent
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with closing(RayCaster(model, View(("view",), 2 * TILE, 2 * TILE, (RENDERED,), (1.0, 1.0, 1.0)), 1)) as caster:
        image = caster.render({name: getattr(data, name)[None] for name in POSES}, ("stereo",))["stereo"][0, 0]
    return image.unflatten(2, (TILE, 2)).unflatten(1, (TILE, 2)).float().mean((2, 4)).byte().permute(1, 2, 0).numpy()
