"""`EnvConfig`: everything about the environments but their number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .engines.warp_config import WarpConfig
from .isaacgym.engine import IsaacConfig
from .machine import machine
from .scene import SceneConfig
from .tasks.grasp import GraspConfig

EngineName = Literal["mujoco", "mujoco_warp", "isaacgym"]


@dataclass(frozen=True)
class EnvConfig:
    """Everything about the environments but their number."""

    engine: EngineName = "mujoco"
    """Simulator: `mujoco` (CPU physics on all cores, ray-traced cameras), `mujoco_warp` (physics and cameras on a GPU:
    docs/gpu.md) or `isaacgym` (your own installation of Isaac Gym Preview 4, behind its own interpreter:
    docs/isaac.md)."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """Model, time step and camera rig."""
    task: GraspConfig = field(default_factory=GraspConfig)
    """Actions, resets, rewards and randomisation."""
    threads: int | None = machine(None)
    """Threads of the CPU engine; None = all cores. Does not change results."""
    warp: WarpConfig = field(default_factory=WarpConfig)
    """Room for contacts and repeatability, for the engine `mujoco_warp`."""
    isaac: IsaacConfig = field(default_factory=IsaacConfig)
    """Where Isaac Gym is, for the engine `isaacgym`."""
