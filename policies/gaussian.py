"""The Gaussian over actions: head, log-probability, divergence and entropy."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HandsightError

LOG_TWO_PI = math.log(2 * math.pi)


class GaussianHead(nn.Module):
    """Mean from features, and one learned standard deviation per action: the same in every state, or told from the
    features where `predicted`."""

    def __init__(
        self,
        features: int,
        actions: int,
        initial_std: float,
        min_std: float,
        max_std: float,
        predicted: bool = False,
    ) -> None:
        """predicted: how unsure the policy is depends on what it sees. Its gradient ends at the features, so that they
        stay those of the mean.

        Raises:
            HandsightError: bounds of the standard deviation that contradict each other.
        """
        super().__init__()
        if not 0 < min_std <= initial_std <= max_std:
            raise HandsightError(
                f"GaussianHead: expected 0 < min_std <= initial_std <= max_std, "
                f"found min_std={min_std}, initial_std={initial_std}, max_std={max_std}"
            )
        self.mean = nn.Linear(features, actions)
        self.log_std = nn.Parameter(torch.full((actions,), math.log(initial_std)))
        self.min_std, self.max_std = min_std, max_std
        if predicted:
            spread: Any = nn.utils.skip_init(nn.Linear, features, actions, bias=False)  # no draw: the mean's stay
            nn.init.zeros_(spread.weight)
            self.spread = spread

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (..., F) -> mean (..., A), std (..., A), float32 also under autocast."""
        mean = self.mean(features).float()
        if not hasattr(self, "spread"):
            return mean, self.std().expand_as(mean)
        log_std = self.log_std + self.spread(features.detach()).float()
        low, high = math.log(self.min_std), math.log(self.max_std)
        # Bounded in value but not in gradient: where a clamp holds the value, the gradient still leads it back.
        return mean, (log_std + (log_std.clamp(low, high) - log_std).detach()).exp()

    def std(self) -> Tensor:
        """(A,) float32 standard deviation; where it is predicted, that of features which are zero."""
        return self.log_std.exp()

    @torch.no_grad()
    def clip_std(self) -> None:
        """Bring the standard deviation back within its bounds. Called after each optimiser step: a clamp in `forward`
        would end the gradient at the bound and hold the value there for ever."""
        self.log_std.clamp_(math.log(self.min_std), math.log(self.max_std))


def log_prob(mean: Tensor, std: Tensor, action: Tensor) -> Tensor:
    """(...) log density of action (..., A) under a diagonal Gaussian."""
    return -(0.5 * ((action - mean) / std).square() + std.log() + 0.5 * LOG_TWO_PI).sum(-1)


def kl_divergence(mean: Tensor, std: Tensor, new_mean: Tensor, new_std: Tensor) -> Tensor:
    """(...) KL(old || new) of two diagonal Gaussians, in nats."""
    spread = (std.square() + (mean - new_mean).square()) / (2 * new_std.square())
    return (new_std.log() - std.log() + spread - 0.5).sum(-1)


def entropy(std: Tensor) -> Tensor:
    """(...) entropy of a diagonal Gaussian, in nats."""
    return (std.log() + 0.5 * (1 + LOG_TWO_PI)).sum(-1)
