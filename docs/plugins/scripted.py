"""A teacher of one's own, which nobody trained: it moves the hand straight to the object. And a metric."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from handsight.distill.evaluation.evaluation import Metric
from handsight.policies import Policy
from handsight.ranges import Checked, Spread, Within

STEP = 0.035
"""m: what the palm moves in a control step for an action of 1."""


@dataclass(frozen=True)
class StraightConfig(Checked):
    """How the scripted teacher moves."""

    gain: Annotated[float, Within(0.01, 1)] = 0.8
    """Share of the way that is left which it means to go in a step."""
    std: Spread = 0.1
    """What it says of how sure it is: the standard deviation that a student weighs its errors by."""


class Straight(Policy):
    """Straight to the object, the hand open."""

    config_class = StraightConfig
    obs_keys = ("state", "proprio")

    def __init__(self, config, obs_spec, action_dim) -> None:
        super().__init__()
        self.config, self.action_dim = config, action_dim
        self.away = obs_spec["state"].part("object_from_grasp")
        self.turn = obs_spec["proprio"].part("palm_rotation")

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, 0)

    def forward(self, obs, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y = obs["proprio"][:, self.turn].unflatten(1, (2, 3)).unbind(1)  # columns of palm to world
        palm = torch.stack([x, y, torch.linalg.cross(x, y)], dim=2)
        way = (palm @ obs["state"][:, self.away, None])[..., 0]  # m, world frame
        mean = torch.zeros(len(way), self.action_dim)
        mean[:, :3] = (self.config.gain / STEP * way).clamp(-1, 1)
        return mean, torch.full_like(mean, self.config.std), hidden


def closest(logs, here):
    """(E,) m: how near the grasp site came to the object. logs (T, E), here (T, E) bool."""
    return np.where(here, logs["grasp_distance"], np.inf).min(axis=0)


POLICIES = (Straight,)
METRICS = (Metric("closest [m]", ("grasp_distance",), closest),)
