"""`WarpConfig`, and what the engine `mujoco_warp` needs of device and model, checked before it allocates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WarpConfig:
    """Room and repeatability of the engine `mujoco_warp`."""

    nconmax: int = 48
    """Contacts for which there is room in each world, on average over the worlds."""
    njmax: int = 192
    """Constraint rows for which there is room in each world."""
    deterministic: bool = True
    """On a GPU: order contacts and sums so that the same seed and actions repeat bit for bit. Costs speed."""
    graphs: bool = True
    """On a GPU: repeat the launches of a step as one CUDA graph."""
