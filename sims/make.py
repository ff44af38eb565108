"""From a configuration to worlds: choosing the engine."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import HandsightError
from .grasp import IMAGE_GROUPS, GraspConfig, GraspTask
from .isaac import IsaacConfig, IsaacEngine
from .scene import SceneConfig
from .warp_device import WarpConfig

if TYPE_CHECKING:
    from .remote import RemoteVecEnv
    from .worker import RemoteConfig

EngineName = Literal["mujoco", "mujoco_warp", "isaacgym"]

WORLD_BYTES = 400 * 2**10
"""Memory of one world on the CPU engine, without its images: 365 KiB measured between 64 and 320 worlds."""
PIXEL_BYTES = 32
"""Memory for one pixel of one camera: rendered, in the engine's buffers, and as an observation."""


@dataclass(frozen=True)
class EnvConfig:
    """Everything about the worlds but their number."""

    engine: EngineName = "mujoco"
    """Simulator: `mujoco` (CPU physics on all cores, ray-traced cameras), `mujoco_warp` (physics and cameras on a GPU:
    docs/gpu.md) or `isaacgym` (your own installation of Isaac Gym Preview 4, behind its own interpreter:
    docs/isaac.md)."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """Model, time step and camera rig."""
    task: GraspConfig = field(default_factory=GraspConfig)
    """Actions, resets, rewards and randomisation."""
    threads: int | None = None
    """Threads of the CPU engine; None = all cores. Does not change results."""
    warp: WarpConfig = field(default_factory=WarpConfig)
    """Room for contacts and repeatability, for the engine `mujoco_warp`."""
    isaac: IsaacConfig = field(default_factory=IsaacConfig)
    """Where Isaac Gym is, for the engine `isaacgym`."""


def make(
    config: EnvConfig, observe: Collection[str], num_envs: int, world_offset: int = 0, device: str = "cpu"
) -> GraspTask:
    """Make `num_envs` worlds that compute the observation groups `observe`.

    Args:
        config: the worlds.
        observe: any of "state", "proprio", "depth", "stereo"; only these are rendered.
        num_envs: how many.
        world_offset: global index of the first one: workers that split a set of worlds give each its own.
        device: where the observations live; `worlds_device` says it for the learner's.

    Raises:
        HandsightError: unknown engine, observation group or device, no worlds, or more than memory can hold.
    """
    if num_envs < 1:
        raise HandsightError(f"num_envs must be at least 1, not {num_envs}")
    groups = [group for group in IMAGE_GROUPS if group in observe]
    match config.engine:
        case "mujoco":
            from .mujoco_cpu import MujocoEngine  # mujoco_warp takes a second to import

            if device != "cpu":
                raise HandsightError(f"engine 'mujoco' runs on device 'cpu', not {device!r}")
            _check_memory(config, observe, num_envs)
            engine = MujocoEngine(config.scene, num_envs, groups, config.threads)
        case "mujoco_warp":
            from .mujoco_gpu import WarpEngine

            engine = WarpEngine(config.scene, num_envs, groups, config.warp, device)
        case "isaacgym":
            _check_memory(config, observe, num_envs)
            engine = IsaacEngine(config.scene, num_envs, groups, config.isaac, device)
        case _:
            raise HandsightError(f"unknown engine {config.engine!r}; available: {', '.join(get_args(EngineName))}")
    return GraspTask(config.task, engine, config.scene.rig, config.scene.control_dt, observe, world_offset)


def worlds_device(config: EnvConfig, learner: str) -> str:
    """Where the worlds of a learner belong: on its device, unless their engine knows the CPU only."""
    return "cpu" if config.engine == "mujoco" else learner


def make_remote(
    config: EnvConfig,
    observe: Collection[str],
    num_envs: int,
    placement: str,
    remote: RemoteConfig | None = None,
    learner: str = "cpu",
    rank: int = 0,
    ranks: int = 1,
) -> RemoteVecEnv:
    """The same worlds in simulators elsewhere; see `RemoteVecEnv`.

    Args:
        config: the worlds.
        observe: see `make`.
        num_envs: how many this learner has.
        placement: where the simulators run, e.g. "cpu*3" or "cuda:0,cuda:1".
        remote: how the learner deals with them.
        learner: device on which their observations arrive.
        rank: which of several learners this is; each has its share of the simulators and of the worlds.
        ranks: how many learners there are.

    Raises:
        HandsightError: as `make`; no Ray, or no such placement.
    """
    from .placement import parse_placement
    from .remote import RemoteVecEnv, local_threads

    slots = parse_placement(placement)
    if len(slots) < ranks:
        raise HandsightError(f"placement {placement!r}: {len(slots)} simulators for {ranks} learners")
    if config.threads is None:
        config = replace(config, threads=local_threads(slots))
    maker = partial(make, config, tuple(observe))
    return RemoteVecEnv(maker, slots[rank::ranks], num_envs, remote, learner, rank * num_envs)


def _check_memory(config: EnvConfig, observe: Collection[str], num_envs: int) -> None:
    """Refuse what would end in the system killing this process: a rough estimate against the machine's memory."""
    rig, views = config.scene.rig, sum({"depth": 1, "stereo": 2}.get(group, 0) for group in observe)
    world = WORLD_BYTES + views * rig.height * rig.width * PIXEL_BYTES
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fits = int(0.8 * memory / world)
    if num_envs > fits:
        raise HandsightError(
            f"{num_envs:,} worlds of about {world / 2**20:.1f} MiB are more than this machine's "
            f"{memory / 2**30:.0f} GiB can hold; at most {fits:,} fit"
        )
