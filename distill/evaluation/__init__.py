"""Policies on held-out resets, the statistics of what came out, and whose the seeds of resets are: ranges that cannot
meet, in which each round of environments after the first takes the next seed (an evaluation has at most 100,000)."""

from typing import Annotated

from ...ranges import Within

VALIDATION_SEED = 500_000
"""First seed of the resets that choose a teacher's best.ckpt."""
MATCHING_SEED = 600_000
"""First seed of the resets on which teachers are matched."""
HELD_OUT_SEED = 1_000_000
"""First seed of the resets of evaluations."""
STUDENT_SEED = 2_000_000
"""First seed of the resets in which students learn."""
RECORD_SEED = 3_000_000
"""First seed of the resets that are recorded."""
ROUNDS = 10_000
"""Most rounds of a student's training, or of a recording, and distance of the first seeds of two of them."""
TeacherSeed = Annotated[int, Within(0, VALIDATION_SEED - 1)]
"""Option `--seed` of a teacher's training."""
Seed = Annotated[int, Within(0, 999)]
"""Option `--seed` of a student's training or a recording."""
Rounds = Annotated[int, Within(1, ROUNDS)]
"""Iterations of a student."""
MatchingSeed = Annotated[int, Within(MATCHING_SEED, HELD_OUT_SEED - 100_000)]
"""Seed of the first resets on which teachers are matched."""
HeldOutSeed = Annotated[int, Within(HELD_OUT_SEED, STUDENT_SEED - 100_000)]
"""Seed of the first resets of an evaluation."""
TrialSeed = Annotated[int, Within(MATCHING_SEED, STUDENT_SEED - 100_000)]
"""Seed of the first resets of a comparison: of an evaluation, or of one by which teachers are matched."""


def training_seed(first: int, seed: int, turn: int) -> int:
    """Seed of the resets of a round, counted from 0, under the option `--seed` (0..999) of a student's training
    (`first`: STUDENT_SEED) or of a recording (RECORD_SEED); a student's from 100 on lie behind all recordings."""
    beyond = 1000 * ROUNDS if first == STUDENT_SEED and seed >= 100 else 0
    return first + beyond + ROUNDS * seed + turn
