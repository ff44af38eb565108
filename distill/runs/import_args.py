"""What `handsight import-policy` is asked for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ...ranges import Checked
from ...sims.env_config import EnvConfig
from ...sims.machine import MACHINE


@dataclass(frozen=True)
class ImportPolicyArgs(Checked):
    """Make a run of ours of a policy that Stable-Baselines3 or rsl_rl trained in our environments, or of a plugin's."""

    source: Annotated[Literal["sb3", "rsl_rl", "plugin"], tyro.conf.Positional] = "sb3"
    """Who trained it: `sb3` (PPO or A2C with "MlpPolicy"), `rsl_rl` (an MLPModel), or `plugin`: nobody."""
    file: Annotated[Path, tyro.conf.Positional] = field(default=Path(), metadata=MACHINE)
    """What `PPO.save` (zip) or rsl_rl's runner (pt) wrote; with `plugin` the name of the policy's class."""
    out: Path | None = field(default=None, metadata=MACHINE)
    """Folder of the new run, new or empty; runs/imported-.../<date> if not given."""
    env: EnvConfig = field(default_factory=EnvConfig)
    """The environments in which it learnt."""
    observe: tuple[str, ...] = ("state", "proprio")
    """Observation groups that it reads, side by side in this order."""
    activation: str | None = None
    """What follows each of its layers; None: what the file says in plain words, or else the library's own default."""
    normalization: Annotated[Path | None, tyro.conf.arg(metavar="FILE.npz")] = field(default=None, metadata=MACHINE)
    """From VecNormalize, whose own file is a pickle: np.savez(FILE, mean=env.obs_rms.mean, var=env.obs_rms.var)."""
