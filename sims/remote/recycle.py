"""`Recycler`: memory for observations that is used again once nobody looks at it any more."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor


class Recycler:
    """Hands out tensors of one shape over memory that was allocated before, and never over one that is still in use.

    On the host a tensor and every view of it hold on to the array under it, so the array's reference count tells
    whether somebody has kept an observation; whoever does costs a new allocation, not a wrong image. On a GPU torch's
    allocator does the same.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        reader: torch.device | str = "cpu",
    ) -> None:
        """reader: where the tensors will be copied to; for a GPU, memory on the host is page-locked."""
        self._shape, self._dtype, self._device = shape, dtype, torch.device(device)
        self._pinned = torch.device(reader).type == "cuda"
        self._arrays: list[np.ndarray] = []
        self._alone = next(sys.getrefcount(array) for array in [np.empty(0)])
        """What the count is of an array that only the list and the loop know."""

    def __len__(self) -> int:
        """Arrays allocated so far on the host."""
        return len(self._arrays)

    def take(self) -> Tensor:
        """A tensor with whatever was in it before."""
        if self._device.type != "cpu":
            return torch.empty(self._shape, dtype=self._dtype, device=self._device)
        for array in self._arrays:
            if sys.getrefcount(array) == self._alone:
                return torch.from_numpy(array)
        self._arrays.append(torch.zeros(self._shape, dtype=self._dtype, pin_memory=self._pinned).numpy())
        return torch.from_numpy(self._arrays[-1])
