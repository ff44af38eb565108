"""Teachers of equal success: unequal ones are the obvious objection to any comparison of their students."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ...files import explained, inside, read_json
from ..report.policy_kind import read_kind
from ..report.study_results import Match
from ..runs.policy_io import BEST
from .spec import StudyMatchingConfig
from .training import RIVALS, StudyError, Training

COMPARISON = "comparison.json"


def match_folder(out: Path, training: Training) -> Path:
    """Where the teachers of a training's seed are compared to be matched."""
    return out / training.scene / f"seed{training.seed}" / "matching"


def read_match(place: Path, training: Training, best: Collection[str], asked: StudyMatchingConfig) -> Match | None:
    """How the teachers of a training's seed were matched; None if they are not, or were other ones.

    Args:
        place: `match_folder`, in which the command `compare` wrote down what became of their checkpoints; the first
            edition wrote match.json beside it.
        training: of that scene and seed.
        best: digests of both teachers' best.ckpt.
        asked: on which resets.

    Raises:
        StudyError: the stronger teacher has no periodic checkpoint left.
    """
    first_edition, comparison = place.with_name("match.json"), place / COMPARISON
    if first_edition.is_file():
        facts = read_json(first_edition, StudyError)
        with explained(first_edition):
            if facts["asked"] == {"episodes": asked.episodes, "seed": asked.seed, "best": list(best)}:
                match = TypeAdapter(Match).validate_python(facts["match"])
                inside(place.parent, match.chosen, StudyError)
                return match
    if not comparison.is_file():
        return None
    facts = read_json(comparison, StudyError)
    with explained(comparison):
        settings = facts["settings"]
        same = (settings["episodes"], settings["seed"]) == (asked.episodes, asked.seed)
        if not same or not set(best) <= {policy["digest"] for policy in facts["policies"]}:
            return None
        return choose(training.scene, training.seed, _successes(facts["policies"]), asked)


def _successes(policies: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """success_at_end by name of the teacher's training and name of the checkpoint."""
    found: dict[str, dict[str, float]] = {name: {} for name in RIVALS}
    for policy in policies:
        of_state = read_kind(policy["role"]).teacher == "state"
        name = Path(policy["checkpoint"]).name
        found[RIVALS[not of_state]][name] = policy["summary"]["success_at_end"]["value"]
    return found


def choose(scene: str, seed: int, successes: Mapping[str, Mapping[str, float]], asked: StudyMatchingConfig) -> Match:
    """Match two teachers.

    Args:
        scene: of both.
        seed: of both.
        successes: by name of the training: success_at_end of best.ckpt and of each periodic checkpoint, by name.
        asked: on which resets.

    Raises:
        StudyError: the stronger teacher has no periodic checkpoint left.
    """
    weaker, stronger = sorted(successes, key=lambda name: successes[name][BEST])
    wanted = successes[weaker][BEST]
    candidates = {name: success for name, success in successes[stronger].items() if name != BEST}
    if not candidates:
        raise StudyError(f"{scene}/seed{seed}/{stronger}: no periodic checkpoint is left; keep_checkpoints keeps more")
    chosen = min(sorted(candidates, reverse=True), key=lambda name: abs(candidates[name] - wanted))
    return Match(
        scene=scene,
        seed=seed,
        stronger=stronger,
        weaker=weaker,
        stronger_success=successes[stronger][BEST],
        weaker_success=wanted,
        candidates=candidates,
        chosen=chosen,
        episodes=asked.episodes,
        resets_seed=asked.seed,
    )
