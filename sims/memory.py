"""What environments take: bytes of one's simulator and cameras, and how many of them a device holds.

The one place of these figures: `make` refuses by them, a training prints them before it allocates anything.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

import mujoco
import torch

from ..errors import HandsightError
from .env_config import EnvConfig, SceneConfig, WarpConfig

CONTACT_SCRATCH = 6_556
"""Bytes that a physics step borrows for each contact's room, most of them for the convex collision of its geoms:
counted on Warp's CPU back end with mujoco-warp 4.0, as is the next."""
WORLD_SCRATCH = 15_000
"""Bytes that a physics step borrows for each world besides, most of them for the solver."""
GEOM_BYTES = 160
"""Bytes of the tree in which a renderer looks geoms up: bounds, group and two nodes for each."""
MARGIN = 0.9
"""Share of the free memory that is used."""


def check_warp(
    model: mujoco.MjModel, scene: SceneConfig, num_worlds: int, groups: Collection[str], warp: WarpConfig, device: str
) -> None:
    """Refuse what would fail later, and say what would not.

    Raises:
        HandsightError: no such device, a feature of the model that mujoco_warp lacks, or too little memory.
    """
    _check_device(device)
    need, free = warp_bytes(model, scene, groups, warp), free_bytes(device)
    fits = int(MARGIN * free / need)
    if num_worlds > fits:
        raise HandsightError(
            f"{num_worlds:,} worlds of about {need / 2**20:.2f} MiB are more than the {free / 2**30:.1f} GiB that are "
            f"free on {device!r} can hold; at most {fits:,} fit"
        )


def warp_bytes(model: mujoco.MjModel, scene: SceneConfig, groups: Collection[str], warp: WarpConfig) -> int:
    """Memory of one world on the engine's device: physics, its scratch, and cameras for `groups`; no observations.

    Raises:
        HandsightError: the model has a feature that mujoco_warp lacks.
    """
    import mujoco_warp as mjw  # a second, for this engine only
    import warp as wp

    from .engines.world_fields import EXPANDED

    def both(n: int) -> int:
        fields = mjw.put_model(model, batch_sizes=dict.fromkeys(EXPANDED, n))
        return _held(fields) + _held(mjw.make_data(model, nworld=n, nconmax=warp.nconmax, njmax=warp.njmax))

    try:
        with wp.ScopedDevice("cpu"):
            physics = both(2) - both(1)
    except (NotImplementedError, ValueError) as error:
        raise HandsightError(f"engine 'mujoco_warp' cannot simulate this model: {error}") from error
    scratch = WORLD_SCRATCH + CONTACT_SCRATCH * warp.nconmax
    return physics + scratch + camera_bytes(model, scene, groups)


def camera_bytes(model: mujoco.MjModel, scene: SceneConfig, groups: Collection[str]) -> int:
    """Memory of one world's rendered images, before they become observations: the left eye's depth (4 bytes a pixel)
    and segmentation (8), and with "stereo" the colours (4) of two eyes."""
    if not groups:
        return 0
    pixels = scene.rig.height * scene.rig.width
    return pixels * (4 + 8 + 2 * 4 * ("stereo" in groups)) + GEOM_BYTES * model.ngeom


def free_bytes(device: str) -> int:
    """Memory that is free on a device; on the CPU all that the machine has."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_device(device: str) -> None:
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = torch.device("meta")
    known = wanted.type == "cuda" and (wanted.index or 0) < torch.cuda.device_count()
    if wanted.type != "cpu" and not known:
        raise HandsightError(
            f"engine 'mujoco_warp' on device {device!r}: no such device here; available: {', '.join(here)}"
            + (" (Warp's CPU back end, for tests; to work without a GPU use engine 'mujoco')" if len(here) == 1 else "")
        )


def _held(owner: Any) -> int:
    """Bytes of the Warp arrays in a dataclass and those in it."""
    import warp as wp

    values = [getattr(owner, f.name, None) for f in dataclasses.fields(owner)]
    arrays = sum(value.capacity for value in values if isinstance(value, wp.array))
    return arrays + sum(_held(value) for value in values if dataclasses.is_dataclass(value))


VIEWS = {"depth": 1, "stereo": 2}
"""Cameras that an observation group renders."""
WORLD_BYTES = 400 * 2**10
"""Bytes of one environment on the CPU engine, without its images: 365 KiB measured between 64 and 320 of them."""
PIXEL_BYTES = 32
"""For one pixel of one camera: rendered, in the engine's buffers, and as an observation."""
USABLE_HOST = 0.8
"""Share of a machine's memory that may be planned for; of what is free on a GPU, `MARGIN`."""


class TooManyWorldsError(HandsightError):
    """More environments than memory can hold; says how many fit."""


class WorldBytes(NamedTuple):
    """What one environment takes."""

    simulator: int
    """Bytes of its physics: state, model fields of its own, contacts and constraints."""
    cameras: int
    """Bytes of its images."""

    @property
    def all(self) -> int:
        """Bytes of simulator and images."""
        return self.simulator + self.cameras


def world_bytes(config: EnvConfig, observe: Collection[str]) -> WorldBytes:
    """What one environment takes that computes these observation groups."""
    rig, views = config.scene.rig, sum(VIEWS.get(group, 0) for group in observe)
    simulator = warp_world_bytes(config.scene, config.warp) if config.engine == "mujoco_warp" else WORLD_BYTES
    return WorldBytes(simulator, views * rig.height * rig.width * PIXEL_BYTES)


@lru_cache
def warp_world_bytes(scene: SceneConfig, room: WarpConfig) -> int:
    """Bytes of one world of mujoco_warp, with what a step borrows for it; see `warp_bytes`."""
    from .scene import build_model

    return warp_bytes(build_model(scene), scene, (), room)


def usable(device: str | torch.device) -> int:
    """Bytes on a device that may be planned for.

    Raises:
        HandsightError: there is no such device here.
    """
    share = USABLE_HOST if torch.device(device).type == "cpu" else MARGIN
    try:
        return int(share * free_bytes(str(device)))
    except (RuntimeError, AssertionError) as error:
        here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise HandsightError(f"device {device!r} cannot be used here; available: {', '.join(here)}") from error


def check_worlds(config: EnvConfig, observe: Collection[str], num_envs: int, device: str) -> None:
    """Refuse what would end in the system killing this process.

    Raises:
        TooManyWorldsError: more than fit.
    """
    each, memory = world_bytes(config, observe).all, usable(device)
    if num_envs * each > memory:
        raise TooManyWorldsError(
            f"{num_envs:,} worlds of about {each / 2**20:.1f} MiB are more than the {memory / 2**30:.1f} GiB that may "
            f"be used on {device} can hold; at most {memory // each:,} fit"
        )
