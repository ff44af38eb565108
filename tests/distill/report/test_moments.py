"""Moments that tell two students apart: the resets that they are said to be, filmed as they were evaluated."""

import numpy as np
import pytest

from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.report.film import side_by_side
from handsight.distill.report.illustrate import film_moments, moment_caption, told_apart
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
    np.testing.assert_array_equal(told_apart(failing, succeeding), np.flatnonzero(succeeding.success_at_end))
    assert not len(told_apart(succeeding, failing))


def test_unpaired_evaluations_tell_nothing(students):
    other = evaluate(Scripted("stereo"), EnvConfig(), episodes=12, num_envs=6, seed=5)
    with pytest.raises(HandsightError, match="num_envs: 4 and 6"):
        told_apart(students[0][2], other)


def test_moments_are_filmed_in_the_very_world_of_the_evaluation(students):
    wanted = told_apart(students[0][2], students[1][2])[:2].tolist()
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


def test_episode_that_ends_otherwise_is_passed_over(students):
    name, _, evaluation = students[0]
    scenes = list(film_moments((name, Scripted("stereo"), evaluation), students[1], EnvConfig(), count=1))
    assert scenes == []


def test_picture_has_a_block_for_each_student_and_says_how_it_ended(students):
    ((_, films),) = film_moments(*students, EnvConfig(), count=1)
    figure = side_by_side(films, ["#000000", "#111111"], moments=3)
    titles = [block.get_suptitle() for block in figure.subfigs]
    assert titles == ["state → stereo: failure", "depth → stereo: success"]
    assert len(figure.subfigs[0].axes) == 3 * 3
    steps = [axis.get_title(loc="center") for axis in figure.subfigs[0].axes[:3]]
    assert steps[0] == "step 0" and steps[2].startswith("step 8")
    outlined = [axis for axis in figure.subfigs[0].axes if axis.collections]
    assert outlined, "the object's outline is drawn"
