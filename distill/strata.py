"""Which steps of an evaluation are looked at together: by what the left eye sees, and by what the hand is about.

A mask is (T, E) bool: row t is the observation on which the action of step t was chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .evaluation import Evaluation
from .phases import PHASES

Masks = dict[str, NDArray[np.bool_]]
IN_VIEW, OUT_OF_VIEW = "in view", "out of view"


def by_view(evaluation: Evaluation, steps: int) -> Masks:
    """The object is in view of the left eye, or is not; nothing if no camera was rendered. steps: T."""
    if not evaluation.seen:
        return {}
    seen = evaluation.in_view[:, :steps].T > 0
    return {IN_VIEW: seen, OUT_OF_VIEW: ~seen}


def by_phase(evaluation: Evaluation, steps: int) -> Masks:
    """Reach, close, lift; nothing if the environment does not tell. steps: T."""
    if not evaluation.phased:
        return {}
    phase = evaluation.phase[:, :steps].T
    return {name: phase == i for i, name in enumerate(PHASES)}


def at_reset(evaluation: Evaluation) -> Masks:
    """(E,) bool: episodes that began with the object in view, and without; nothing if no camera was rendered."""
    if not evaluation.seen:
        return {}
    return {IN_VIEW: evaluation.in_view_at_reset, OUT_OF_VIEW: ~evaluation.in_view_at_reset}
