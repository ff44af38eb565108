"""From the name of an object set to the set."""

from __future__ import annotations

from ... import plugins
from .folder import read_set
from .object_set import ObjectSet
from .primitives import PRIMITIVES


def object_set(name: str) -> ObjectSet:
    """The set that a configuration names.

    Raises:
        HandsightError: no set of ours or of a plugin has this name, and none was imported under it; lists those
            that were.
    """
    match name:
        case "primitives":
            return PRIMITIVES
        case "procedural":
            from .procedural import procedural  # its shapes are computed

            return procedural()
        case _:
            return plugins.find("objects", name) or read_set(name)
