"""Whose the seeds of resets are: no training, recording, choice of a checkpoint and evaluation meet the same ones."""

from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from handsight.distill import evaluation
from handsight.distill.commands.arguments import RecordArgs
from handsight.distill.evaluation import RECORD_SEED, ROUNDS, STUDENT_SEED, VALIDATION_SEED, training_seed
from handsight.distill.evaluation.trial import TrialConfig
from handsight.errors import HandsightError
from handsight.ranges import Episodes, Within


def ends(annotated: Any) -> Within:
    return get_args(annotated)[1]


def test_no_two_uses_can_meet_the_same_resets():
    rounds = ends(Episodes).high - 1  # with one environment, after the first
    teacher, matching, held_out = (
        ends(one) for one in (evaluation.TeacherSeed, evaluation.MatchingSeed, evaluation.HeldOutSeed)
    )
    taken = [
        (teacher.low, teacher.high),
        (VALIDATION_SEED, VALIDATION_SEED + rounds),
        (matching.low, matching.high + rounds),
        (held_out.low, held_out.high + rounds),
    ]
    for first in (STUDENT_SEED, RECORD_SEED):
        seeds = range(int(ends(evaluation.Seed).low), int(ends(evaluation.Seed).high) + 1)
        taken += [(training_seed(first, seed, 0), training_seed(first, seed, ROUNDS - 1)) for seed in seeds]
    for (_, last), (first, _) in pairwise(sorted(taken)):
        assert last < first


def test_seeds_that_were_apart_are_as_they_were():
    assert training_seed(STUDENT_SEED, 0, 0) == 2_000_000 and training_seed(STUDENT_SEED, 99, 3) == 2_990_003
    assert training_seed(RECORD_SEED, 0, 0) == 3_000_000 and training_seed(RECORD_SEED, 999, 3) == 12_990_003
    assert training_seed(STUDENT_SEED, 100, 0) == 13_000_000  # beside `record --seed 0` it was 3,000,000


def test_a_recording_has_no_more_rounds_than_it_has_seeds():
    RecordArgs(Path("x"), episodes=20_000, num_envs=2)
    with pytest.raises(HandsightError, match="expected at most 10,000 x num_envs episodes, found 20,001"):
        RecordArgs(Path("x"), episodes=20_001, num_envs=2)


def test_teachers_can_be_matched_on_resets_of_their_own():
    assert TrialConfig(seed=evaluation.MATCHING_SEED).seed == 600_000
