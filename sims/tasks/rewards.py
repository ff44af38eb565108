"""The reward of grasping and lifting, one named term per function. Every term is (N,), before its weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..env_config import RewardWeights


@dataclass
class GraspSituation:
    """What the terms look at, all (N,) float32 unless said."""

    tip_distance: Tensor
    """Mean distance of the fingertips to the object's middle, m."""
    grasp_distance: Tensor
    """Distance of the grasp site to the object's middle, m."""
    palm_height: Tensor
    """Height of the palm above the table, m."""
    lift: Tensor
    """How far the object's middle has risen above its standing height, m."""
    closure: Tensor
    """Mean closing of fingers and thumb, 0..1."""
    held: Tensor
    """(N,) bool: at least two digits touch the object."""
    action: Tensor
    """(N, A) in [-1, 1]: what the policy asked for."""

    @cached_property
    def grip(self) -> Tensor:
        """Closing, as far as the object is near: wholly within 4 cm of the grasp site, not at all beyond 8 cm."""
        return self.closure * ((0.08 - self.grasp_distance) / 0.04).clamp(0.0, 1.0)

    @cached_property
    def success(self) -> Tensor:
        """(N,) bool: lifted and held by finger contacts."""
        return (self.lift > SUCCESS_LIFT) & self.held


SUCCESS_LIFT = 0.10
"""m: an object counts as lifted above this."""


def is_held(touch: Tensor) -> Tensor:
    """(N,) bool: at least two digits touch the object. touch (N, D + 1) bool: the digits, palm last."""
    return touch[:, :-1].sum(1) >= 2


def reach(s: GraspSituation) -> Tensor:
    """exp(-10 (d - 3.5 cm)+) of the mean fingertip distance."""
    return torch.exp(-10.0 * (s.tip_distance - 0.035).clamp_min(0.0))


def approach(s: GraspSituation) -> Tensor:
    """exp(-8 (d - 4 cm)+) of the grasp site's distance."""
    return torch.exp(-8.0 * (s.grasp_distance - 0.04).clamp_min(0.0))


def close(s: GraspSituation) -> Tensor:
    """Closing of the hand where the object is near."""
    return s.grip


def raise_hand(s: GraspSituation) -> Tensor:
    """Palm height up to 15 cm, while closed and near."""
    return s.grip * ((s.palm_height - 0.03) / 0.12).clamp(0.0, 1.0)


def lift(s: GraspSituation) -> Tensor:
    """Height of the object up to 12 cm, while it stays within 12 cm of the grasp site."""
    return (s.lift / 0.12).clamp(0.0, 1.0) * (s.grasp_distance < 0.12)


def success(s: GraspSituation) -> Tensor:
    """1 while the episode counts as solved."""
    return s.success.float()


def effort(s: GraspSituation) -> Tensor:
    """Squared norm of the action."""
    return (s.action**2).sum(1)


TERMS = {f.__name__: f for f in (reach, approach, close, raise_hand, lift, success, effort)}


def grasp_reward(
    s: GraspSituation, weights: RewardWeights, terms: Mapping[str, Callable[[Any], Tensor]] = TERMS
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of the weighted terms (N,), and each of them by name."""
    weighted = {name: weights.scale * getattr(weights, name) * term(s) for name, term in terms.items()}
    total = torch.zeros_like(s.lift)
    for term in weighted.values():  # one after the other: a sum over a stack rounds by their number
        total = total + term
    return total, weighted
