"""Generalised advantage estimation with the three flags of a `Step`."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_gae(
    reward: Tensor,
    value: Tensor,
    last_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and returns (Schulman et al. 2016, eq. 16), cut where an episode ends and where a row is invalid.

    Row t went from observation t to observation t + 1. Under NEXT_STEP autoreset observation t + 1 of a truncated row
    is the last real one of its episode, so `value[t + 1]` is what a time-out bootstraps from.

    Args:
        reward: (T, N).
        value: (T, N) value of observation t, with the memory that the policy had there.
        last_value: (N,) value of the observation after the last row.
        terminated: (T, N) bool: no future, so no bootstrap.
        truncated: (T, N) bool: bootstrapped, then cut.
        valid: (T, N) bool: an invalid row has advantage 0, and none flows through it.
        gamma: discount per step.
        lam: weight of longer horizons.

    Returns:
        advantage (T, N) and return (T, N); in an invalid row 0 and its own value.
    """
    next_value = torch.cat([value[1:], last_value[None]])
    delta = reward + gamma * next_value.masked_fill(terminated, 0.0) - value
    delta = delta.masked_fill(~valid, 0.0)
    carries = (valid & ~(terminated | truncated)).to(value.dtype) * (gamma * lam)
    advantage = torch.zeros_like(value)
    running = torch.zeros_like(last_value)
    for t in reversed(range(len(reward))):
        running = delta[t] + carries[t] * running
        advantage[t] = running
    return advantage, advantage + value
