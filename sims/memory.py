"""What environments take: bytes of one's simulator and cameras, and how many of them a device holds.

The one place of these figures: `make` refuses by them, a training prints them before it allocates anything.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from ..errors import HandsightError
from ..files import memory_limits
from .engines.world_fields import EXPANDED
from .env_config import EnvConfig, SceneConfig, WarpConfig
from .scene import Scene

CONTACT_SCRATCH = 6_556
"""Bytes that a physics step of mujoco_warp borrows for each contact's room, most of them for the convex collision of
its geoms: counted on Warp's CPU back end with mujoco-warp 4.0, as is the next."""
WORLD_SCRATCH = 15_000
"""Bytes that a physics step borrows for each world besides, most of them for the solver."""
WORLD_BYTES = 340 * 2**10
"""Bytes of one environment on the CPU engine, without its images (benchmarks/num_envs.py)."""
VIEWS = {"depth": 1, "stereo": 2, "seen_position": 2}
"""Cameras that an observation group renders."""
PIXEL_BYTES = 32
"""For one pixel of one camera: rendered, in the engine's buffers, and as an observation."""
USABLE_HOST, USABLE_GPU = 0.8, 0.9
"""Share that may be planned for: of a machine's memory, and of what is free on a GPU."""


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
    """What one environment takes that computes these observation groups.

    Raises:
        HandsightError: the scene has a feature that the engine `mujoco_warp` lacks.
    """
    rig, views = config.scene.rig, sum(VIEWS.get(group, 0) for group in observe)
    simulator = _warp_bytes(config.scene, config.warp) if config.engine == "mujoco_warp" else WORLD_BYTES
    return WorldBytes(simulator, views * rig.height * rig.width * PIXEL_BYTES)


@lru_cache
def _warp_bytes(scene: SceneConfig, room: WarpConfig) -> int:
    """Bytes of one world of mujoco_warp: its fields of the model, its state, and what a step borrows for it."""
    import mujoco_warp as mjw  # a second, for this engine only

    from .engines.quiet_warp import warp as wp

    model = Scene(scene).build()

    def both(n: int) -> int:
        fields = mjw.put_model(model, batch_sizes=dict.fromkeys(EXPANDED, n))
        return _held(fields) + _held(mjw.make_data(model, nworld=n, nconmax=room.nconmax, njmax=room.njmax))

    try:
        with wp.ScopedDevice("cpu"):
            physics = both(2) - both(1)
    except (NotImplementedError, ValueError) as error:
        raise HandsightError(f"engine 'mujoco_warp' cannot simulate this model: {error}") from error
    return physics + WORLD_SCRATCH + CONTACT_SCRATCH * room.nconmax


def _held(owner: Any) -> int:
    """Bytes of the Warp arrays in a dataclass and those in it."""
    from .engines.quiet_warp import warp as wp

    values = [getattr(owner, f.name, None) for f in dataclasses.fields(owner)]
    arrays = sum(value.capacity for value in values if isinstance(value, wp.array))
    return arrays + sum(_held(value) for value in values if dataclasses.is_dataclass(value))


def usable(device: str | torch.device) -> int:
    """Bytes on a device that may be planned for; of a host, within the limits of its container and of this process.

    Raises:
        HandsightError: there is no such device here.
    """
    try:
        if torch.device(device).type == "cpu":
            return int(USABLE_HOST * min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *memory_limits()]))
        return int(USABLE_GPU * torch.cuda.mem_get_info(device)[0])
    except (RuntimeError, AssertionError, ValueError) as error:
        here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        alone = " (to work without a GPU use engine 'mujoco')" if len(here) == 1 else ""
        raise HandsightError(f"device {device!r} cannot be used here; available: {', '.join(here)}{alone}") from error


def check_worlds(config: EnvConfig, observe: Collection[str], num_envs: int, device: str) -> None:
    """Refuse, before anything is allocated, what would fail later or end in the system killing this process.

    Raises:
        TooManyWorldsError: more than fit.
        HandsightError: no such device, or a feature of the scene that the engine lacks.
    """
    memory, each = usable(device), world_bytes(config, observe).all
    if num_envs * each > memory:
        raise TooManyWorldsError(
            f"{num_envs:,} worlds of about {each / 2**20:.1f} MiB are more than the {memory / 2**30:.1f} GiB that may "
            f"be used on {device} can hold; "
            f"{f'at most {memory // each:,} fit' if memory >= each else 'not even one fits'} (--num-envs, --image)"
        )
