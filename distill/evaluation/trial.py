"""`TrialConfig`: how policies are tried; imports no torch, as the command line does without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from ...ranges import Checked, Count, Episodes, Within
from ...sims.env_config import Postures
from ...sims.machine import machine
from . import HELD_OUT_SEED, TrialSeed


@dataclass(frozen=True, kw_only=True)
class TrialConfig(Checked):
    """How every policy of a comparison is tried."""

    episodes: Episodes = 512
    """Resets to start from, one episode each."""
    seed: TrialSeed = HELD_OUT_SEED
    """Seed of the resets."""
    num_envs: Count = 256
    """Number of environments stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset that every episode starts from; None takes the mix of the environment's configuration."""
    postures: Postures = "held_out"
    """Arm postures with which episodes begin: those that no training meets, or those of trainings."""
    level: Annotated[int | None, Within(0, 1_000_000_000)] = None
    """Level of randomisation, 0..env.task.levels; None: each policy's own."""
    ablations: bool = False
    """Also try each policy that sees images with them shuffled, frozen and black: four to five times
    the time."""
    device: str = machine("cpu")
    """Where the policies and the environment run."""

    @property
    def resets(self) -> dict[str, Any]:
        """What decides which resets are met, as `evaluate` takes it."""
        return {
            name: getattr(self, name) for name in ("episodes", "seed", "num_envs", "reset_kind", "postures", "level")
        }
