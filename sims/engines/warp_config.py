"""`WarpConfig`, and what the engine `mujoco_warp` needs of device and model, checked before it allocates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WarpConfig:
    """Room and repeatability of the engine `mujoco_warp`."""

    nconmax: int = 40
    """Contacts for which there is room in each world, on average over the worlds. With many worlds a third will do."""
    njmax: int = 160
    """Constraint rows for which there is room in each world: 1.5 times the most that benchmarks/contact_room.py saw, as
    is `nconmax`, which one world alone must do with."""
    deterministic: bool = True
    """On a GPU: order contacts and sums so that the same seed and actions repeat bit for bit. Costs speed."""
    graphs: bool = True
    """Repeat the launches of a step as one graph; without, each is made anew from Python."""
