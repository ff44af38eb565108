"""Recorded rollouts as a LeRobotDataset v3.0."""

from __future__ import annotations

from pathlib import Path

from ...datasets.lerobot import check_installed, write_lerobot
from ...datasets.reader import whole_shards
from ...datasets.shard import read_header
from ..runs.progress import stage, tell
from .arguments import ExportLeRobotArgs


def export_lerobot(args: ExportLeRobotArgs) -> Path:
    """What `handsight export-lerobot` does: check, write, say what is there."""
    check_installed()
    shards = list(whole_shards(args.path, args.max_damaged).whole)
    total = sum(read_header(path)["episodes"] for path in shards)
    with stage(f"Export {args.path}", total, "episodes") as progress:
        episodes, frames = write_lerobot(shards, args.out, args.task, args.quality, progress.advance, args.privileged)
    tell(f"{episodes} episodes, {frames:,} frames in {args.out}")
    return args.out
