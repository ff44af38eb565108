"""Our own ray caster for the CPU: analytic rays against the few geoms of a scene, eight pixels at once.

`mujoco_warp` walks a tree and branches for each ray, which a GPU hides and a CPU does not. Here each geom is cast
within its rectangle on the image, along the rows, in C++ that Warp compiles once and caches (ray_caster.h).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco import mjtGeom
from torch import Tensor

from ..objects.solids import MAX_PLANES, moments, planes
from .quiet_warp import warp as wp

POSES = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xdir")
"""What moves from step to step, of `mujoco.MjData`."""
LOOKS = {
    "geom_size": np.float32, "geom_rgba": np.float32, "geom_matid": np.int32, "geom_dataid": np.int32,
    "light_diffuse": np.float32,
}  # fmt: skip
"""Model fields that differ between worlds, as the caster holds them."""
LANES, MAX_GEOMS, MAX_LIGHTS = 8, 256, 8
"""As in ray_caster.h."""
NO_LIGHT = 0.3
"""Ambient light of a scene that has no light at all, as in mujoco_warp."""
RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
SHAPES = {
    mjtGeom.mjGEOM_PLANE, mjtGeom.mjGEOM_SPHERE, mjtGeom.mjGEOM_CAPSULE, mjtGeom.mjGEOM_ELLIPSOID,
    mjtGeom.mjGEOM_CYLINDER, mjtGeom.mjGEOM_BOX, mjtGeom.mjGEOM_MESH,
}  # fmt: skip


@wp.struct
class CastScene:
    """What the model decides, and the looks of every world."""

    width: int
    height: int
    geoms: int
    lights: int
    cameras: int
    object_first: int
    object_last: int
    background: int
    smooth: int
    farthest: float
    ambient: wp.vec3
    headlight: wp.vec3
    eyes: wp.array[int]
    tan_y: wp.array[float]
    shown: wp.array[int]
    geom_type: wp.array[int]
    mesh_aabb: wp.array[float]
    mat_rgba: wp.array[float]
    mat_texture: wp.array[int]
    mat_texrepeat: wp.array[float]
    mat_texuniform: wp.array[int]
    tex_start: wp.array[int]
    tex_width: wp.array[int]
    tex_height: wp.array[int]
    texels: wp.array[wp.uint8]
    planes: wp.array[float]
    hull_start: wp.array[int]
    geom_size: wp.array[float]
    geom_rgba: wp.array[float]
    geom_matid: wp.array[int]
    geom_dataid: wp.array[int]
    light_diffuse: wp.array[float]


@wp.struct
class Shot:
    """Where the geoms are, room to work in, and the images of one rendering."""

    geom_xpos: wp.array[wp.float64]
    geom_xmat: wp.array[wp.float64]
    cam_xpos: wp.array[wp.float64]
    cam_xmat: wp.array[wp.float64]
    light_xdir: wp.array[wp.float64]
    lengths: wp.array[float]
    numbers: wp.array[int]
    object_pixels: wp.array[wp.int64]
    object_mask: wp.array[wp.bool]
    depth: wp.array[float]
    stereo: wp.array[wp.uint8]
    eyes: int


@wp.func_native((pkgutil.get_data(__name__, "ray_caster.h") or b"").decode())
def _cast(scene: CastScene, shot: Shot, thread: int, first: int, index: int): ...  # pyright: ignore[reportGeneralTypeIssues]


@wp.kernel(enable_backward=False, module="unique")
def _cast_worlds(scene: CastScene, shot: Shot, thread: int, first: int):  # pyright: ignore[reportGeneralTypeIssues]
    _cast(scene, shot, thread, first, wp.tid())


@dataclass(frozen=True)
class View:
    """What is looked at, from where."""

    cameras: tuple[str, ...]
    """Names of the cameras; depth and the object's mask are those of the first."""
    height: int
    """Height of an image, pixels."""
    width: int
    """Width of an image, pixels."""
    geom_groups: tuple[int, ...]
    """Geom groups that are seen."""
    sky: tuple[float, ...]
    """Colour of a pixel that shows nothing, RGB 0..1."""
    object_geoms: tuple[int, int] = (-1, -1)
    """First and last of the consecutive geoms that make the object's mask."""
    film: bool = False
    """For people: textures are smooth, and shadows, highlights and glow belong to the picture if the model has any."""


def cannot_cast(model: mujoco.MjModel, view: View) -> str | None:
    """What of the scene the ray caster cannot show as `mujoco_warp` does, or None: then the images are the same.

    Args:
        model: the compiled scene.
        view: its cameras and the groups of geoms that they see.
    """
    shown = np.flatnonzero(np.isin(model.geom_group, view.geom_groups))
    meshes = shown[model.geom_type[shown] == mjtGeom.mjGEOM_MESH]
    if not all(len(mesh_planes(model, mesh)) for mesh in np.unique(model.geom_dataid[meshes])):
        return f"meshes that are not convex or have more than {MAX_PLANES} faces"
    types = {mjtGeom(kind) for kind in model.geom_type[shown]} - SHAPES
    if types:
        return f"geoms of type {', '.join(sorted(kind.name.removeprefix('mjGEOM_').lower() for kind in types))}"
    if (model.light_type != mujoco.mjtLightType.mjLIGHT_DIRECTIONAL).any():
        return "lights that are not directional"
    effects = (model.light_castshadow, model.light_specular, model.vis.headlight.specular, model.mat_emission)
    if view.film and any(np.any(values) for values in effects):
        return "shadows, highlights or glowing materials"
    if model.nflex:
        return "flexible bodies"
    if len(shown) > MAX_GEOMS or model.nlight > MAX_LIGHTS:
        return f"more than {MAX_GEOMS} geoms or {MAX_LIGHTS} lights"
    cameras = [model.camera(name).id for name in view.cameras]
    if model.cam_sensorsize[cameras].any() or model.cam_projection[cameras].any():
        return "cameras with a sensor size or without perspective"
    textured = [geom for geom in shown if model.geom_matid[geom] >= 0]
    painted = [geom for geom in textured if model.mat_texid[model.geom_matid[geom], RGB] >= 0]
    if any(model.geom_type[geom] != mjtGeom.mjGEOM_BOX for geom in painted):
        return "textures on geoms that are not boxes"
    if painted and ((model.tex_nchannel != 3) | (model.tex_adr < 0)).any():
        return "textures that are no RGB images in the model"
    return None


class RayCaster:
    """Depth, the object's mask and colours of N worlds from the same cameras, on the CPU."""

    def __init__(self, model: mujoco.MjModel, view: View, num_worlds: int, threads: int = 1) -> None:
        """Worlds are split among threads.

        Args:
            model: a scene of which `cannot_cast` says None.
            view: cameras, size of the images, what is seen.
            num_worlds: N.
            threads: how many worlds are cast at the same time, at most.
        """
        self._view, self._num_worlds = view, num_worlds
        self._edges = list(pairwise(np.linspace(0, num_worlds, min(threads, num_worlds) + 1).astype(int).tolist()))
        self._looks = {
            name: np.repeat(getattr(model, name)[None], num_worlds, 0).astype(dtype) for name, dtype in LOOKS.items()
        }
        self._scene = _scene(model, view, self._looks)
        self._light_on = model.light_active[:, None].astype(bool)
        self.set_looks(np.arange(num_worlds), {"light_diffuse": self._looks["light_diffuse"]})
        stride, count = -(-view.width // LANES) * LANES, len(self._edges)
        self._lengths = _flat(np.empty(count * stride * (view.height + 1), np.float32))
        self._numbers = _flat(np.empty(count * stride * view.height * 2, np.int32))
        wp.load_module(_cast_worlds.module, device="cpu")
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="handsight-render")

    def set_looks(self, ids: np.ndarray, looks: Mapping[str, np.ndarray]) -> None:
        """Write what of `LOOKS` is given for some worlds. looks[name] (len(ids), ...) in MuJoCo's layout."""
        for name, array in self._looks.items():
            if name in looks:
                array[ids] = looks[name].reshape(len(ids), *array.shape[1:])
        if "light_diffuse" in looks:
            self._looks["light_diffuse"][ids] *= self._light_on

    def render(self, poses: Mapping[str, np.ndarray], groups: Collection[str]) -> dict[str, Tensor]:
        """Images of all worlds.

        Args:
            poses: all of `POSES`, (N, ...) float64, world frame.
            groups: "depth" and / or "stereo".

        Returns:
            `object_pixels` (N, cameras) int64, of the first camera alone without `stereo`, and its `object_mask`
            (N, H, W) bool; if asked for, `depth` (N, 1, H, W) float32, m along the optical axis, 0 where nothing is
            hit, and `stereo` (N, cameras, 3, H, W) uint8.
        """
        view = self._view
        images = empty_images(self._num_worlds, len(view.cameras), view.height, view.width, groups)
        shot, scratch = Shot(), {"lengths": self._lengths, "numbers": self._numbers}
        for name, values in {**{name: _flat(poses[name], np.float64) for name in POSES}, **scratch}.items():
            setattr(shot, name, values)
        for name, image in images.items():
            setattr(shot, name, _flat(image.numpy()))
        shot.eyes = images["object_pixels"].shape[1]

        def cast(thread: int) -> None:
            first, last = self._edges[thread]
            wp.launch(_cast_worlds, dim=last - first, inputs=[self._scene, shot, thread, first], device="cpu")

        list(self._pool.map(cast, range(len(self._edges))))
        return images

    def close(self) -> None:
        """Stop the threads that cast rays."""
        self._pool.shutdown(wait=True)


def empty_images(num_worlds: int, cameras: int, height: int, width: int, groups: Collection[str]) -> dict[str, Tensor]:
    """Room for what `RayCaster.render` returns."""
    images = {
        "object_pixels": torch.empty(num_worlds, cameras if "stereo" in groups else 1, dtype=torch.int64),
        "object_mask": torch.empty(num_worlds, height, width, dtype=torch.bool),
    }
    if "depth" in groups:
        images["depth"] = torch.empty(num_worlds, 1, height, width)
    if "stereo" in groups:
        images["stereo"] = torch.empty(num_worlds, cameras, 3, height, width, dtype=torch.uint8)
    return images


def _flat(values: np.ndarray, dtype: Any = None) -> wp.array:
    """A Warp array of the same memory."""
    return wp.array(np.ascontiguousarray(values, dtype).reshape(-1), device="cpu", copy=False)


def mesh_planes(model: mujoco.MjModel, mesh: int) -> np.ndarray:
    """(P, 4): outward normals and distances from the origin, m, of a convex mesh's faces in its own frame; none of one
    that cannot be cast: it is not convex, or has more than `MAX_PLANES` faces."""
    points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(np.float64)
    faces = points[model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]]
    found = planes(points)
    full = np.linalg.det(faces).sum() / 6 > 0.999 * moments([points])[0]
    return found if full and len(found) <= MAX_PLANES else np.zeros((0, 4))


def _boxes(model: mujoco.MjModel) -> np.ndarray:
    """(M, 6) m: centre and half size of the bounding box of each mesh, in its frame."""
    found = np.zeros((model.nmesh, 6))
    for mesh, box in enumerate(found):
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        box[:3], box[3:] = (points.max(0) + points.min(0)) / 2, np.ptp(points, axis=0) / 2
    return found


def _scene(model: mujoco.MjModel, view: View, looks: dict[str, np.ndarray]) -> Any:
    """The model as the C++ reads it."""
    scene, head = CastScene(), model.vis.headlight
    scene.width, scene.height = view.width, view.height
    scene.geoms, scene.lights, scene.cameras = model.ngeom, model.nlight, model.ncam
    scene.object_first, scene.object_last = view.object_geoms
    scene.background = sum(int(channel * 255) << 8 * place for place, channel in enumerate(view.sky[:3]))
    scene.smooth = view.film
    scene.farthest = model.vis.map.zfar * model.stat.extent
    ambient = head.ambient if head.active else np.full(3, 0.0 if model.nlight else NO_LIGHT)
    scene.ambient = wp.vec3(*(ambient + model.light_ambient[model.light_active.astype(bool)].sum(0)))
    scene.headlight = wp.vec3(*(head.diffuse * bool(head.active)))
    cameras = [model.camera(name).id for name in view.cameras]
    hulls = [mesh_planes(model, mesh) for mesh in range(model.nmesh)]
    arrays = {
        "eyes": cameras, "tan_y": np.tan(np.radians(model.cam_fovy[cameras]) / 2), "geom_type": model.geom_type,
        "shown": np.flatnonzero(np.isin(model.geom_group, view.geom_groups)), "mesh_aabb": _boxes(model),
        "mat_rgba": model.mat_rgba, "mat_texture": model.mat_texid[:, RGB], "mat_texrepeat": model.mat_texrepeat,
        "mat_texuniform": model.mat_texuniform, "tex_start": model.tex_adr, "tex_width": model.tex_width,
        "tex_height": model.tex_height, "texels": model.tex_data, "planes": np.concatenate([np.zeros((1, 4)), *hulls]),
        "hull_start": np.cumsum([1, *map(len, hulls)]), **looks,
    }  # fmt: skip
    for name, values in arrays.items():
        kind = CastScene.vars[name].type.dtype
        setattr(scene, name, _flat(np.asarray(values), wp.dtype_to_numpy(kind)))
    return scene
