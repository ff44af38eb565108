"""`Curriculum`: from easy beginnings to the ones that count, as fast as success allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import HandsightError
from ...ranges import Checked, Count, Share


@dataclass(frozen=True)
class CurriculumConfig(Checked):
    """Two mixes of kinds of reset, and the success that leads from one to the other."""

    start: dict[str, Share] = field(default_factory=lambda: {"wide": 1.0})
    """Probability of each kind of reset at the start."""
    goal: dict[str, Share] = field(default_factory=lambda: {"wide": 1.0})
    """Probability of each kind of reset at the end."""
    gate: str = "easy"
    """Kind of reset whose success decides."""
    low: Share = 0.15
    """Success rate of `gate` at which the mix begins to move."""
    high: Share = 0.6
    """Success rate of `gate` at which it has arrived."""
    window: Count = 256
    """Episodes of `gate` over which its success is averaged, with weights that fall off exponentially."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            raise HandsightError(f"curriculum: expected low < high, found low={self.low}, high={self.high}")
        for name, mix in (("start", self.start), ("goal", self.goal)):
            if abs(sum(mix.values()) - 1) > 1e-6:
                raise HandsightError(f"curriculum.{name}: expected probabilities that add up to 1, found {mix}")
        if self.start != self.goal and not self.start.get(self.gate):
            begun = ", ".join(kind for kind, share in self.start.items() if share)
            told = "expected a kind of reset that `start` has, as its success moves the mix"
            raise HandsightError(f"curriculum.gate: {told}, found {self.gate!r}; available: {begun}")


class Curriculum:
    """Moves the mix of resets linearly from `start` to `goal`, never back: a worse stretch must not undo the task."""

    def __init__(self, config: CurriculumConfig) -> None:
        self.config = config
        self.success = 0.0
        """Average success at the end of episodes that began with the gate's kind of reset."""
        self.progress = 0.0
        """0 at `start`, 1 at `goal`."""

    @property
    def mix(self) -> dict[str, float]:
        """Probability of each kind of reset now."""
        start, goal = self.config.start, self.config.goal
        kinds = dict.fromkeys((*start, *goal))
        return {
            kind: (1 - self.progress) * start.get(kind, 0.0) + self.progress * goal.get(kind, 0.0) for kind in kinds
        }

    def update(self, ended: Mapping[str, tuple[int, int]]) -> None:
        """Take in completed episodes: by kind of reset, how many succeeded and how many there were."""
        wins, count = ended.get(self.config.gate, (0, 0))
        if not count:
            return
        keep = (1 - 1 / self.config.window) ** count
        self.success = keep * self.success + (1 - keep) * wins / count
        reached = (self.success - self.config.low) / (self.config.high - self.config.low)
        self.progress = max(self.progress, min(1.0, reached))

    def state_dict(self) -> dict[str, Any]:
        """Average success and progress, for a checkpoint."""
        return {"success": self.success, "progress": self.progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.success, self.progress = float(state["success"]), float(state["progress"])
