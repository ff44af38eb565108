"""Resets on which two policies differ most: those that they are said to be, filmed as they were evaluated."""

from dataclasses import replace

import numpy as np
import pytest

from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.report.illustrate import film_moments, moment_caption, most_apart, told_apart
from handsight.errors import HandsightError
from handsight.sims.make import EnvConfig

from ..toy_env import Scripted, ToyEnv


class Blind(Scripted):
    """Never grips, so that it never succeeds."""

    def __init__(self):
        super().__init__("stereo")

    def forward(self, obs, hidden):
        mean, std, hidden = super().forward(obs, hidden)
        mean[:, 2] = -1
        return mean, std, hidden


@pytest.fixture
def students(toy_sims):
    policies = {"state → stereo": Blind(), "depth → stereo": Scripted("stereo")}
    return [(name, p, evaluate(p, EnvConfig(), episodes=12, num_envs=4, seed=5)) for name, p in policies.items()]


def test_resets_that_tell_students_apart_are_those_in_which_only_the_second_succeeds(students):
    failing, succeeding = (student[2] for student in students)
    assert not failing.success_at_end.any()
    assert told_apart(failing, succeeding) == succeeding.success_at_end.sum()
    assert told_apart(succeeding, failing) == 0


def test_they_differ_most_where_one_succeeds_then_where_the_returns_are_far_apart_and_lost_resets_do_not_count(
    students,
):
    one, other = (student[2] for student in students)
    success = np.array([[0, 1, 1, 0, 1], [1, 1, 0, 0, 1]], bool)
    returns = np.array([[1, 0, 4, 2, 9], [2, 5, 0, 9, 9]], np.float32)
    lost = np.array([0, 0, 0, 1, 0], bool)
    one = replace(one, success_at_end=success[0], episode_return=returns[0], aborted=~lost & False)
    other = replace(other, success_at_end=success[1], episode_return=returns[1], aborted=lost)
    assert most_apart(one, other).tolist() == most_apart(other, one).tolist() == [2, 0, 1, 4]


def test_unpaired_evaluations_tell_nothing(students):
    other = evaluate(Scripted("stereo"), EnvConfig(), episodes=12, num_envs=6, seed=5)
    with pytest.raises(HandsightError, match="num_envs: 4 and 6"):
        told_apart(students[0][2], other)
    with pytest.raises(HandsightError, match="num_envs: 4 and 6"):
        most_apart(students[0][2], other)


def test_moments_are_filmed_in_the_very_world_of_the_evaluation(students):
    wanted = most_apart(students[0][2], students[1][2])[:2].tolist()
    scenes = dict(film_moments(*students, EnvConfig(), count=2))
    assert list(scenes) == wanted
    for reset, films in scenes.items():
        first, second = films.values()
        np.testing.assert_array_equal(first.images["depth"][0], second.images["depth"][0])
        turn, world = divmod(reset, 4)
        env = ToyEnv(("stereo",), 4)
        start = env.reset(5 + turn)["stereo"][world, 0].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(first.images["left eye"][0, 0], start)
        view = "in view" if students[0][2].in_view_at_reset[reset] else "out of view"
        caption = moment_caption(reset, films, students[0][2])
        assert f"Reset {reset}" in caption and f" {view} at the beginning" in caption
        assert "state → stereo: failure; depth → stereo: success" in caption


def test_episode_that_ends_otherwise_is_passed_over(students):
    name, _, evaluation = students[0]
    scenes = list(film_moments((name, Scripted("stereo"), evaluation), students[1], EnvConfig(), count=1))
    assert scenes == []
