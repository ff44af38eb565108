"""What a signature says of the environments that somebody learnt in: their version, their robot, their objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

VERSION = 2
"""Version of physics, draws and cameras: what a policy does in another one, it has not learnt there."""
FIRST_EDITION = {
    "version": 1,
    "robot": {"name": "kuka_allegro", "digest": "76aacf82decd"},
    "objects": {"name": "primitives", "digest": "30922ccaa0fb"},
}
"""What signatures of the first edition do not say."""


def as_today(signature: Mapping[str, Any]) -> Mapping[str, Any]:
    """A signature of our tasks with its robot and objects, which those of the first edition did not name."""
    return {**FIRST_EDITION, **signature} if signature.get("task") == "grasp" else signature


def named(thing: Any) -> dict[str, str]:
    """What a signature says of a robot or an object set: its name, and a digest of its `facts()`."""
    return {"name": thing.name, "digest": _digest(thing.facts())}


def _digest(facts: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that change with the facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
