"""A study's results: stored small, read back whole, and honest about what is flat."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsight.distill.evaluation.disagreement import Disagreement
from handsight.distill.evaluation.statistics import plain
from handsight.distill.report import tables
from handsight.distill.report.store import load_decisions, save_decisions, thinned
from handsight.distill.report.study_results import Study, budget_of, flatness
from handsight.errors import HandsightError

from .. import synthetic


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic.study().save(tmp_path_factory.mktemp("results"))


def test_study_is_read_back_as_it_was_saved(study, tmp_path):
    study.save(tmp_path)
    again = Study.load(tmp_path)
    assert again.cells == study.cells and again.matches == study.matches and again.notes == study.notes
    assert again.cost == study.cost
    for scene, comparison in study.comparisons.items():
        other = again.comparisons[scene]
        assert plain(tables.as_dict(other)) == plain(tables.as_dict(comparison))
        for one, two in zip(comparison.policies, other.policies, strict=True):
            assert one.origin.metrics == two.origin.metrics
            np.testing.assert_array_equal(one.evaluation.visible, two.evaluation.visible)
    assert [one.kind.label for one in again.of_cell("wrist", "state-to-stereo")] == ["state → stereo"] * 2


def test_ablations_are_kept(study, tmp_path):
    comparison = study.comparisons["open"]
    student = comparison.policies[-1]
    frozen = replace(student, ablations={"frozen": comparison.policies[0].evaluation})
    replace(study, comparisons={"open": replace(comparison, policies=(*comparison.policies[:-1], frozen))}).save(
        tmp_path
    )
    (kept,) = Study.load(tmp_path).comparisons["open"].policies[-1].ablations.items()
    assert kept[0] == "frozen"
    np.testing.assert_array_equal(kept[1].success_at_end, comparison.policies[0].evaluation.success_at_end)


def test_what_a_control_student_did_on_the_states_of_its_driver_is_kept(study, tmp_path):
    comparison = study.comparisons["open"]
    student = comparison.policies[-1]
    control = replace(student, driver="digest", driven=student.disagreement, disagreement=None)
    other = replace(comparison, policies=(*comparison.policies[:-1], control))
    replace(study, comparisons={"open": other}).save(tmp_path)
    kept = Study.load(tmp_path).comparisons["open"].policies[-1]
    assert kept.driver == "digest" and kept.disagreement is None
    np.testing.assert_array_equal(kept.driven.student, student.disagreement.student)


def test_a_policy_that_got_another_name_is_not_kept_under_the_old_one(study, tmp_path):
    study.save(tmp_path)
    comparison = study.comparisons["open"]
    renamed = replace(comparison.policies[-1], name="another")
    replace(study, comparisons={"open": replace(comparison, policies=(*comparison.policies[:-1], renamed))}).save(
        tmp_path
    )
    there = {path.name for path in (tmp_path / "open" / "policies").iterdir()}
    assert len(there) == len(comparison.policies) and "another" in there


def test_missing_study_is_named(tmp_path):
    with pytest.raises(HandsightError, match=r"study results .*: expected a folder with study.json"):
        Study.load(tmp_path)


def test_decisions_are_kept_to_a_64th_even_where_they_jump_from_end_to_end(tmp_path):
    draws = np.random.default_rng(0)
    teacher = draws.uniform(-1, 1, (5, 11, 3)).astype(np.float32)
    teacher[1], teacher[2] = 1.0, -1.0
    student = -teacher
    spread = draws.uniform(0.1, 0.3, teacher.shape).astype(np.float32)
    both = Disagreement(teacher, student, spread, 2 * spread, draws.random((5, 11)) < 0.7)
    save_decisions(both, tmp_path / "d.npz")
    again = load_decisions(tmp_path / "d.npz")
    assert np.abs(again.teacher - teacher).max() <= 0.5 / 64 + 1e-6
    assert np.abs(again.student - student).max() <= 0.5 / 64 + 1e-6
    np.testing.assert_array_equal(again.valid, both.valid)
    assert again.student_sigma().value == pytest.approx(both.student_sigma().value, rel=1e-3)
    assert again.unexplained().value == pytest.approx(both.unexplained().value, rel=0.01)


def test_curve_is_thinned_but_keeps_its_end_and_its_validations():
    rows = [{"step": float(i), "return": 1 / 3, "seconds/fit": 2.0} for i in range(1, 1001)]
    rows.insert(500, {"step": 500.0, "validation/success_at_end": 0.123456})
    few = thinned(rows, 50)
    assert len(few) == 50
    assert few[-1] == {"step": 1000.0, "return": 0.3333, "seconds/fit": 2.0, "seconds": 2000.0}
    assert {"step": 500.0, "validation/success_at_end": 0.1235, "seconds": 1000.0} in few
    assert [row["step"] for row in thinned(rows[:3], 50)] == [1, 2, 3]


def test_flatness_is_the_slope_of_the_last_third_times_its_length():
    rows = [{"step": 10.0 * i, "iteration": float(i), "s": 0.02 * i if i <= 20 else 0.4} for i in range(1, 31)]
    flat = flatness(rows, "s")
    assert flat is not None and flat.iterations == 10
    assert flat.gain.value == pytest.approx(0.0, abs=1e-9) and flat.final == pytest.approx(0.4)
    rising = flatness([{**row, "s": 0.01 * row["iteration"]} for row in rows], "s")
    assert rising is not None and rising.gain.value == pytest.approx(0.1)


def test_flatness_has_the_t_interval_of_a_slope_worked_out_by_hand():
    values = {21: 1.0, 24: 2.0, 27: 2.0, 30: 3.0}  # slope 0.2, residuals -0.1 +0.3 -0.3 +0.1, sum of squares 0.2
    rows = [{"step": 0.0, "iteration": float(i), **({"s": values[i]} if i in values else {})} for i in range(1, 31)]
    flat = flatness(rows, "s")
    assert flat is not None
    half = 10 * 4.302653 * (0.2 / 2 / 45) ** 0.5  # t(0.975, 2), sqrt(s2 / sum of (x - mean)^2), ten iterations
    assert flat.gain.value == pytest.approx(2.0)
    assert flat.gain.low == pytest.approx(2.0 - half, rel=1e-5)


def rising(slope, noise=0.0, lr=1e-3, last=1e-3, seed=3):
    """Thirty iterations, of which each brings so much; the learning rate falls at the end."""
    draws = np.random.default_rng(seed).normal(0, noise, 31)
    rate = {i: lr if i <= 20 else last for i in range(31)}
    return [{"iteration": i, "step": i, "s": 0.5 + slope * i + draws[i], "lr": rate[i]} for i in range(1, 31)]


def test_a_budget_is_enough_where_more_than_half_a_point_is_ruled_out_at_a_constant_rate():
    """Half as much again are 15 iterations: .0002 in each bring .3 points, .0004 bring .6."""
    flat = [flatness(rising(0.0002, 1e-5, seed=seed), "s") for seed in (3, 4)]
    budget = budget_of([one for one in flat if one])
    assert budget.gain.value == pytest.approx(0.003, abs=1e-4) and budget.enough and budget.word == "enough"
    more = flatness(rising(0.0004, 1e-5), "s")
    assert more is not None and not budget_of([more]).enough
    assert budget_of([more]).word.startswith("still improving by 0.6 points")
    unsure = flatness(rising(0.0, 0.02), "s")
    assert unsure is not None and budget_of([unsure]).word.startswith("perhaps still improving by")


def test_a_curve_that_is_flat_because_its_rate_fell_proves_nothing():
    fallen = flatness(rising(0.0, 1e-5, last=1e-4), "s")
    assert fallen is not None and fallen.rate == pytest.approx(0.1)
    assert not budget_of([fallen]).enough and budget_of([fallen]).word.startswith("not judged: no constant")
    unknown = flatness([{k: v for k, v in row.items() if k != "lr"} for row in rising(0.0, 1e-5)], "s")
    assert unknown is not None and unknown.rate is None and not budget_of([unknown]).enough


def test_flatness_of_too_few_points_is_unknown():
    assert flatness([{"step": 1.0, "s": 0.1}, {"step": 2.0, "s": 0.2}], "s") is None
    assert flatness([], "s") is None


def test_cost_adds_up(study):
    cost = study.cost
    assert cost["trainings"] == 12
    assert cost["training_steps"] == sum(cell.steps for cell in study.cells)
    assert cost["by_cell"]["state-teacher"]["trainings"] == 3
    assert cost["evaluation_seconds"] == 12 * 12.0


def test_results_are_small_enough_to_commit(study, tmp_path):
    study.save(tmp_path)
    sizes = {path: path.stat().st_size for path in Path(tmp_path).rglob("*") if path.is_file()}
    assert sum(sizes.values()) / 12 < 450_000  # noise packs badly; a real policy's decisions take a third of it
