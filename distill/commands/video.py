"""`handsight video`: what a policy saw, as mp4."""

from __future__ import annotations

from pathlib import Path

from ...errors import HandsightError
from ...files import check_writable, written
from ..report.film import LARGE, contact_sheet, make_film, write_video
from .arguments import VideoArgs
from .evaluate import tried


def run_video(args: VideoArgs) -> Path:
    """What `handsight video` does: film, write, say where. Raises HandsightError: no mp4 can be written there."""
    from ..runs.policy_io import load_policy
    from ..runs.progress import tell

    if args.out is not None and args.out.suffix != ".mp4":
        raise HandsightError(f"video --out {args.out}: expected a name that ends in .mp4; no other kind is written")
    loaded = tried(load_policy(args.policy, device=args.device), args, args.device)
    out = args.out or loaded.results / "videos" / f"resets-{args.seed}.mp4"
    check_writable(out)
    how = (args.episodes, args.seed, args.reset_kind, args.device, LARGE * args.overview)
    film = make_film(loaded.policy, loaded.env_config.with_postures("held_out"), *how)
    write_video(out, film, title=loaded.run.name if loaded.run else loaded.kind, speed=args.speed, tile=args.tile)
    with written(out.with_suffix(".png")) as draft:
        contact_sheet(film).savefig(draft, dpi=120, format="png")
    tell(f"Saved {out} and {out.with_suffix('.png')}")
    return out
