"""Where simulators run, in words: `cpu*3`, `cuda:0,cuda:1,cuda:2`, or Ray resources such as `GPU=1+CPU=4*8`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ...errors import HandsightError

DEVICE = re.compile(r"cpu|cuda:\d+")
RESOURCE = re.compile(r"([A-Za-z_][\w.:-]*)=(\d+(?:\.\d+)?)")


class PlacementError(HandsightError):
    """A placement that means nothing; the message says what one looks like."""


@dataclass(frozen=True)
class Slot:
    """Where one simulator runs."""

    device: str
    """As its own process sees it: "cpu", "cuda:0", ..."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What Ray must find and reserve, on whatever node has it; empty: a device of this machine, by its name."""


def parse_placement(spec: str) -> list[Slot]:
    """One slot for each simulator.

    Args:
        spec: entries separated by commas, each a device of this machine (`cpu`, `cuda:1`) or what Ray is to reserve on
            any node (`CPU=4`, `GPU=1+CPU=4`: such a simulator sees its GPU as cuda:0), and `*n` for n of them.

    Raises:
        PlacementError: anything else.
    """
    slots: list[Slot] = []
    for entry in spec.replace(" ", "").split(","):
        place, star, count = entry.partition("*")
        if star and not re.fullmatch(r"[1-9]\d*", count):
            raise PlacementError(f"placement {spec!r}: expected a number of simulators after '*', found {count!r}")
        slots += [_slot(place, spec)] * int(count or 1)
    return slots


def _slot(place: str, spec: str) -> Slot:
    if DEVICE.fullmatch(place):
        return Slot(place)
    asked = [RESOURCE.fullmatch(part) for part in place.split("+")]
    if not all(asked):
        raise PlacementError(
            f"placement {spec!r}: expected devices (cpu, cuda:0) or Ray resources (GPU=1+CPU=4), each with *n for n "
            f"simulators, found {place!r}; for example cpu*3 or cuda:0,cuda:1"
        )
    resources = {match[1]: float(match[2]) for match in asked if match}
    return Slot("cuda:0" if resources.get("GPU") else "cpu", resources)


def split_worlds(num_envs: int, slots: int) -> list[slice]:
    """Consecutive shares of the worlds, as even as they can be.

    Raises:
        PlacementError: more simulators than worlds.
    """
    if num_envs < slots:
        raise PlacementError(f"{slots} simulators for {num_envs} worlds: expected at least one world for each")
    edges = [num_envs * i // slots for i in range(slots + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]
