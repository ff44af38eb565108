"""Ray-traced batch cameras (mujoco_warp) for physics that runs elsewhere: poses are copied in, images come out.

On a CPU, Warp runs a kernel on one core; so the worlds are split into shards, each with its own render context, and the
shards are rendered by a pool of threads (the kernels release Python's lock).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ...errors import HandsightError
from ..cameras import EYES, SKY
from ..env_config import CameraConfig, CameraRig
from ..robots.robot import HIDDEN_FROM_WRIST, RENDERED
from ..scene import OVERVIEW_EYE, SceneIds, look_at
from .quiet_warp import warp as wp
from .ray_caster import POSES, RayCaster, View, cannot_cast, empty_images
from .world_fields import LOOKS

Fields = Mapping[str, np.ndarray]
"""By name, in MuJoCo's layout: arrays of `POSES` or of `LOOKS` whose first axis are the worlds."""


class _Shard:
    """A consecutive piece of the worlds with its render context, on Warp's CPU back end."""

    def __init__(self, model: mujoco.MjModel, worlds: slice, make_context: Callable[[int], Any]) -> None:
        """make_context: from the number of worlds to a `mujoco_warp.RenderContext`."""
        import mujoco_warp as mjw  # takes seconds, and our own ray caster does without

        self.worlds, count = worlds, worlds.stop - worlds.start
        with wp.ScopedDevice("cpu"):
            self._model = mjw.put_model(newton(model), batch_sizes=dict.fromkeys((*LOOKS, "geom_dataid"), count))
            self._data = mjw.make_data(model, nworld=count, nconmax=1, njmax=1)
            self.context = make_context(count)

    def write(self, fields: Fields, rows: np.ndarray | slice = slice(None)) -> None:
        """Set what those `rows` of this shard look like or where they stand."""
        for name, values in fields.items():
            array = getattr(self._data if name in POSES else self._model, name).numpy()
            array[rows] = values.reshape(-1, *array.shape[1:])

    def draw(self) -> None:
        """Render into the context."""
        import mujoco_warp as mjw

        with wp.ScopedDevice("cpu"):
            mjw.refit_bvh(self._model, self._data, self.context)
            mjw.render(self._model, self._data, self.context)


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
        self._rig, self._num_worlds = rig, num_worlds
        edges = np.linspace(0, num_worlds, min(threads, num_worlds) + 1).astype(int)
        context = partial(camera_context, model, rig, "stereo" in groups)
        self._shards = [_Shard(model, slice(int(a), int(b)), context) for a, b in pairwise(edges)]
        self._images = [RenderedImages(shard.context, rig, ids, groups) for shard in self._shards]
        self._shards[0].draw()  # so that the threads find the kernels compiled
        self._pool = ThreadPoolExecutor(len(self._shards), thread_name_prefix="handsight-render")

    def set_looks(self, ids: np.ndarray, looks: Fields) -> None:
        """Write the fields of `LOOKS` of some worlds. looks[name] (len(ids), ...)."""
        for shard in self._shards:
            here = (ids >= shard.worlds.start) & (ids < shard.worlds.stop)
            if here.any():
                shard.write({name: values[here] for name, values in looks.items()}, ids[here] - shard.worlds.start)

    def render(self, poses: Fields, groups: Collection[str]) -> dict[str, Tensor]:
        """Images as `Engine.render` promises. poses[name] (N, ...) for every name in `POSES`, float64."""
        images = empty_images(self._num_worlds, len(EYES), self._rig.height, self._rig.width, groups)

        def draw(shard: _Shard, rendered: RenderedImages) -> None:
            shard.write({name: values[shard.worlds] for name, values in poses.items()})
            shard.draw()
            for name, values in rendered.read(groups).items():
                images[name][shard.worlds] = values

        list(self._pool.map(draw, self._shards, self._images))
        return images

    def close(self) -> None:
        """Stop the threads that render."""
        self._pool.shutdown(wait=True)


def newton(model: mujoco.MjModel) -> mujoco.MjModel:
    """The model with the solver that mujoco_warp has, which refuses PGS even where it only renders."""
    model = copy.copy(model)
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    return model


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


def one_camera(model: mujoco.MjModel, ids: SceneIds, camera: CameraConfig, num_worlds: int, threads: int) -> RayCaster:
    """What shows the images of a further camera. Raises HandsightError: our ray caster cannot show the scene."""
    groups = (RENDERED,) if camera.mount == "palm" else (RENDERED, HIDDEN_FROM_WRIST)
    first, last = ids.object_geoms[0], ids.object_geoms[-1]
    view = View((f"camera_{camera.name}",), camera.height, camera.width, groups, SKY, object_geoms=(first, last))
    if reason := cannot_cast(model, view):
        raise HandsightError(f"camera {camera.name!r}: only our ray caster has further cameras, and it has no {reason}")
    return RayCaster(model, view, num_worlds, threads)


def camera_context(model: mujoco.MjModel, rig: CameraRig, stereo: bool, num_worlds: int) -> Any:
    """What renders the left eye's depth and segmentation, and the pair in colour and the right eye's segmentation, too,
    if `stereo`, on Warp's current device: a `mujoco_warp.RenderContext`."""
    import mujoco_warp as mjw

    context = mjw.create_render_context(
        model, nworld=num_worlds, cam_res=(rig.width, rig.height), cam_active=list(EYES if stereo else EYES[:1]),
        render_rgb=stereo, render_depth=[True] + [False] * stereo, render_seg=[True] + [True] * stereo,
        enabled_geom_groups=[RENDERED] if rig.mount == "palm" else [RENDERED, HIDDEN_FROM_WRIST],
        use_textures=stereo, use_shadows=False, enable_specular=False, enable_emission=False, background_color=SKY,
        enable_vertex_normals=False,  # faces are flat, as our own caster shows them
    )  # fmt: skip
    if stereo:
        _sample_nearest(context, model)
    return context


class RenderedImages:
    """What a context rendered last, as tensors in its own memory."""

    def __init__(self, context: Any, rig: CameraRig, ids: SceneIds, groups: Collection[str]) -> None:
        """context: from `camera_context`; groups: those that it renders."""
        seg, shape = wp.to_torch(context.seg_data), (rig.height, rig.width)
        n = seg.shape[0]
        self._geoms = seg.reshape(n, -1, *shape, 2)[..., 0]
        self._object = ids.object_geoms[0], ids.object_geoms[-1]
        self._depth = wp.to_torch(context.depth_data).reshape(n, 1, *shape)
        if "stereo" in groups:
            self._packed = wp.to_torch(context.rgb_data).view(torch.uint8).reshape(n, len(EYES), *shape, 4)

    def read(self, groups: Collection[str]) -> dict[str, Tensor]:
        """As `Engine.render` promises. Depth is a view: the next rendering overwrites it."""
        first, last = self._object
        mask = (self._geoms >= first) & (self._geoms <= last)
        images = {"object_pixels": mask.sum((2, 3)), "object_mask": mask[:, 0]}
        if "depth" in groups:
            images["depth"] = self._depth
        if "stereo" in groups:
            images["stereo"] = torch.stack([self._packed[..., channel] for channel in (2, 1, 0)], dim=2)
        return images


def _sample_nearest(context: Any, model: mujoco.MjModel) -> None:
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
    cast. It stands still and turns with the object, half as far up as that is lifted. No OpenGL needed."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int) -> None:
        self.shape = (height, width)
        self._camera, self._object = model.camera("overview").id, int(model.body("object").geomadr[0])
        groups = (RENDERED, HIDDEN_FROM_WRIST)
        view = View(("overview",), 2 * height, 2 * width, groups, SKY, film=True)
        self._caster = RayCaster(model, view, 1) if cannot_cast(model, view) is None else None
        if self._caster is None:
            import mujoco_warp as mjw

            self._world = _Shard(model, slice(0, 1), lambda count: mjw.create_render_context(
                model, nworld=count, cam_res=(width, height), cam_active=["overview"], render_rgb=True,
                render_depth=False, render_seg=False, enabled_geom_groups=list(groups), use_shadows=True,
                background_color=SKY, samples_per_pixel=2,
            ))  # fmt: skip

    def render(self, world: Fields) -> np.ndarray:
        """(H, W, 3) uint8. world: all of `POSES` and `LOOKS`, of one world."""
        world = {**world, "cam_xmat": self._turned(world)}
        if self._caster is not None:
            self._caster.set_looks(np.zeros(1, int), world)
            image = self._caster.render({name: world[name] for name in POSES}, ("stereo",))["stereo"][0, 0].numpy()
            samples = [image[:, y::2, x::2].astype(np.uint16) for y in (0, 1) for x in (0, 1)]
            return ((np.add.reduce(samples) + 2) // 4).astype(np.uint8).transpose(1, 2, 0).copy()
        self._world.write(world)
        self._world.draw()
        packed = self._world.context.rgb_data.numpy().view(np.uint8).reshape(*self.shape, 4)
        return packed[..., [2, 1, 0]].copy()

    def _turned(self, world: Fields) -> np.ndarray:
        """(1, C, 3, 3) of all cameras, this one turned to where the object is and the hand above it."""
        turned, x = np.array(world["cam_xmat"], copy=True), world["geom_xpos"].reshape(-1, 3)[self._object]
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, look_at(OVERVIEW_EYE, (x[0], x[1], 0.08 + 0.5 * x[2])))
        turned.reshape(-1, 9)[self._camera] = rotation
        return turned
