"""Whether policies differ in what is being compared and in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..errors import HandsightError
from .contestant import Contestant
from .intervals import plain
from .roles import is_student

WIRING = ("task", "action_space", "control_dt", "rig")
"""Parts of the signature in which policies that are compared must agree."""
COMPARED = ("seed", "teacher", "teacher.path", "warm_start", "control", "driver", "data", "student.sight")
"""What chains of teacher and student are compared by: leaves of a run's configuration that may differ."""
ELSEWHERE = ("env", "device", "sims", "remote", "keep_checkpoints", "memory_budget_gib")
"""Parts of a run's configuration that are looked at by themselves, or do not change what is learnt."""


def check_alike(contestants: Sequence[Contestant]) -> list[str]:
    """Notes on what differs beside what is being compared: training environments, budgets, settings.

    Raises:
        HandsightError: task, action space, camera rig or control rate differ; says in what.
    """
    first = contestants[0]
    for other in contestants[1:]:
        signatures = [flat({key: c.loaded.signature.get(key) for key in WIRING}) for c in (first, other)]
        wrong = differences(*signatures)
        if wrong:
            head = f"compare: {other.loaded.path} and {first.loaded.path} cannot be compared; they differ in"
            raise HandsightError("\n  ".join([head, *wrong]))
    return [*_unlike_worlds(contestants), *_unlike_trainings(contestants)]


def refuse_unlike(contestants: Sequence[Contestant], what: str) -> None:
    """Raise HandsightError, which says in what, if anything differs that is not what a study compares.

    Args:
        contestants: all policies of a scene.
        what: is to be compared, for the message.
    """
    notes = check_alike(contestants)
    if notes:
        raise HandsightError("\n  ".join([f"{what} differ in more than what is compared:", *notes]))


def _unlike_worlds(contestants: Sequence[Contestant]) -> list[str]:
    first, notes = contestants[0], []
    for other in contestants[1:]:
        apart = differences(*(flat(plain(asdict(c.loaded.env_config))) for c in (first, other)))
        if apart:
            notes.append(
                f"{other.loaded.path} was trained in another environment than the one in which all are evaluated "
                f"(that of {first.loaded.path}): {'; '.join(apart)}."
            )
    return notes


def _unlike_trainings(contestants: Sequence[Contestant]) -> list[str]:
    """Students among each other, and teachers of one role: whoever had more to learn from may do better for that."""
    firsts: dict[str, Contestant] = {}
    notes = []
    for contestant in contestants:
        if not contestant.origin.config:
            continue
        first = firsts.setdefault("students" if is_student(contestant.role) else contestant.role, contestant)
        apart = differences(*(_settings(c) for c in (first, contestant)))
        if apart:
            notes.append(
                f"{contestant.loaded.path} was trained otherwise than {first.loaded.path}: {'; '.join(apart)} "
                "(the second's first)."
            )
    return notes


def _settings(contestant: Contestant) -> dict[str, Any]:
    """A training's configuration without what is compared."""
    kept = {key: value for key, value in contestant.origin.config.items() if key not in ELSEWHERE}
    return {name: leaf for name, leaf in flat(kept).items() if name not in COMPARED}


def flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested dicts by dotted name."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {key: leaf for part, sub in tree.items() for key, leaf in flat(sub, f"{name}.{part}".strip(".")).items()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """A line for each leaf in which two flat dicts differ."""
    names = dict.fromkeys([*one, *other])
    return [f"{n}: {one.get(n)!r} and {other.get(n)!r}" for n in names if plain(one.get(n)) != plain(other.get(n))]
