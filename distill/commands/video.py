"""`handsight video`: what a policy saw, as mp4."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ...files import written
from ..report.film import contact_sheet, make_film, write_video
from .arguments import VideoArgs


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
