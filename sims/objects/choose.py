"""From the name of an object set to the set: one of ours, or a folder as `handsight objects import` leaves it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ... import plugins
from ...errors import HandsightError
from ...files import read_arrays, read_json
from ..assets import OBJECTS, find
from .object_set import ObjectSet
from .primitives import PRIMITIVES
from .solids import Solid, SolidError

SHAPES = "pieces.npz"
"""File of a set beside `OBJECTS`, which says what its objects are called, weigh and come from: their vertices."""


def object_set(name: str) -> ObjectSet:
    """The set that a configuration names.

    Raises:
        HandsightError: no set of ours or of a plugin has this name, and none was imported under it, or its files are
            damaged.
    """
    match name:
        case "primitives":
            return PRIMITIVES
        case "procedural":
            from .procedural import procedural  # its shapes are computed

            return procedural()
        case _:
            return plugins.find("objects", name) or _read(find("objects", name).resolve())


@cache
def _read(folder: Path) -> ObjectSet:
    missing = [name for name in (OBJECTS, SHAPES) if not (folder / name).is_file()]
    if missing:
        raise HandsightError(
            f"{folder} is no object set: expected {' and '.join(missing)}; `handsight objects import SRC {folder}` "
            "makes one"
        )
    facts, arrays = read_json(folder / OBJECTS), read_arrays(folder / SHAPES)
    try:
        solids = [_solid(one, arrays) for one in facts["objects"]]
    except (KeyError, TypeError, SolidError) as error:
        raise HandsightError(f"{folder / OBJECTS} does not fit {SHAPES}: {error}") from error
    return ObjectSet.of_solids(folder.name, solids)


def _solid(facts: dict[str, Any], arrays: dict[str, Any]) -> Solid:
    pieces = [arrays[f"{facts['name']}/{number}"] for number in range(facts["pieces"])]
    return Solid.of(facts["name"], pieces, facts["split"] == "held_out", facts["mass"])
