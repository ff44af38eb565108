"""What is not finite is not learnt from, and a learner that meets nothing else stops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import HandsightError

MOST_SKIPPED = 10
"""Gradient steps in a row without a finite gradient, with which a training stops."""


class NotFiniteError(HandsightError):
    """A learner that came to NaN or infinite numbers and does not come back from them."""


def finite_rows(arrays: Iterable[Any]) -> Tensor:
    """(N,) bool: all numbers of a row are finite, in every array (N, ...) of floats."""
    return torch.stack([x.isfinite().reshape(len(x), -1).all(1) for x in arrays if x.is_floating_point()]).all(0)


def check_finite(who: str, answers: Iterable[Tensor]) -> None:
    """Whether what a policy answers is finite. Raises NotFiniteError, with who it is."""
    if not all(bool(answer.isfinite().all()) for answer in answers):
        raise NotFiniteError(f"{who}: expected finite actions, found NaN or infinite ones")


def finite(array: Any) -> Tensor:
    """The array with zeros where it is NaN or infinite."""
    return torch.nan_to_num(array, 0.0, 0.0, 0.0) if array.is_floating_point() else array


class FiniteSteps:
    """Decides about each gradient step of a learner, and counts those that were skipped."""

    def __init__(self) -> None:
        self.skipped = self.in_a_row = 0

    def may(self, norm: Tensor, rows: Tensor) -> bool:
        """Whether a step may be made by a gradient of this norm, which comes from so many rows. Raises NotFiniteError:
        the tenth in a row may not."""
        if bool((norm / rows).isfinite()):
            self.in_a_row = 0
            return True
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self.in_a_row >= MOST_SKIPPED:
            raise NotFiniteError(
                f"{self.in_a_row} gradient steps in a row had a gradient that is NaN or infinite, or no rows to "
                "learn from: expected finite rewards, observations and losses; a smaller learning rate may help"
            )
        return False

    def taken(self) -> float:
        """How many were skipped since the last call."""
        skipped, self.skipped = self.skipped, 0
        return float(skipped)
