"""What the hand is about at each moment of an episode (reach, close, lift), and in which of them failures got stuck."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import bootstrap_mean, wilson

PHASES = ("reach", "close", "lift")
UNKNOWN = -1
"""No phase: the episode is over, or the environment does not log what a phase is made of."""
NEAR = 0.08
"""m from the grasp site to the object's middle: here the reward for closing the hand begins (`rewards.nearness`)."""
RAISED = 0.01
"""m above its standing height: the object is off the table."""
LOGGED = ("grasp_distance", "touching", "lift")
"""What a phase is made of, as `Step.log` names it."""


def phase_of(grasp_distance: ArrayLike, touching: ArrayLike, lift: ArrayLike) -> NDArray[np.int8]:
    """The phase of each environment, int8 of the arguments' shape, an index into `PHASES`.

    lift: the object is more than `RAISED` above the table; else close: it is within `NEAR` of the grasp site, or a
    digit or the palm touches it; else reach.

    Args:
        grasp_distance: (...) m, grasp site to the object's middle.
        touching: (...) bool, any part of the hand touches the object.
        lift: (...) m, rise of the object's middle above its standing height.
    """
    close = (np.asarray(grasp_distance) <= NEAR) | np.asarray(touching, dtype=bool)
    return np.where(np.asarray(lift) > RAISED, 2, np.where(close, 1, 0)).astype(np.int8)


def last_phase(phase: NDArray[np.int8]) -> NDArray[np.int8]:
    """(E,) the phase of each episode's last moment; UNKNOWN where it has none. phase (E, T+1)."""
    known = phase != UNKNOWN
    last = phase.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return np.where(known.any(axis=1), np.take_along_axis(phase, last[:, None], axis=1)[:, 0], UNKNOWN).astype(np.int8)


def phase_summary(
    phase: NDArray[np.int8], success_at_end: NDArray[np.bool_], aborted: NDArray[np.bool_]
) -> dict[str, Any]:
    """How the time and the failures are spread over the phases, JSON-able.

    `steps`: mean over episodes of the share of moments in each phase; they add up to 1. `failures`: share of all
    episodes that failed and stood in this phase at their last moment, or were lost; with the successes they add up to
    1. `dropped`: share of all episodes that failed although the object had been off the table before their last
    moment, and was not any more.

    Args:
        phase: (E, T+1), UNKNOWN after the end.
        success_at_end: (E,).
        aborted: (E,).
    """
    known, last = phase != UNKNOWN, last_phase(phase)
    failed = ~success_at_end & ~aborted
    shares = [(phase == i).sum(axis=1) / np.maximum(known.sum(axis=1), 1) for i in range(len(PHASES))]
    stuck = {name: asdict(wilson(failed & (last == i))) for i, name in enumerate(PHASES)}
    lifted = (phase == PHASES.index("lift")).any(axis=1)
    return {
        "steps": {name: asdict(bootstrap_mean(share, (0, 1))) for name, share in zip(PHASES, shares, strict=True)},
        "failures": stuck | {"lost": asdict(wilson(aborted))},
        "dropped": asdict(wilson(failed & lifted & (last != PHASES.index("lift")))),
    }


def first_look(visible: NDArray[np.floating]) -> NDArray[np.float64]:
    """(E,) the first moment at which the policy's eyes see the object, 0 = at the reset; NaN if they never do.

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

    visible (E, T+1): share of the pixels of the policy's eyes, NaN after the episode's end.
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
