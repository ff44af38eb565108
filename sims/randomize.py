"""Counter-based random draws, and the per-world parameters that they randomise.

A draw is a function of (seed, global world index, episode, name): it does not depend on how worlds are spread over
workers, nor on what else was drawn. The mixing function is splitmix64's finaliser (Steele et al. 2014, fig. 16).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

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


@cache
def _counters(sizes: tuple[tuple[str, int], ...], device: torch.device) -> Tensor:
    """(sum of sizes,) int64: where in the sequence of random bits each name's numbers stand."""
    counters = [torch.arange(1, size + 1) + (zlib.crc32(name.encode()) << 20) for name, size in sizes]
    return (torch.cat(counters) * _GOLDEN).to(device)


class Draws:
    """Random numbers for N worlds at their current episodes."""

    def __init__(self, seed: int, world: Tensor, episode: Tensor) -> None:
        """world, episode: (N,) int64; `world` is the index over all workers."""
        key = torch.full_like(world, (seed * 2 + 1) % (1 << 62))
        self._key = _mix(_mix(_mix(key + _GOLDEN) + world * _MIX_A) + episode * _MIX_B)

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
        return (self.uniform(name, 1)[:, 0] * count).long().clamp_(max=count - 1)

    def choice(self, name: str, probabilities: Tensor) -> Tensor:
        """(N,) int64: index drawn with the given probabilities (K,), which sum to 1."""
        edges = torch.cumsum(probabilities, 0)[:-1]
        return (self.uniform(name, 1) >= edges[None]).sum(1)


@dataclass(frozen=True)
class Randomization:
    """Ranges from which every episode draws its world. Equal ends switch a draw off."""

    mass: tuple[float, float] = (0.08, 0.2)
    """Object mass, kg."""
    radius: tuple[float, float] = (0.025, 0.04)
    """Object half width, m."""
    half_height: tuple[float, float] = (0.03, 0.05)
    """Object half height, m."""
    friction: tuple[float, float] = (0.8, 1.2)
    """Factor on the object's sliding friction (1.0)."""
    arm_gain: tuple[float, float] = (0.9, 1.1)
    """Factor on kp and kv of the arm servos."""
    hand_gain: tuple[float, float] = (0.8, 1.2)
    """Factor on kp and kv of the finger servos."""
    light_tilt: float = 0.5
    """Most the lamp's direction leans, as a fraction of its vertical part."""
    light_strength: tuple[float, float] = (0.4, 0.9)
    """Diffuse intensity of the lamp, 0..1."""
    camera_shift: float = 0.003
    """Largest mounting error of the camera pair, m along each axis."""
    camera_turn: float = 0.015
    """Largest mounting error of the camera pair, rad about each axis."""
    baseline: float = 0.0
    """Largest error of the distance between the eyes, m; observed as "calibration", like all that follows."""
    eye_turn: float = 0.0
    """Largest error of each eye's own direction, rad about each axis: what is left after rectification."""
    depth_noise: float = 0.003
    """Standard deviation of depth noise at 1 m, m; grows with the square of depth, as stereo matching does."""
    pixel_noise: float = 3.0
    """Standard deviation of RGB noise, grey levels of 255."""
    textures: bool = True
    """Whether each world's table has its own texture and colour, else one plain grey."""


@dataclass
class WorldParams:
    """What the draws of one episode decide about each world. All (N, ...) float32 unless said."""

    kind: Tensor
    """(N,) int64: kind of object."""
    size: Tensor
    """(N, 3): half extents of the object's bounding box, m."""
    geom_size: Tensor
    """(N, G, 3): sizes of the object's geoms, MuJoCo's convention, m."""
    geom_pos: Tensor
    """(N, G, 3): their places in the object's frame, m."""
    mass: Tensor
    """(N,) kg."""
    com: Tensor
    """(N, 3): centre of mass in the object's frame, m."""
    inertia: Tensor
    """(N, 3): principal moments about the centre of mass along the object's axes, kg m^2."""
    friction: Tensor
    """(N,) sliding friction of the object."""
    arm_gain: Tensor
    """(N,) factor on arm kp and kv."""
    hand_gain: Tensor
    """(N,) factor on finger kp and kv."""
    object_rgb: Tensor
    """(N, 3) 0..1."""
    table_rgb: Tensor
    """(N, 3) 0..1."""
    table_texture: Tensor
    """(N,) int64."""
    light_dir: Tensor
    """(N, 3) unit vector, world frame."""
    light_diffuse: Tensor
    """(N,) 0..1."""
    camera_shift: Tensor
    """(N, 3) m, the pair moves as one."""
    camera_turn: Tensor
    """(N, 3) rad, small rotation vector of the pair in the camera frame."""
    eye_shift: Tensor
    """(N, 2, 3) m in the mount's frame, of each eye beside the pair's."""
    eye_turn: Tensor
    """(N, 2, 3) rad, small rotation vector of each eye in its own frame, after the pair's."""
