"""Looking: when the object comes into view in the episodes that began without it."""

import numpy as np
import pytest

from handsight.distill.evaluation.phases import first_look, looking

NAN = float("nan")
VISIBLE = np.array(
    [
        [0.1, 0.0, 0.0, 0.0],  # in view at the reset
        [0.0, 0.2, 0.0, 0.0],  # found after one step
        [0.0, 0.0, 0.0, 0.3],  # after three
        [0.0, 0.0, 0.0, 0.0],  # never in three steps
        [0.0, 0.0, NAN, NAN],  # never in its only step
    ]
)


def test_first_look_is_the_first_moment_with_the_object_in_view():
    np.testing.assert_array_equal(first_look(VISIBLE), [0, 1, 3, NAN, NAN])


def test_an_episode_that_never_sees_it_counts_with_its_length_plus_one():
    found = looking(VISIBLE)
    assert found["episodes"] == 4
    assert found["found"]["value"] == 0.5
    assert found["steps_until_seen"]["value"] == pytest.approx((1 + 3 + 4 + 2) / 4)
    assert found["found_by_step"] == pytest.approx([0.0, 0.25, 0.25, 0.5])


def test_nothing_to_look_for_is_no_figure():
    found = looking(VISIBLE[:1])
    assert found["episodes"] == 0
    assert np.isnan(found["steps_until_seen"]["value"]) and np.isnan(found["found_by_step"]).all()
