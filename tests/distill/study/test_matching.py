"""Which checkpoint of the stronger teacher is as good as the weaker one."""

from itertools import pairwise

import pytest

from handsight.distill.evaluation import HELD_OUT_SEED
from handsight.distill.study.matching import choose
from handsight.distill.study.spec import MATCHING_SEED, StudyMatchingConfig
from handsight.distill.study.training import StudyError
from handsight.distill.training.teacher_training import VALIDATION_SEED
from handsight.distill.training.train_student import STUDENT_SEED

ASKED = StudyMatchingConfig(episodes=64)
STATE = {"best.ckpt": 0.96, "iteration_000025.ckpt": 0.5, "iteration_000050.ckpt": 0.86, "iteration_000075.ckpt": 0.95}
DEPTH = {"best.ckpt": 0.9, "iteration_000025.ckpt": 0.2, "iteration_000050.ckpt": 0.9}


def test_nearest_checkpoint_of_the_stronger_teacher_is_chosen():
    match = choose("wrist", 3, {"state-teacher": STATE, "depth-teacher": DEPTH}, ASKED)
    assert (match.stronger, match.weaker, match.chosen) == ("state-teacher", "depth-teacher", "iteration_000050.ckpt")
    assert match.weaker_success == 0.9 and match.stronger_success == 0.96
    assert match.candidates[match.chosen] == 0.86
    assert "best.ckpt" not in match.candidates
    swapped = choose("wrist", 3, {"state-teacher": DEPTH, "depth-teacher": STATE}, ASKED)
    assert (swapped.stronger, swapped.chosen) == ("depth-teacher", "iteration_000050.ckpt")


def test_of_equally_near_ones_the_latest_is_chosen():
    state = {"best.ckpt": 0.95, "iteration_000025.ckpt": 0.875, "iteration_000050.ckpt": 0.875}
    assert choose("wrist", 0, {"state-teacher": state, "depth-teacher": DEPTH}, ASKED).chosen == "iteration_000050.ckpt"


def test_teacher_without_periodic_checkpoints_cannot_be_matched():
    with pytest.raises(StudyError, match="state-teacher: no periodic checkpoint is left"):
        choose("wrist", 0, {"state-teacher": {"best.ckpt": 0.95}, "depth-teacher": DEPTH}, ASKED)


def test_matching_resets_are_nobody_elses():
    seeds = sorted([0, VALIDATION_SEED, MATCHING_SEED, HELD_OUT_SEED, STUDENT_SEED])
    assert min(later - one for one, later in pairwise(seeds)) >= 100_000
