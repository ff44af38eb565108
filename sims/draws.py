"""Counter-based random draws, and the per-world parameters that they randomise.

A draw is a function of (seed, global world index, episode, name): it does not depend on how worlds are spread over
workers, nor on what else was drawn. The mixing function is splitmix64's finaliser (Steele et al. 2014, fig. 16).
"""

from __future__ import annotations

import zlib
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

_GOLDEN, _MIX_A, _MIX_B = (c - (1 << 64) if c >> 63 else c for c in (
    0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB,
))  # fmt: skip


GRAIN = 1 << 20
"""Windows in the table of normal numbers."""


@cache
def _grain(size: int, device: torch.device) -> Tensor:
    """(GRAIN + size - 1,) normal numbers, the same on every machine."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(GRAIN + size - 1, dtype=np.float32)).to(device)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 (torch's is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_A
    x = (x ^ _shift_right(x, 27)) * _MIX_B
    return x ^ _shift_right(x, 31)


@lru_cache
def _begin(seed: int) -> int:
    """64 random bits of a seed, as an int64."""
    return int(_mix(torch.tensor((seed * 2 + 1) % (1 << 62)) + _GOLDEN))


@cache
def _counters(sizes: tuple[tuple[str, int], ...], device: torch.device) -> Tensor:
    """(sum of sizes,) int64: where in the sequence of random bits each name's numbers stand."""
    counters = [torch.arange(1, size + 1) + (zlib.crc32(name.encode()) << 20) for name, size in sizes]
    return (torch.cat(counters) * _GOLDEN).to(device)


class Draws:
    """Random numbers for N environments at their current episodes."""

    def __init__(self, seed: int, world: Tensor, episode: Tensor) -> None:
        """world, episode: (N,) int64; `world` is the index over all workers."""
        self._key = _mix(_mix(_begin(seed) + world * _MIX_A) + episode * _MIX_B)

    def _bits(self, sizes: tuple[tuple[str, int], ...]) -> Tensor:
        """(N, sum of sizes) int64, 64 random bits each."""
        return _mix(self._key[:, None] + _counters(sizes, self._key.device))

    def unit(self, **sizes: int) -> dict[str, Tensor]:
        """(N, size) float32 in [0, 1) for every name: all in one go, the numbers that each would get alone."""
        unit = _shift_right(self._bits(tuple(sizes.items())), 40).to(torch.float32) * 2.0**-24
        return dict(zip(sizes, unit.split(list(sizes.values()), 1), strict=True))

    def uniform(self, name: str, size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(N, size) float32 in [low, high)."""
        return low + (high - low) * self.unit(**{name: size})[name]

    def gaussian(self, name: str, size: int) -> Tensor:
        """(N, size) float32 with mean 0 and variance 1: a window of one fixed table that begins at a random place, so
        that the grain of an image costs one copy."""
        begin = self.integer(name, GRAIN)
        return _grain(size, self._key.device).unfold(0, size, 1).index_select(0, begin)

    def integer(self, name: str, count: int) -> Tensor:
        """(N,) int64 in 0..count-1."""
        return (self.unit(**{name: 1})[name][:, 0] * count).long().clamp_(max=count - 1)

    def choice(self, name: str, probabilities: Tensor) -> Tensor:
        """(N,) int64: index drawn with the given probabilities (K,), which sum to 1."""
        edges = torch.cumsum(probabilities, 0)[:-1]
        return (self.unit(**{name: 1})[name] >= edges).sum(1)
