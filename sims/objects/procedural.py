"""`procedural`: 200 things of our own making, 160 to train on and 40 held out, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.random import Generator

from .object_set import ObjectSet
from .solids import Array, Solid

TRAIN, HELD_OUT = 160, 40
"""How many things trainings meet, and how many they never do."""
WIDTH, HEIGHT = (0.024, 0.038), (0.028, 0.048)
"""m: ranges of half width and half height: what the hand can close around whichever way it lies."""
ROUND = 12
"""Sides of what stands for a circle."""
Shape = Callable[[Generator, float, float], list[Array]]
"""(random numbers, half width m, half height m) -> vertices (V, 3) of the convex pieces, m, z up."""


def _slices(*rings: tuple[float, float], sides: int = ROUND, squash: float = 1.0) -> Array:
    """Regular polygons on top of each other, a flat side toward x: (z, radius) of each, m; squash: of their y axis."""
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    circle = np.stack([np.cos(angle), squash * np.sin(angle)], 1)
    return np.concatenate([np.column_stack([r * circle, np.full(sides, z)]) for z, r in rings])


def _block(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Array:
    return np.array([[a, b, c] for a in x for b in y for c in z])


def _superquadric(rng: Generator, r: float, h: float) -> list[Array]:
    """From a ball to nearly a box: |x|^(2/e) and so on (Barr 1981), on five circles of latitude and the poles."""
    e1, e2 = rng.uniform(0.3, 1.0, 2)
    power = lambda value, e: np.sign(value) * np.abs(value) ** e  # noqa: E731
    up, round_ = np.linspace(-np.pi / 3, np.pi / 3, 5)[:, None], np.linspace(0, 2 * np.pi, 6, endpoint=False)
    x, y = (power(np.cos(up), e1) * power(f(round_ + np.pi / 6), e2) for f in (np.cos, np.sin))
    z = np.broadcast_to(power(np.sin(up), e1), x.shape)
    points = np.stack([x, y * rng.uniform(0.75, 1.0), z], -1).reshape(-1, 3)
    return [np.concatenate([points, [[0, 0, 1], [0, 0, -1]]]) * [r, r, h]]


def _prism(rng: Generator, r: float, h: float) -> list[Array]:
    return [_slices((-h, r), (h, r), sides=int(rng.integers(3, 9)), squash=rng.uniform(0.75, 1.0))]


def _frustum(rng: Generator, r: float, h: float) -> list[Array]:
    return [_slices((-h, r), (h, r * rng.uniform(0.45, 0.8)), sides=int(rng.integers(4, ROUND + 1)))]


def _board(rng: Generator, r: float, h: float) -> list[Array]:
    y = rng.uniform(0.6, 1.0) * r
    return [_block((-r, r), (-y, y), (-h, h))]


def _wedge(rng: Generator, r: float, h: float) -> list[Array]:
    top = rng.uniform(-0.2, 0.5) * r
    return [np.concatenate([_block((-r, r), (-r, r), (-h, -h)), _block((-r, top), (-r, r), (h, h))])]


def _pebble(rng: Generator, r: float, h: float) -> list[Array]:
    ways = rng.standard_normal((24, 3))
    return [ways / np.linalg.norm(ways, axis=1, keepdims=True) * [r, 0.9 * r, h]]


def _ell(rng: Generator, r: float, h: float) -> list[Array]:
    thick, deep = rng.uniform(0.8, 1.1) * r, rng.uniform(0.6, 0.9) * r
    return [
        _block((-r, r), (-deep, deep), (-h, -h + thick)),
        _block((-r, -r + thick), (-deep, deep), (-h + thick, h)),
    ]


def _tee(rng: Generator, r: float, h: float) -> list[Array]:
    thick, stem, deep = rng.uniform(0.7, 1.0) * r, rng.uniform(0.4, 0.6) * r, rng.uniform(0.6, 0.9) * r
    return [
        _block((-1.2 * r, 1.2 * r), (-deep, deep), (h - thick, h)),
        _block((-stem, stem), (-deep, deep), (-h, h - thick)),
    ]


def _yoke(rng: Generator, r: float, h: float) -> list[Array]:
    """A U on its back or its feet."""
    thick, arm, deep = rng.uniform(0.6, 0.9) * r, rng.uniform(0.45, 0.6) * r, rng.uniform(0.6, 0.9) * r
    legs = [_block(x, (-deep, deep), (-h + thick, h)) for x in ((-1.1 * r, -1.1 * r + arm), (1.1 * r - arm, 1.1 * r))]
    return [_block((-1.1 * r, 1.1 * r), (-deep, deep), (-h, -h + thick)), *legs]


def _cross(rng: Generator, r: float, h: float) -> list[Array]:
    x, y = rng.uniform(0.4, 0.6, 2) * r
    arms = [_block((-x, x), ends, (-h, h)) for ends in ((-r, -y), (y, r))]
    return [_block((-r, r), (-y, y), (-h, h)), *arms]


def _bottle(rng: Generator, r: float, h: float) -> list[Array]:
    shoulder, neck = rng.uniform(0.0, 0.4) * h, rng.uniform(0.35, 0.6) * r
    wide, belly = rng.uniform(0.75, 0.95) * r, rng.uniform(0.6, 0.85) * (shoulder + h) - h
    body = _slices((-h, wide), (belly, wide), (shoulder, neck), sides=10)
    return [body, _slices((shoulder, neck), (1.1 * h, neck), sides=10)]


def _mug(rng: Generator, r: float, h: float) -> list[Array]:
    """A polygon with a solid handle on its flat side."""
    wide, tall, deep = rng.uniform(0.75, 0.9) * r, rng.uniform(0.45, 0.7) * h, 0.2 * r
    side = wide * np.cos(np.pi / ROUND)
    handle = _block((side, side + rng.uniform(0.35, 0.55) * r), (-deep, deep), (-tall, tall))
    return [_slices((-h, wide), (h, wide)), handle]


def _hourglass(rng: Generator, r: float, h: float) -> list[Array]:
    waist, middle = rng.uniform(0.55, 0.75) * r, rng.uniform(-0.25, 0.25) * h
    return [_slices((-h, r), (middle, waist)), _slices((middle, waist), (h, rng.uniform(0.8, 1.0) * r))]


def _dumbbell(rng: Generator, r: float, h: float) -> list[Array]:
    bar, end = rng.uniform(0.5, 0.65) * r, rng.uniform(0.3, 0.45) * h
    sides = int(rng.integers(6, ROUND + 1))
    stack = ((-h, -h + end, r), (-h + end, h - end, bar), (h - end, h, r))
    return [_slices((low, wide), (high, wide), sides=sides) for low, high, wide in stack]


def _stairs(rng: Generator, r: float, h: float) -> list[Array]:
    half, deep = rng.uniform(-0.1, 0.3) * h, rng.uniform(0.6, 0.9) * r
    return [
        _block((-r, r), (-deep, deep), (-h, half)),
        _block((-r, rng.uniform(-0.1, 0.3) * r), (-deep, deep), (half, h)),
    ]


SHAPES: dict[str, Shape] = {
    "superquadric": _superquadric, "prism": _prism, "frustum": _frustum, "board": _board, "wedge": _wedge,
    "pebble": _pebble, "ell": _ell, "tee": _tee, "yoke": _yoke, "cross": _cross, "bottle": _bottle, "mug": _mug,
    "hourglass": _hourglass, "dumbbell": _dumbbell, "stairs": _stairs,
}  # fmt: skip
"""Families of shapes, drawn in turn."""


def solids(count: int, seed: int, held_out: bool) -> tuple[Solid, ...]:
    """`count` things, family by family; their names tell the split, so that no name is in both.

    Args:
        count: how many.
        seed: of the generator that draws their measures.
        held_out: what the things say of themselves.
    """
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        family = list(SHAPES)[number % len(SHAPES)]
        pieces = SHAPES[family](rng, rng.uniform(*WIDTH), rng.uniform(*HEIGHT))
        name = f"{family}_{'held_out_' if held_out else ''}{number // len(SHAPES)}"
        found.append(Solid.of(name, pieces, held_out))
    return tuple(found)


@cache
def procedural() -> ObjectSet:
    """The set: seed 0 trains, seed 1 is held out."""
    return ObjectSet.of_solids("procedural", solids(TRAIN, 0, False) + solids(HELD_OUT, 1, True))
