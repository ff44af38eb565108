"""From a configuration to worlds: choosing the engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from ..errors import HandsightError
from .grasp import IMAGE_GROUPS, GraspConfig, GraspTask
from .scene import SceneConfig

EngineName = Literal["mujoco"]


@dataclass(frozen=True)
class EnvConfig:
    """Everything about the worlds but their number."""

    engine: EngineName = "mujoco"
    """Simulator: `mujoco` (CPU physics on all cores, ray-traced cameras)."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """Model, time step and camera rig."""
    task: GraspConfig = field(default_factory=GraspConfig)
    """Actions, resets, rewards and randomisation."""
    threads: int | None = None
    """Threads of the CPU engine; None = all cores. Does not change results."""


def make(
    config: EnvConfig, observe: Collection[str], num_envs: int, world_offset: int = 0, device: str = "cpu"
) -> GraspTask:
    """Make `num_envs` worlds that compute the observation groups `observe`.

    Args:
        config: the worlds.
        observe: any of "state", "proprio", "depth", "stereo"; only these are rendered.
        num_envs: how many.
        world_offset: global index of the first one: workers that split a set of worlds give each its own.
        device: where the observations live.

    Raises:
        HandsightError: unknown engine, observation group or device, or no worlds.
    """
    if num_envs < 1:
        raise HandsightError(f"num_envs must be at least 1, not {num_envs}")
    match config.engine:
        case "mujoco":
            from .mujoco_cpu import MujocoEngine  # mujoco_warp takes a second to import

            if device != "cpu":
                raise HandsightError(f"engine 'mujoco' runs on device 'cpu', not {device!r}")
            groups = [group for group in IMAGE_GROUPS if group in observe]
            engine = MujocoEngine(config.scene, num_envs, groups, config.threads)
        case _:
            raise HandsightError(f"unknown engine {config.engine!r}; available: mujoco")
    return GraspTask(config.task, engine, config.scene.rig, config.scene.control_dt, observe, world_offset)
