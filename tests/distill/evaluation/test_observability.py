"""The observability gap: hand-computed figures, and the teacher asked on the student's own states."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from handsight.distill.evaluation.disagreement import Disagreement, Listener, disagreement
from handsight.distill.evaluation.evaluate import evaluate_in
from handsight.distill.evaluation.observability import (
    retention,
    success_gap,
    success_part,
)
from handsight.errors import HandsightError

from ..toy_env import Counting, Scripted, ToyConfig, ToyEnv
from .test_evaluate import table


def successes(*outcomes: bool):
    column = np.array(outcomes)
    return table(success_at_end=column)


def unexplained(teacher, student, valid):
    """Unexplained action variance of decisions (T, E, A)."""
    return Disagreement(teacher, student, np.ones_like(teacher), np.ones_like(student), valid).unexplained()


def test_success_gap_is_the_mean_paired_difference():
    gap = success_gap(successes(True, True, True, False), successes(True, False, False, True))
    assert gap.value == pytest.approx((0 + 1 + 1 - 1) / 4)
    assert gap.low >= -1
    assert gap.low < gap.value < gap.high


def test_equal_policies_have_a_gap_of_zero_that_four_resets_do_not_make_certain():
    same = successes(True, False, True, False)
    gap, kept = success_gap(same, same), retention(same, same)
    assert gap.value == 0 and (gap.low, gap.high) == pytest.approx((-0.462, 0.462), abs=1e-3)  # 1.96 sqrt((2/6) / 6)
    assert kept.value == 1 and kept.low < 1 < kept.high


def test_gap_within_a_stratum():
    chosen = np.array([True, True, False, False])
    assert success_gap(successes(True, True, False, True), successes(False, True, False, False), chosen).value == 0.5


def test_retention_is_a_ratio_and_undefined_for_a_teacher_that_always_fails():
    assert retention(successes(True, True, True, True), successes(True, True, True, False)).value == 0.75
    assert np.isnan(retention(successes(False, False, False, False), successes(True, True, True, False)).value)


def test_unpaired_evaluations_are_refused():
    with pytest.raises(HandsightError, match=r"not paired.*seed: 1 and 2"):
        success_gap(table(settings={"seed": 1}), table(settings={"seed": 2}))
    with pytest.raises(HandsightError, match="objects or kinds of reset"):
        success_gap(table(), table(kind=np.array([1, 1, 1, 0])))


def test_unexplained_variance_by_hand():
    # one dimension; teacher 0, 2, 4, (masked 100): mean 2, sum of squares about it 8; student misses by 1, 0, 1: 2 / 8
    teacher = np.array([[0.0, 2.0], [4.0, 100.0]])[..., None]
    student = np.array([[1.0, 2.0], [3.0, -100.0]])[..., None]
    valid = np.array([[True, True], [True, False]])
    assert unexplained(teacher, student, valid).value == pytest.approx(0.25)


def test_unexplained_variance_is_one_for_the_mean_action_and_zero_for_the_teachers():
    teacher = np.random.default_rng(0).normal(size=(6, 20, 3))
    valid = np.ones((6, 20), dtype=bool)
    constant = np.broadcast_to(teacher.mean(axis=(0, 1)), teacher.shape)
    assert unexplained(teacher, constant, valid).value == pytest.approx(1.0)
    found = unexplained(teacher, teacher, valid)
    assert found.value == 0.0 and math.isnan(found.low) and math.isnan(found.high)  # no spread, and nothing bounds it


def test_unexplained_variance_interval_covers_the_truth():
    draws = np.random.default_rng(2)
    teacher = draws.normal(size=(10, 300, 2))
    student = teacher + 0.5 * draws.normal(size=teacher.shape)
    share = unexplained(teacher, student, np.ones((10, 300), dtype=bool))
    assert share.low < 0.25 < share.high
    assert share.high - share.low < 0.05


def test_teacher_is_asked_on_the_states_of_the_student_with_its_own_memory(toy_sims):
    teacher = Counting()
    evaluation, both = disagreement(Scripted("stereo"), teacher, ToyConfig(), episodes=8, num_envs=4, seed=3)
    assert both.valid.shape == (ToyEnv.episode_steps, 8)
    assert both.valid.all()
    assert [int(seen[0]) for seen in teacher.seen] == [*range(ToyEnv.episode_steps)] * 2
    # Where the student saw the object from the start both steer alike; elsewhere the teacher knows better.
    seen = evaluation.in_view[:, :-1].T > 0
    assert both.unexplained(seen).value < 0.1 < both.unexplained(~seen).value
    alone = evaluate_in(ToyEnv(("proprio", "stereo"), 4), Scripted("stereo"), episodes=8, seed=3)
    np.testing.assert_array_equal(alone.episode_return, evaluation.episode_return)


def test_with_a_driver_student_and_teacher_are_asked_on_its_states(toy_sims):
    student, teacher, driver = Scripted("stereo"), Counting(), Scripted("state")
    how = {"episodes": 8, "num_envs": 4, "seed": 3}
    evaluation, both = disagreement(student, teacher, ToyConfig(), **how, driver=driver)
    driven, own = disagreement(driver, teacher, ToyConfig(), **how)
    np.testing.assert_array_equal(evaluation.episode_return, driven.episode_return)
    np.testing.assert_array_equal(both.teacher, own.teacher)
    alone, there = disagreement(student, teacher, ToyConfig(), **how)
    assert not np.array_equal(alone.episode_return, evaluation.episode_return)
    np.testing.assert_array_equal(both.student[0], there.student[0])  # the same states only at the start
    assert not np.array_equal(both.student, own.student) and not np.array_equal(both.student, there.student)


def test_lost_step_and_everything_after_it_are_masked():
    listener = Listener(episodes=4)
    env = ToyEnv(("state", "proprio"), 4, diverge={(1, 3)})
    evaluate_in(env, Scripted("state"), episodes=4, watch=listener, advisor=Scripted("state"))
    valid = listener.result().valid
    assert valid[:, 1].tolist() == [True, True] + [False] * 6
    assert valid[:, [0, 2, 3]].all()


def test_decisions_are_compared_as_the_environment_executes_them():
    class Wild(Scripted):
        def forward(self, obs, hidden):
            mean, std, hidden = super().forward(obs, hidden)
            return mean + 100 * torch.sign(mean), std, hidden

    listener = Listener(episodes=4)
    env = ToyEnv(("state", "proprio"), 4)
    evaluate_in(env, Scripted("state"), episodes=4, watch=listener, advisor=Wild("state"))
    assert np.abs(listener.result().teacher).max() == 1.0


def test_sigma_of_teacher_and_student_is_written_down_each_under_its_own_name(toy_sims):
    evaluation, both = disagreement(
        Scripted("depth", std=0.4), Scripted("state", std=0.1), ToyConfig(), episodes=8, num_envs=4
    )
    assert both.student_sigma().value == pytest.approx(0.4) and both.teacher_sigma().value == pytest.approx(0.1)
    seen = evaluation.in_view[:, : both.steps].T > 0
    both.student_std[~seen] = 0.8
    assert both.student_sigma(~seen).value == pytest.approx(0.8) and both.student_sigma(seen).value == pytest.approx(
        0.4
    )


def test_disagreement_comes_back_from_disk(tmp_path, toy_sims):
    _, both = disagreement(Scripted("depth"), Scripted("state"), ToyConfig(), episodes=4, num_envs=4)
    both.save(tmp_path / "disagreement.npz")
    loaded = Disagreement.load(tmp_path / "disagreement.npz")
    assert loaded.unexplained() == both.unexplained()


def test_sigma_is_averaged_over_valid_steps_only():
    std = np.array([[[0.1, 0.3], [5.0, 5.0]], [[0.2, 0.4], [0.6, 0.6]]])  # two steps of two episodes
    valid = np.array([[True, False], [True, True]])
    found = Disagreement(np.zeros_like(std), np.zeros_like(std), 2 * std, std, valid)
    assert found.student_sigma().value == pytest.approx((0.2 + 0.3 + 0.6) / 3)
    assert found.teacher_sigma().value == pytest.approx(2 * (0.2 + 0.3 + 0.6) / 3)


def test_parts_of_the_gap_add_up_to_it():
    teacher, student = successes(True, True, True, False), successes(True, False, False, True)
    chosen = np.array([True, True, False, True])
    parts = [success_part(teacher, student, one).value for one in (chosen, ~chosen)]
    assert parts == pytest.approx([0 / 4, 1 / 4]) and sum(parts) == pytest.approx(success_gap(teacher, student).value)


@pytest.mark.parametrize("name", ["seed", "num_envs", "reset_kind", "postures", "env"])
def test_evaluations_of_other_resets_are_not_paired_whatever_differs(name):
    settings = {"seed": 1, "num_envs": 4, "reset_kind": "wide", "postures": "held_out", "env": {"task": "a"}}
    one, same, other = (replace(table(), settings=settings | change) for change in ({}, {}, {name: "another"}))
    success_gap(one, same)
    with pytest.raises(HandsightError, match="the environment" if name == "env" else f"{name}: .* and 'another'"):
        success_gap(one, other)
