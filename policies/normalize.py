"""`RunningMeanStd`: what has been seen so far, so that a network sees numbers near one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def moments(values: Tensor) -> Tensor:
    """(2 * D + 1,) float64: mean (D,), variance (D,) and number of the rows of values (..., D), laid end to end.

    One flat tensor, so that moments of several learners can be gathered in one message.
    """
    rows = values.reshape(-1, values.shape[-1]).double()
    if not len(rows):
        return rows.new_zeros(2 * values.shape[-1] + 1)
    variance, mean = torch.var_mean(rows, dim=0, correction=0)
    return torch.cat([mean, variance, mean.new_tensor([len(rows)])])


class RunningMeanStd(nn.Module):
    """Mean and variance of every row ever given to `update`, kept as buffers, so they travel with the weights."""

    mean: Tensor
    """(D,) float64: mean of the rows."""
    variance: Tensor
    """(D,) float64: variance of the rows."""
    count: Tensor
    """() float64: rows seen."""

    def __init__(self, size: int, clip: float = 10.0, epsilon: float = 1e-8) -> None:
        """Without data it passes values through.

        Args:
            size: D, the width of a row.
            clip: normalised values are clipped to +-clip standard deviations.
            epsilon: added to the variance, so that a constant entry does not divide by zero.
        """
        super().__init__()
        self.clip, self.epsilon = clip, epsilon
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, values: Tensor) -> Tensor:
        """(..., D) -> (..., D) float32: centred, scaled and clipped."""
        return ((values - self.mean.float()) * self.scale()).clamp(-self.clip, self.clip)

    def scale(self) -> Tensor:
        """(D,) float32: one over the standard deviation."""
        return (self.variance + self.epsilon).rsqrt().float()

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Take in the rows of values (..., D)."""
        self.merge(moments(values))

    @torch.no_grad()
    def merge(self, other: Tensor) -> None:
        """Take in what `moments` returned, weighted by its count (Chan, Golub, LeVeque 1979, eq. 2.1)."""
        mean, variance, count = other[: len(self.mean)], other[len(self.mean) : -1], other[-1]
        if count == 0:
            return
        total = self.count + count
        shift = mean - self.mean
        between = shift.square() * (self.count * count / total)
        self.variance.copy_((self.variance * self.count + variance * count + between) / total)
        self.mean.add_(shift * (count / total))
        self.count.copy_(total)
