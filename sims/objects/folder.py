"""An imported set of objects: a folder of two files, as `handsight objects import` leaves it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import read_arrays, read_json
from ..assets import find
from .object_set import ObjectSet
from .solids import Solid, SolidError

FACTS, SHAPES = "objects.json", "pieces.npz"
"""Files of a set: what its objects are called, weigh and come from; and their vertices."""


def read_set(name: str) -> ObjectSet:
    """The imported set of this name, in the folders of $HANDSIGHT_ASSETS.

    Raises:
        HandsightError: there is none, or its files are damaged; says which and what.
    """
    return _read(find("objects", name).resolve())


@cache
def _read(folder: Path) -> ObjectSet:
    missing = [name for name in (FACTS, SHAPES) if not (folder / name).is_file()]
    if missing:
        raise HandsightError(
            f"{folder} is no object set: expected {' and '.join(missing)}; `handsight objects import SRC {folder}` "
            "makes one"
        )
    facts, arrays = read_json(folder / FACTS), read_arrays(folder / SHAPES)
    try:
        solids = [_solid(one, arrays) for one in facts["objects"]]
    except (KeyError, TypeError, SolidError) as error:
        raise HandsightError(f"{folder / FACTS} does not fit {SHAPES}: {error}") from error
    return ObjectSet.of_solids(folder.name, solids)


def _solid(facts: dict[str, Any], arrays: dict[str, Any]) -> Solid:
    pieces = [arrays[f"{facts['name']}/{number}"] for number in range(facts["pieces"])]
    return Solid.of(facts["name"], pieces, facts["split"] == "held_out", facts["mass"])
