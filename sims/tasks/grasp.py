"""Grasp and lift: resets, rewards, success and what is lost, over (N, ...) tensors for every engine."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..draws import Draws
from ..engines.engine import BodyState, Engine
from ..env_config import CarryConfig, GraspConfig
from ..world_params import WorldParams
from .resets import CENTRE, RESETS, PostureBank
from .rewards import GraspSituation, grasp_reward, is_held
from .task import Task

OFF_TABLE = 0.4
"""m from the middle of the table: the object is lost and the episode terminates."""
BELOW_TABLE = -0.05
"""m: likewise for the object's height."""


class GraspTask(Task):
    """Grasp the object that stands on the table, and lift it."""

    name, config_class = "grasp", GraspConfig
    reset_kinds = tuple(RESETS)
    """Names of what `log["reset_kind"]` counts."""

    def __init__(
        self, config: GraspConfig | CarryConfig, engine: Engine, observe: Collection[str], world_offset: int = 0
    ) -> None:
        """Arguments and errors as for `Task`."""
        super().__init__(config, engine, observe, world_offset)
        self._rewards, self._closing = config.rewards, self._controller.space.closing
        self._bank = PostureBank(engine.scene.robot, engine.model, self.device, config.postures)
        self._centre = torch.tensor(CENTRE, device=self.device)
        self._judged: tuple[BodyState, GraspSituation] | None = None
        """Reward and outcome of a step look at the same."""

    def begin(self, draws: Draws, kind: Tensor, params: WorldParams) -> tuple[Tensor, Tensor, Tensor]:
        objects = self.engine.scene.objects
        return self._bank.draw(draws, kind, objects.resting_height(params), objects.resting_turn(params))

    def reward(self, body: BodyState) -> tuple[Tensor, dict[str, Tensor]]:
        return grasp_reward(self._situation(body), self._rewards)

    def lost(self, body: BodyState) -> Tensor:
        away = body.object_pos[:, :2] - self._centre
        return (away.abs() > OFF_TABLE).any(1) | (body.object_pos[:, 2] < BELOW_TABLE)

    def outcome(self, body: BodyState) -> dict[str, Tensor]:
        situation = self._situation(body)
        return {
            "success": situation.success, "held": situation.held, "lift": situation.lift,
            "grasp_distance": situation.grasp_distance, "touching": body.touch.any(1),
            "palm_height": situation.palm_height,
        }  # fmt: skip

    def _situation(self, body: BodyState) -> GraspSituation:
        if self._judged is None or self._judged[0] is not body:
            self._judged = body, self.judge(body)
        return self._judged[1]

    def judge(self, body: BodyState) -> GraspSituation:
        """What the reward's terms look at."""
        return GraspSituation(**self._facts(body))

    def _facts(self, body: BodyState) -> dict[str, Tensor]:
        return {
            "tip_distance": vector_norm(body.tip_pos - body.object_pos[:, None], dim=-1).mean(1),
            "grasp_distance": vector_norm(body.grasp_pos - body.object_pos, dim=-1),
            "palm_height": body.palm_pos[:, 2],
            "lift": body.object_pos[:, 2] - self.engine.scene.objects.resting_height(self._params),
            "closure": self._controller.synergy[:, : self._closing].clamp_min(0.0).mean(1),
            "held": is_held(body.touch),
            "action": self._action,
        }
