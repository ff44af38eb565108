"""Simulator processes that are ready before they are needed: started, everything imported, no worlds yet.

A process takes ten seconds to import what a simulator needs, and a fraction of one to build worlds. So a failed
simulator is followed by one from here, and those that one `RemoteVecEnv` is done with are taken up by the next.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .placement import Slot
from .simulator import Maker, Simulator

_ready: dict[bool, list[Any]] = {False: [], True: []}
"""On this machine, without and with Ray Direct Transport; what Ray places by resources is always started anew."""
RELEASE_TIMEOUT = 2.0
"""s: a simulator that takes longer to drop its worlds is not worth keeping."""


def take(slot: Slot, direct: bool) -> Any:
    """A simulator's actor. direct: it is able to hand tensors from device to device."""
    return _ready[direct].pop(0) if _ready[direct] and not slot.resources else _launch(slot, direct)


def prepare(count: int, maker: Maker, direct: bool) -> None:
    """See to it that `count` are ready, or will be soon; `maker` shows them what to import."""
    while len(_ready[direct]) < count:
        actor = _launch(Slot("cpu"), direct)
        actor.warm_up.remote(maker)
        _ready[direct].append(actor)


def wait_until_ready(timeout: float) -> None:
    """Until all that `prepare` started have imported what they need, or `timeout` seconds are over."""
    import ray

    waiting = [actor.release.remote() for actors in _ready.values() for actor in actors]
    ray.wait(waiting, num_returns=len(waiting), timeout=timeout) if waiting else None


def give_back(slot: Slot, direct: bool, actor: Any) -> None:
    """Keep a simulator that is not needed any more for whoever is next."""
    import ray

    try:
        ray.get(actor.release.remote(), timeout=RELEASE_TIMEOUT)
    except Exception:  # dead or deaf
        dismiss(actor)
    else:
        dismiss(actor) if slot.resources else _ready[direct].append(actor)


def dismiss(actor: Any) -> None:
    """End a simulator's process."""
    import ray

    with suppress(Exception):  # it may be dead already, and Ray says so in many ways
        ray.kill(actor, no_restart=True)


def forget() -> None:
    """Their Ray has stopped."""
    for actors in _ready.values():
        actors.clear()


def _launch(slot: Slot, direct: bool) -> Any:
    import ray

    resources = dict(slot.resources)  # a device of this machine is chosen by its name and reserves nothing
    options: dict[str, Any] = {"num_cpus": resources.pop("CPU", 0), "num_gpus": resources.pop("GPU", 0)}
    options |= {"resources": resources, "max_restarts": 0, "enable_tensor_transport": direct}
    return ray.remote(**options)(Simulator).remote()
