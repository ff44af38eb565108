"""Recorded rollouts as a LeRobotDataset v3.0."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ...datasets.lerobot import check_installed, write_lerobot
from ...datasets.reader import MAX_DAMAGED, whole_shards
from ...datasets.shard import read_header
from ...errors import HandsightError
from ..runs.progress import stage


@dataclass(frozen=True)
class ExportLeRobotArgs:
    """Write shards in LeRobot's format."""

    path: Annotated[Path, tyro.conf.Positional]
    """Folder of shards, or one shard."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder that is made."""
    task: str = "grasp the object and lift it"
    """What the episodes are about, in words."""
    quality: int = 18
    """H.264's constant rate factor: 0 is lossless, 51 the worst."""
    max_damaged: float = MAX_DAMAGED
    """Share of damaged shards beyond which nothing is written."""

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 51:
            raise HandsightError(f"export-lerobot: expected a quality of 0..51, found {self.quality}")


def export_lerobot(args: ExportLeRobotArgs) -> Path:
    """What `handsight export-lerobot` does: check, write, say what is there."""
    check_installed()
    shards = list(whole_shards(args.path, args.max_damaged).whole)
    total = sum(read_header(path)["episodes"] for path in shards)
    with stage(f"Export {args.path}", total, "episodes") as progress:
        episodes, frames = write_lerobot(shards, args.out, args.task, args.quality, progress.advance)
    Console().print(f"{episodes} episodes, {frames:,} frames in {args.out}")
    return args.out
