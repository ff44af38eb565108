"""What worlds take: bytes of one world's simulator and cameras, and how many of them a device holds.

The one place of these figures: `make` refuses by them, a training prints them before it allocates anything.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..errors import HandsightError

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
USABLE_HOST, USABLE_GPU = 0.8, 0.95
"""Share of a machine's memory, and of what is free on a GPU, that may be planned for."""


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
    """Of one world of mujoco_warp: counted on the CPU, as what a second world adds to the first."""
    import mujoco_warp as mjw
    import warp as wp

    from .mujoco_gpu import DERIVED
    from .scene import build_model
    from .world_fields import LOOKS, PHYSICS

    model, expanded, counts = build_model(scene), {*PHYSICS, *LOOKS, *DERIVED}, []
    for worlds in (1, 2):
        with wp.ScopedDevice("cpu"):
            fields = mjw.put_model(model, batch_sizes=dict.fromkeys(expanded, worlds))
            data = mjw.make_data(model, nworld=worlds, nconmax=room.nconmax, njmax=room.njmax)
        counts.append(array_bytes(fields) + array_bytes(data))
    return counts[1] - counts[0]


def array_bytes(tree: Any) -> int:
    """Bytes of all Warp arrays in a dataclass, or in a sequence of them."""
    import warp as wp

    if isinstance(tree, wp.array):
        return tree.capacity
    if isinstance(tree, list | tuple):
        return sum(array_bytes(part) for part in tree)
    parts = vars(tree).values() if hasattr(tree, "__dataclass_fields__") else ()
    return sum(array_bytes(part) for part in parts)


def usable(device: str | torch.device) -> int:
    """Bytes on a device that may be planned for."""
    if torch.device(device).type == "cuda":
        try:
            return int(USABLE_GPU * torch.cuda.mem_get_info(device)[0])
        except (RuntimeError, AssertionError) as error:
            here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
            raise HandsightError(f"device {device!r} cannot be used here; available: {', '.join(here)}") from error
    return int(USABLE_HOST * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


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
