"""What worlds take: bytes of one world's simulator and cameras, and how many of them a device holds.

The one place of these figures: `make` refuses by them, a training prints them before it allocates anything.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..errors import HandsightError
from . import warp_device

if TYPE_CHECKING:
    from .make import EnvConfig
    from .scene import SceneConfig
    from .warp_device import WarpConfig

VIEWS = {"depth": 1, "stereo": 2}
"""Cameras that an observation group renders."""
WORLD_BYTES = 400 * 2**10
"""Of one world on the CPU engine, without its images: 365 KiB measured between 64 and 320 worlds."""
PIXEL_BYTES = 32
"""For one pixel of one camera: rendered, in the engine's buffers, and as an observation."""
USABLE_HOST = 0.8
"""Share of a machine's memory that may be planned for; of what is free on a GPU, `warp_device.MARGIN`."""


class TooManyWorldsError(HandsightError):
    """More worlds than memory can hold; says how many fit."""


class WorldBytes(NamedTuple):
    """Of one world."""

    simulator: int
    """Bytes of its physics: state, model fields of its own, contacts and constraints."""
    cameras: int
    """Bytes of its images."""

    @property
    def all(self) -> int:
        """Bytes of both."""
        return self.simulator + self.cameras


def world_bytes(config: EnvConfig, observe: Collection[str]) -> WorldBytes:
    """What one world takes that computes these observation groups."""
    rig, views = config.scene.rig, sum(VIEWS.get(group, 0) for group in observe)
    simulator = warp_world_bytes(config.scene, config.warp) if config.engine == "mujoco_warp" else WORLD_BYTES
    return WorldBytes(simulator, views * rig.height * rig.width * PIXEL_BYTES)


@lru_cache
def warp_world_bytes(scene: SceneConfig, room: WarpConfig) -> int:
    """Of one world of mujoco_warp, with what a step borrows for it; see `warp_bytes`."""
    from .scene import build_model

    return warp_device.warp_bytes(build_model(scene), scene, (), room)


def usable(device: str | torch.device) -> int:
    """Bytes on a device that may be planned for.

    Raises:
        HandsightError: there is no such device here.
    """
    share = USABLE_HOST if torch.device(device).type == "cpu" else warp_device.MARGIN
    try:
        return int(share * warp_device.free_bytes(str(device)))
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
