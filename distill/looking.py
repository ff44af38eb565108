"""Does a policy learn to look? When the object comes into view in the episodes that began without it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import bootstrap_mean, wilson


def first_look(visible: NDArray[np.floating]) -> NDArray[np.float64]:
    """(E,) number of the first moment at which the left eye sees the object, 0 = at the reset; NaN if it never does.

    visible (E, T+1): share of pixels, NaN after the episode's end.
    """
    seen = np.nan_to_num(visible) > 0
    return np.where(seen.any(axis=1), np.argmax(seen, axis=1), np.nan)


def looking(visible: NDArray[np.floating]) -> dict[str, Any]:
    """How soon the object is found in the episodes that began without it in view, JSON-able.

    `found`: share of them in which it ever comes into view. `steps_until_seen`: mean of the first step at which it is
    in view; an episode that never sees it counts with the step at which it would have been too late, its length + 1:
    otherwise a policy that gives up early on the hard ones would look quick. `found_by_step`: share of them that has
    seen it by step t, for t = 0, 1, ...

    visible (E, T+1): share of the left eye's pixels, NaN after the episode's end.
    """
    hidden = visible[visible[:, 0] == 0]
    first = first_look(hidden)
    moments = np.isfinite(hidden).sum(axis=1)  # the reset and one for each step
    steps = np.arange(visible.shape[1])
    found_by = (first[:, None] <= steps).mean(axis=0) if len(hidden) else np.full(len(steps), np.nan)
    return {
        "episodes": len(hidden),
        "found": asdict(wilson(np.isfinite(first))),
        "steps_until_seen": asdict(bootstrap_mean(np.where(np.isfinite(first), first, moments))),
        "found_by_step": found_by.tolist(),
    }
