"""A task of one's own: bring the hand to the object, within a distance that its configuration names."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from torch import Tensor

from handsight.ranges import Steps, Within
from handsight.sims.engines.engine import BodyState
from handsight.sims.env_config import RewardWeights, TaskConfig
from handsight.sims.tasks.grasp import GraspTask


@dataclass(frozen=True)
class ReachConfig(TaskConfig):
    """The task of reaching for the object."""

    name: Literal["reach"] = "reach"
    """Which task it is."""
    episode_steps: Steps = 20
    """Control steps in an episode (12.5 a second)."""
    near: Annotated[float, Within(0.001, 1)] = 0.05
    """m between grasp site and object at which it is reached."""
    rewards: RewardWeights = field(default_factory=RewardWeights)
    """As of `grasp`, whose resets and end of an episode this task shares; the reward is its own."""


class ReachTask(GraspTask):
    """Reach for the object; the rest is as in `grasp`."""

    name, config_class = "reach", ReachConfig

    def __init__(self, config: ReachConfig, *more, **named) -> None:
        super().__init__(config, *more, **named)  # type: ignore[arg-type]
        self._near = config.near

    def reward(self, body: BodyState) -> tuple[Tensor, dict[str, Tensor]]:
        near = torch.exp(-10.0 * self._situation(body).grasp_distance)
        return near, {"near": near}

    def outcome(self, body: BodyState) -> dict[str, Tensor]:
        reached = self._situation(body).grasp_distance < self._near
        return super().outcome(body) | {"success": reached}


TASKS = (ReachTask,)
