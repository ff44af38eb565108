"""Carry: grasp, lift, and bring the object to a commanded point, where it is held."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..engines.engine import BodyState, Engine
from ..env_config import CarryConfig
from ..rotation import rotate_back
from .grasp import GraspTask
from .rewards import TERMS, GraspSituation, grasp_reward

NEAR = 0.03
"""m from the commanded point: the object is there."""
STEADY = 5
"""Steps in a row that it must be there, held."""


@dataclass
class CarrySituation(GraspSituation):
    """What the terms look at, all (N,)."""

    goal_distance: Tensor
    """Distance of the object's middle to the commanded point, m."""
    steady: Tensor
    """(N,) int64: steps in a row for which it was within `NEAR` of it and held, this one included."""

    @cached_property
    def success(self) -> Tensor:
        """(N,) bool: it has been there and held for the last `STEADY` steps."""
        return self.steady >= STEADY


def bring(s: CarrySituation) -> Tensor:
    """Mean of exp(-5 d), which leads there, and exp(-25 d), which makes it exact, of the distance to the commanded
    point, as far as the object is lifted: wholly from 5 cm on. exp(-8 d) alone hovers 10 cm away."""
    close = (torch.exp(-5.0 * s.goal_distance) + torch.exp(-25.0 * s.goal_distance)) / 2
    return close * (s.lift / 0.05).clamp(0.0, 1.0) * (s.grasp_distance < 0.12)


def there(s: CarrySituation) -> Tensor:
    """1 while the object is at the commanded point and held."""
    return (s.steady > 0).float()


CARRY_TERMS = TERMS | {"bring": bring, "there": there}


class CarryTask(GraspTask):
    """Bring the object that stands on the table to a point that all are told."""

    name, config_class = "carry", CarryConfig
    own_state: ClassVar = {"goal_from_object": 3, "goal_distance": 1}
    kept = ("_steady",)

    def __init__(self, config: CarryConfig, engine: Engine, observe: Collection[str], world_offset: int = 0) -> None:
        """Arguments and errors as for `Task`."""
        super().__init__(config, engine, observe, world_offset)
        self._box = torch.tensor([config.goal_x, config.goal_y, config.goal_z], device=self.device).T

    def _clear(self) -> None:
        super()._clear()
        self._steady = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)

    @property
    def goal(self) -> Tensor:
        """(N, 3) m, world frame: the commanded point of each environment's present episode."""
        return self._box[0] + (self._box[1] - self._box[0]) * self._episode_draws().uniform("goal", 3)

    def command(self, body: BodyState) -> Tensor:
        """(N, 3) m: the commanded point seen from the grasp site, in the palm frame."""
        return rotate_back(body.palm_rot, self.goal - body.grasp_pos)

    def state(self, body: BodyState) -> list[Tensor]:
        """The commanded point seen from the object (N, 3) m, palm frame, and how far it is (N, 1) m."""
        away = rotate_back(body.palm_rot, self.goal - body.object_pos)
        return [away, vector_norm(away, dim=-1, keepdim=True)]

    def reward(self, body: BodyState) -> tuple[Tensor, dict[str, Tensor]]:
        s = self.judge(body)
        s.steady = self._steady = torch.where((s.goal_distance < NEAR) & s.held, self._steady + 1, 0)
        self._judged = body, s
        return grasp_reward(s, self._rewards, CARRY_TERMS)

    def judge(self, body: BodyState) -> CarrySituation:
        """What the reward's terms look at."""
        distance = vector_norm(body.object_pos - self.goal, dim=-1)
        return CarrySituation(**self._facts(body), goal_distance=distance, steady=self._steady)

    def outcome(self, body: BodyState) -> dict[str, Tensor]:
        s = self._situation(body)
        assert isinstance(s, CarrySituation)
        return super().outcome(body) | {"goal_distance": s.goal_distance}

    def drawn(self) -> dict[str, Tensor]:
        """As `Task.drawn`, and `goal` (N, 3) m, world frame."""
        return super().drawn() | {"goal": self.goal}
