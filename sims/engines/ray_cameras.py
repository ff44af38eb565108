"""Ray-traced batch cameras (mujoco_warp) for physics that runs elsewhere: poses are copied in, images come out.

On a CPU, Warp runs a kernel on one core; so the worlds are split into shards, each with its own render context, and the
shards are rendered by a pool of threads (the kernels release Python's lock).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from torch import Tensor

from ..cameras import EYES, CameraRig
from ..robots.robot import HIDDEN_FROM_WRIST, RENDERED
from ..scene import SceneIds
from .ray_caster import RayCaster, View, cannot_cast, empty_images

wp.config.log_level = wp.LOG_ERROR  # no banner, no word about a missing GPU: these cameras run on the CPU
POSES = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xdir")
LOOKS = ("geom_size", "geom_rgba", "geom_matid", "light_diffuse")
"""Model fields that differ between worlds."""
SKY = (0.55, 0.62, 0.7, 1.0)


@dataclass
class _Shard:
    """A consecutive piece of the worlds with its render context."""

    worlds: slice
    model: mjw.Model
    data: mjw.Data
    context: mjw.RenderContext
    images: RenderedImages


class RayCameras:
    """Renders the stereo pair of N worlds on the CPU."""

    def __init__(
        self,
        model: mujoco.MjModel,
        ids: SceneIds,
        rig: CameraRig,
        num_worlds: int,
        groups: Collection[str],
        threads: int,
    ) -> None:
        """groups: those that will be asked for, "depth" and / or "stereo"; threads: at most one shard each."""
        self._rig, self._ids, self._num_worlds = rig, ids, num_worlds
        self._groups, self._stereo = groups, "stereo" in groups
        wp.init()
        edges = np.linspace(0, num_worlds, min(threads, num_worlds) + 1).astype(int)
        self._shards = [self._shard(model, slice(int(a), int(b))) for a, b in pairwise(edges)]
        self._compile()
        self._pool = ThreadPoolExecutor(len(self._shards), thread_name_prefix="handsight-render")

    def _shard(self, model: mujoco.MjModel, worlds: slice) -> _Shard:
        count, rig = worlds.stop - worlds.start, self._rig
        with wp.ScopedDevice("cpu"):
            looks = mjw.put_model(model, batch_sizes=dict.fromkeys(LOOKS, count))
            data = mjw.make_data(model, nworld=count, nconmax=1, njmax=1)
            context = camera_context(model, rig, count, self._stereo)
        return _Shard(worlds, looks, data, context, RenderedImages(context, rig, self._ids, self._groups))

    def _compile(self) -> None:
        """Render once with one shard, so that the threads find the kernels compiled."""
        shard = self._shards[0]
        with wp.ScopedDevice("cpu"):
            mjw.refit_bvh(shard.model, shard.data, shard.context)
            mjw.render(shard.model, shard.data, shard.context)

    def set_looks(self, ids: np.ndarray, looks: dict[str, np.ndarray]) -> None:
        """Write the fields of `LOOKS` of some worlds. looks[name] (len(ids), ...) in MuJoCo's layout."""
        for shard in self._shards:
            here = (ids >= shard.worlds.start) & (ids < shard.worlds.stop)
            if not here.any():
                continue
            for name, values in looks.items():
                array = getattr(shard.model, name).numpy()
                array[ids[here] - shard.worlds.start] = values[here].reshape(-1, *array.shape[1:])

    def render(self, poses: dict[str, np.ndarray], groups: Collection[str]) -> dict[str, Tensor]:
        """Images as `Engine.render` promises. poses[name] (N, ...) for every name in `POSES`, float64."""
        images = empty_images(self._num_worlds, len(EYES), self._rig.height, self._rig.width, groups)
        list(self._pool.map(lambda shard: self._render_shard(shard, poses, images), self._shards))
        return images

    def _render_shard(self, shard: _Shard, poses: dict[str, np.ndarray], images: dict[str, Tensor]) -> None:
        for name, values in poses.items():
            array = getattr(shard.data, name).numpy()
            array[:] = values[shard.worlds].reshape(array.shape)
        with wp.ScopedDevice("cpu"):
            mjw.refit_bvh(shard.model, shard.data, shard.context)
            mjw.render(shard.model, shard.data, shard.context)
        for name, rendered in shard.images.read(images).items():
            images[name][shard.worlds] = rendered

    def close(self) -> None:
        """Stop the threads that render."""
        self._pool.shutdown(wait=True)


def seen_by(rig: CameraRig, ids: SceneIds) -> View:
    """What the stereo pair sees of the scene: a pair at the wrist not what is hidden from it."""
    return View(
        EYES, rig.height, rig.width, (RENDERED,) if rig.mount == "palm" else (RENDERED, HIDDEN_FROM_WRIST), SKY,
        object_geoms=(ids.object_geoms[0], ids.object_geoms[-1]),
    )  # fmt: skip


def batch_cameras(
    model: mujoco.MjModel, ids: SceneIds, rig: CameraRig, num_worlds: int, groups: Collection[str], threads: int
) -> RayCaster | RayCameras:
    """The fastest that can show this scene: our own ray caster, or else mujoco_warp's renderer and a word why."""
    view = seen_by(rig, ids)
    reason = cannot_cast(model, view)
    if reason is None:
        return RayCaster(model, view, num_worlds, threads)
    warnings.warn(f"{reason}: mujoco_warp renders the cameras, which takes some twenty times as long", stacklevel=2)
    return RayCameras(model, ids, rig, num_worlds, groups, threads)


def camera_context(model: mujoco.MjModel, rig: CameraRig, num_worlds: int, stereo: bool) -> mjw.RenderContext:
    """What renders the left eye's depth and segmentation, and the pair in colour if `stereo`, on Warp's current
    device."""
    context = mjw.create_render_context(
        model, nworld=num_worlds, cam_res=(rig.width, rig.height), cam_active=list(EYES if stereo else EYES[:1]),
        render_rgb=stereo, render_depth=[True] + [False] * stereo, render_seg=[True] + [False] * stereo,
        enabled_geom_groups=[RENDERED] if rig.mount == "palm" else [RENDERED, HIDDEN_FROM_WRIST],
        use_textures=stereo, use_shadows=False, enable_specular=False, enable_emission=False, background_color=SKY,
    )  # fmt: skip
    if stereo:
        _sample_nearest(context, model)
    return context


class RenderedImages:
    """What a context rendered last, as tensors in its own memory."""

    def __init__(self, context: mjw.RenderContext, rig: CameraRig, ids: SceneIds, groups: Collection[str]) -> None:
        """context: from `camera_context`; groups: those that it renders."""
        seg, shape = wp.to_torch(context.seg_data), (rig.height, rig.width)
        self._shape = shape
        n = seg.shape[0]
        self._geoms, self._object = seg.reshape(n, -1, 2)[..., 0], (ids.object_geoms[0], ids.object_geoms[-1])
        self._depth = wp.to_torch(context.depth_data).reshape(n, 1, *shape)
        if "stereo" in groups:
            self._packed = wp.to_torch(context.rgb_data).view(torch.uint8).reshape(n, len(EYES), *shape, 4)

    def read(self, groups: Collection[str]) -> dict[str, Tensor]:
        """As `Engine.render` promises. Depth is a view: the next rendering overwrites it."""
        first, last = self._object
        mask = (self._geoms >= first) & (self._geoms <= last)
        images = {"object_pixels": mask.sum(1), "object_mask": mask.reshape(-1, *self._shape)}
        if "depth" in groups:
            images["depth"] = self._depth
        if "stereo" in groups:
            images["stereo"] = torch.stack([self._packed[..., channel] for channel in (2, 1, 0)], dim=2)
        return images


def _sample_nearest(context: mjw.RenderContext, model: mujoco.MjModel) -> None:
    """Look textures up without interpolation: a fifth of the time of an RGB image on a CPU, and no visible loss at the
    resolution of these images."""
    pixels = (model.tex_data[adr : adr + h * w * 3].reshape(h, w, 3) for adr, h, w in zip(
        model.tex_adr, model.tex_height, model.tex_width, strict=True))  # fmt: skip
    context.textures_registry = [
        wp.Texture2D(np.dstack([rgb, np.full_like(rgb[..., :1], 255)]).astype(np.float32) / 255,
                     filter_mode=wp.TextureFilterMode.CLOSEST) for rgb in pixels
    ]  # fmt: skip
    context.textures = wp.array(context.textures_registry, dtype=wp.Texture2D)


class OverviewCamera:
    """The scene's `overview` camera: one world from the outside, four samples a pixel, with the shadows that its lights
    cast. No OpenGL needed."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        wp.init()
        self._shape = (height, width)
        groups = (RENDERED, HIDDEN_FROM_WRIST)
        view = View(("overview",), 2 * height, 2 * width, groups, SKY, film=True)
        self._caster = RayCaster(model, view, 1) if cannot_cast(model, view) is None else None
        if self._caster is not None:
            return
        with wp.ScopedDevice("cpu"):
            self._model = mjw.put_model(model)
            self._data = mjw.make_data(model, nworld=1, nconmax=1, njmax=1)
            self._context = mjw.create_render_context(
                model, nworld=1, cam_res=(width, height), cam_active=["overview"], render_rgb=True, render_depth=False,
                render_seg=False, enabled_geom_groups=[RENDERED, HIDDEN_FROM_WRIST], use_shadows=True,
                background_color=SKY, samples_per_pixel=2,
            )  # fmt: skip

    def render(self, poses: dict[str, np.ndarray], looks: dict[str, np.ndarray]) -> np.ndarray:
        """(H, W, 3) uint8. poses and looks: rows of one world, as in `POSES` and `LOOKS`."""
        if self._caster is not None:
            self._caster.set_looks(np.zeros(1, int), looks)
            image = self._caster.render(poses, ("stereo",))["stereo"][0, 0].numpy()
            samples = [image[:, y::2, x::2].astype(np.uint16) for y in (0, 1) for x in (0, 1)]
            return ((np.add.reduce(samples) + 2) // 4).astype(np.uint8).transpose(1, 2, 0).copy()
        for owner, values in ((self._data, poses), (self._model, looks)):
            for name, value in values.items():
                array = getattr(owner, name).numpy()
                array[:] = value.reshape(array.shape)
        with wp.ScopedDevice("cpu"):
            mjw.refit_bvh(self._model, self._data, self._context)
            mjw.render(self._model, self._data, self._context)
        packed = self._context.rgb_data.numpy().view(np.uint8).reshape(*self._shape, 4)
        return packed[..., [2, 1, 0]].copy()
