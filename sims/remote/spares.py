"""Simulator processes that are ready before they are needed: started, everything imported, no worlds yet.

A process takes ten seconds to import what a simulator needs, and a fraction of one to build worlds. So a failed
simulator is followed by one from here, and those that one `RemoteVecEnv` is done with are taken up by the next.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import Any

from ..env_config import OBJECT_STORE
from .placement import Slot
from .simulator import Maker, Simulator

_ready: defaultdict[str, list[Any]] = defaultdict(list)
"""On this machine, by transport; what Ray places by resources is always started anew."""
RELEASE_TIMEOUT = 2.0
"""s: a simulator that takes longer to drop its worlds is not worth keeping."""


def take(slot: Slot, transport: str) -> Any:
    """A simulator's actor, whose observations are to travel by `transport`."""
    return _ready[transport].pop(0) if _ready[transport] and not slot.resources else _launch(slot, transport)


def prepare(count: int, maker: Maker, transport: str) -> None:
    """See to it that `count` are ready, or will be soon; `maker` shows them what to import."""
    while len(_ready[transport]) < count:
        actor = _launch(Slot("cpu"), transport)
        actor.warm_up.remote(maker)
        _ready[transport].append(actor)


def wait_until_ready(timeout: float) -> None:
    """Until all that `prepare` started have imported what they need, or `timeout` seconds are over."""
    import ray

    waiting = [actor.release.remote() for actors in _ready.values() for actor in actors]
    ray.wait(waiting, num_returns=len(waiting), timeout=timeout) if waiting else None


def give_back(slot: Slot, transport: str, actor: Any) -> None:
    """Keep a simulator that is not needed any more for whoever is next."""
    import ray

    try:
        ray.get(actor.release.remote(), timeout=RELEASE_TIMEOUT)
    except Exception:  # dead or deaf
        dismiss(actor)
    else:
        dismiss(actor) if slot.resources else _ready[transport].append(actor)


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
