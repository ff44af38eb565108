"""Teachers of equal success: unequal ones are the obvious objection to any comparison of their students."""

from __future__ import annotations

from collections.abc import Mapping

from ..report.study_results import Match
from ..runs.policy_io import BEST
from .spec import StudyMatchingConfig
from .training import StudyError


def choose(scene: str, seed: int, successes: Mapping[str, Mapping[str, float]], asked: StudyMatchingConfig) -> Match:
    """Match two teachers.

    Args:
        scene: of both.
        seed: of both.
        successes: by name of the training: success_at_end of best.ckpt and of each periodic checkpoint, by name.
        asked: on which resets.
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
