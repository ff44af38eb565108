"""From the name of an object set to the set."""

from __future__ import annotations

from .folder import read_set
from .object_set import ObjectSet
from .primitives import PRIMITIVES


def object_set(name: str) -> ObjectSet:
    """The set that a configuration names.

    Raises:
        HandsightError: no set of ours has this name, and none was imported under it; lists those that there are.
    """
    match name:
        case "primitives":
            return PRIMITIVES
        case "procedural":
            from .procedural import procedural  # its shapes are computed

            return procedural()
        case _:
            return read_set(name)
