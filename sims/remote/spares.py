"""Simulator processes that are ready before they are needed: started, everything imported, no worlds yet.

A process takes ten seconds to import what a simulator needs, and a fraction of one to build worlds. So a failed
simulator is followed by one from here, and those that one `RemoteVecEnv` is done with are taken up by the next.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from typing import Any, NamedTuple

from ..env_config import OBJECT_STORE
from .placement import Slot
from .simulator import Maker, Simulator


class Spare(NamedTuple):
    """A process that waits to be needed: its actor, Ray's reference to the end of its imports, and when it began."""

    actor: Any
    warm: Any
    since: float


_ready: defaultdict[str, list[Spare]] = defaultdict(list)
"""On this machine, by transport; what Ray places by resources is always started anew."""
_given_up: list[Spare] = []
RELEASE_TIMEOUT = 2.0
"""s: a simulator that takes longer to drop its worlds is not worth keeping."""
WARM_UP_TIMEOUT = 120.0
"""s: a process that imports for longer hangs; ten are usual, and 55 were seen on a busy machine."""


def take(slot: Slot, transport: str) -> Any:
    """A simulator's actor, whose observations are to travel by `transport`: a spare one if it answers now, else a new
    one. Nobody waits for a spare that still imports, hangs or is dead."""
    for spare in [] if slot.resources else [one for one in _ready[transport] if _is_warm(one)]:
        if _answers(spare.actor):
            _ready[transport].remove(spare)
            return spare.actor
        _give_up(spare, transport)
    return _launch(slot, transport)


def prepare(count: int, maker: Maker, transport: str) -> None:
    """See to it that `count` are ready, or will be soon, one that hangs at that counting as none; `maker` shows them
    what to import."""
    now = time.monotonic()
    for spare in [one for one in _ready[transport] if now - one.since > WARM_UP_TIMEOUT and not _is_warm(one)]:
        _give_up(spare, transport)
    while len(_ready[transport]) < count:
        actor = _launch(Slot("cpu"), transport)
        _ready[transport].append(Spare(actor, actor.warm_up.remote(maker), time.monotonic()))


def given_up() -> int:
    """How many spares hung or were dead since this was last asked; others took their places."""
    count = len(_given_up)
    _given_up.clear()
    return count


def _give_up(spare: Spare, transport: str) -> None:
    _ready[transport].remove(spare)
    _given_up.append(spare)
    dismiss(spare.actor)


def wait_until_ready(timeout: float) -> None:
    """Until all that `prepare` started have imported what they need, or `timeout` seconds are over."""
    import ray

    waiting = [spare.warm for pool in _ready.values() for spare in pool]
    ray.wait(waiting, num_returns=len(waiting), timeout=timeout) if waiting else None


def give_back(slot: Slot, transport: str, actor: Any) -> None:
    """Keep a simulator that is not needed any more for whoever is next."""
    keep = _answers(actor) and not slot.resources
    _ready[transport].append(Spare(actor, actor.release.remote(), time.monotonic())) if keep else dismiss(actor)


def _is_warm(spare: Spare) -> bool:
    import ray

    return bool(ray.wait([spare.warm], timeout=0)[0])


def _answers(actor: Any) -> bool:
    """Whether a simulator's process drops its worlds when it is asked to."""
    import ray

    try:
        ray.get(actor.release.remote(), timeout=RELEASE_TIMEOUT)
    except Exception:  # dead or deaf
        return False
    return True


def dismiss(actor: Any) -> None:
    """End a simulator's process."""
    import ray

    with suppress(Exception):  # it may be dead already, and Ray says so in many ways
        ray.kill(actor, no_restart=True)


def forget() -> None:
    """Their Ray has stopped."""
    _ready.clear()


def _launch(slot: Slot, transport: str) -> Any:
    import ray

    resources = dict(slot.resources)  # a device of this machine is chosen by its name and reserves nothing
    options: dict[str, Any] = {"num_cpus": resources.pop("CPU", 0), "num_gpus": resources.pop("GPU", 0)}
    options |= {"resources": resources, "max_restarts": 0, "enable_tensor_transport": transport != OBJECT_STORE}
    return ray.remote(**options)(Simulator).remote()
