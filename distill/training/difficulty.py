"""`Difficulty`: automatic domain randomisation, from the ranges that a training begins with to the hardest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import HandsightError
from ...ranges import Checked, Count, Share


@dataclass(frozen=True)
class DifficultyConfig(Checked):
    """When the level of randomisation moves (after Akkaya et al. 2019, arXiv 1910.07113, with one level for all
    ranges)."""

    automatic: bool = False
    """Whether it moves; else it stays at `env.task.level`."""
    promote: Share = 0.75
    """Success at the present level from which on it rises by one."""
    demote: Share = 0.4
    """Success below which it falls by one."""
    episodes: Count = 512
    """Episodes, begun and ended at the present level, over which success is counted before the level moves or stays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.demote >= self.promote:
            raise HandsightError(
                f"difficulty: expected demote < promote, found demote={self.demote}, promote={self.promote}"
            )


class Difficulty:
    """One level for all ranges, moved by success at the edge: in the widest ranges that have been reached."""

    def __init__(self, config: DifficultyConfig, level: int, levels: int) -> None:
        self.config, self.levels = config, levels
        self.level = level
        """Where between easy (0) and hardest (`levels`) episodes are drawn now."""
        self.wins = self.count = 0
        """Episodes at this level since it was last looked at: successes, and all."""

    def update(self, ended: Mapping[str, tuple[int, int]]) -> None:
        """Take in completed episodes: of the entry "edge", how many succeeded and how many there were."""
        wins, count = ended.get("edge", (0, 0))
        self.wins, self.count = self.wins + wins, self.count + count
        if not self.config.automatic or self.count < self.config.episodes:
            return
        success = self.wins / self.count
        step = (success >= self.config.promote) - (success < self.config.demote)
        self.level = min(max(self.level + step, 0), self.levels)
        self.wins = self.count = 0

    def state_dict(self) -> dict[str, Any]:
        """Level, and what was counted at it, for a checkpoint."""
        return {"level": self.level, "wins": self.wins, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.level, self.wins, self.count = (int(state[name]) for name in ("level", "wins", "count"))
