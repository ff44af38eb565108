"""`handsight video`: what a policy saw, as mp4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ...files import written
from ..evaluation.evaluate import HELD_OUT_SEED
from ..report.film import contact_sheet, make_film, write_video


@dataclass(frozen=True)
class VideoArgs:
    """Film a policy in the first held-out resets."""

    policy: Annotated[Path, tyro.conf.Positional]
    """Run folder, a checkpoint in one, or a name of the zoo: zoo:state."""
    episodes: int = 4
    """Resets to film, the first ones of an evaluation with the same seed."""
    seed: int = HELD_OUT_SEED
    """Seed of the resets."""
    reset_kind: str | None = "wide"
    """Kind of reset; None takes the mix that the environment was made with."""
    out: Path | None = None
    """The mp4; in the run's folder videos/ if not given. A contact sheet (png) is written beside it."""
    speed: float = 0.5
    """Playing speed; 1 is real time."""
    tile: int = 176
    """Width of one image, pixels."""
    overview: bool = True
    """Show the robot from outside, too, where the environment can."""
    device: str = "cpu"
    """Where the policy and the environment run."""


def run_video(args: VideoArgs) -> Path:
    """What `handsight video` does: film, write the mp4 and the contact sheet, say where."""
    from ..runs.policy_io import load_policy

    loaded = load_policy(args.policy, device=args.device)
    out = args.out or loaded.results / "videos" / f"resets-{args.seed}.mp4"
    film = make_film(
        loaded.policy, loaded.env_config, args.episodes, args.seed, args.reset_kind, args.device, args.overview
    )
    write_video(out, film, title=loaded.run.name if loaded.run else loaded.kind, speed=args.speed, tile=args.tile)
    with written(out.with_suffix(".png")) as draft:
        contact_sheet(film).savefig(draft, dpi=120, format="png")
    Console().print(f"Saved {out} and {out.with_suffix('.png')}")
    return out
