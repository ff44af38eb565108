"""Teacher-student pairs, what was lost and why, and the gap matrix, on tables small enough to count by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from handsight.distill.evaluation.disagreement import Disagreement
from handsight.distill.evaluation.statistics import plain, t_interval
from handsight.distill.report import tables
from handsight.distill.report.candidates import Origin
from handsight.distill.report.comparison import Comparison, figures_of
from handsight.distill.report.contrasts import explored
from handsight.distill.report.policy_kind import STUDENTS, TEACHERS, read_kind
from handsight.distill.report.results import PolicyResult

from ..evaluation.test_evaluate import table


def decisions(missed: float, sigma: float = 0.2) -> Disagreement:
    """T 2, E 4, A 1: a teacher that says 0 and 1 in turn (variance 1/4), and a student that misses by `missed`: the
    unexplained share is 4 missed^2."""
    teacher = np.tile(np.array([0.0, 1.0]), (4, 1)).T[..., None].astype(np.float32)
    std = np.full_like(teacher, sigma)
    return Disagreement(teacher, teacher + np.float32(missed), std / 2, std, np.ones((2, 4), dtype=bool))


def entry(
    label: str, success: str, seed: int = 0, teacher: PolicyResult | None = None, missed: float | None = None
) -> PolicyResult:
    """success: one figure per reset, "1010"; resets 0 and 3 begin with the object in view."""
    found = table(success_at_end=np.array([c == "1" for c in success]), aborted=np.zeros(4, bool))
    both = None if missed is None else decisions(missed)
    name = teacher.name if teacher else None
    return PolicyResult(f"{label} {seed}", read_kind(label), found, Origin("c", "d", seed=seed), name, both)


def matrix(policies: list[PolicyResult]) -> dict:
    """The gap matrix as it goes to JSON."""
    return tables.figures_dict(Comparison(tuple(policies), {}))["gap_matrix"]


def values(found: dict, start: str) -> dict[str, float]:
    return {name.removeprefix(start): figure.value for name, figure in found.items() if name.startswith(start)}


def chains(*seeds: tuple[str, str, str]) -> list[PolicyResult]:
    """For each seed a state teacher, its control and its stereo student: their successes."""
    entries = []
    for seed, (of_teacher, of_control, of_student) in enumerate(seeds):
        teacher = entry("state teacher", of_teacher, seed)
        entries += [teacher, entry("state → control", of_control, seed, teacher, missed=0.1)]
        entries.append(entry("state → stereo", of_student, seed, teacher, missed=0.3 + 0.1 * seed))
    return entries


def test_parts_of_the_success_gap_by_view_add_up_to_it():
    teacher, _, student = chains(("1111", "1110", "1000"))
    found = values(figures_of(student, teacher), "success_gap")
    assert found == {
        "": 0.75,
        ", in view at reset": 0.5,
        ", out of view at reset": 1.0,
        ", part in view at reset": 0.25,
        ", part out of view at reset": 0.5,
    }


def test_control_student_counts_on_the_states_of_the_student_that_drove_it():
    """On the student's states the control misses by 0.2 (16 % unexplained), on its own by 0.1 (4 %)."""
    teacher, control, student = chains(("1111", "1110", "1000"))
    student = replace(student, origin=replace(student.origin, digest="of the student"))
    control = replace(control, driver="of the student", driven=decisions(0.2))
    parts = figures_of(student, teacher, control)
    assert parts["optimisation_error"].value == pytest.approx(0.16)
    assert parts["observability_gap"].value == pytest.approx(0.36 - 0.16)
    cells = matrix([teacher, control, student])["state"]
    assert cells["stereo"]["observability_gap"].value == pytest.approx(0.2)
    assert cells["control"]["observability_gap"].value == 0.0
    assert cells["control"]["unexplained"].value == pytest.approx(0.04)
    other = figures_of(replace(student, origin=Origin("c", "another")), teacher, control)
    assert other["optimisation_error"].value == pytest.approx(0.04)


def test_sigma_is_told_where_the_object_is_seen_and_where_it_is_hidden():
    teacher, _, student = chains(("1111", "1110", "1000"))
    both = student.disagreement
    assert both is not None
    seen = student.evaluation.in_view[:, :2].T > 0
    both.student_std[~seen] = 0.6
    found = figures_of(student, teacher)
    figures = values(found, "student_sigma")
    assert figures[", in view"] == pytest.approx(0.2) and figures[", out of view"] == pytest.approx(0.6)
    assert figures[""] == pytest.approx((0.2 * seen.sum() + 0.6 * (~seen).sum()) / 8)
    assert found["teacher_sigma, out of view"].value == pytest.approx(0.1)


def test_decomposition_adds_up_in_action_variance_and_in_success():
    found = figures_of(*(chains(("1111", "1110", "1000"))[i] for i in (2, 0, 1)))
    assert found["unexplained_action_variance"].value == pytest.approx(4 * 0.3**2)
    assert found["optimisation_error"].value == pytest.approx(4 * 0.1**2)
    assert found["observability_gap"].value == pytest.approx(4 * (0.3**2 - 0.1**2))
    whole, learning, sight = (found[f"success_gap{part}"] for part in ("", ", optimisation", ", observability"))
    assert (whole.value, learning.value, sight.value) == (0.75, 0.25, 0.5)


def test_table_is_tidy_and_every_row_has_its_seed_and_scene():
    comparison = Comparison(tuple(chains(("1111", "1110", "1000"))), {"scene": "wrist"})
    (row,) = [r for r in comparison.table if (r.policy, r.metric) == ("state → stereo 0", "retention")]
    assert (row.scene, row.seed, row.value) == ("wrist", 0, 0.25)
    keys = [(r.policy, r.metric) for r in comparison.table]
    assert len(keys) == len(set(keys))
    assert not any(r.metric == "observability_gap" for r in comparison.table if "control" in r.policy)
    assert comparison.figure("state → stereo 0", "observability_gap") is not None
    assert comparison.figure("state teacher 0", "success_gap") is None


def test_cells_of_the_matrix_by_hand():
    found = matrix(chains(("1111", "1110", "1000"), ("1101", "1101", "1001")))
    cell = found["state"]["stereo"]
    assert cell is not None and cell["chains"] == ["state → stereo 0", "state → stereo 1"]
    assert cell["success"].value == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert cell["success_gap"] is not None and cell["success_gap"].value == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert cell["success_gap"].seeds == t_interval([0.75, 0.25])
    assert cell["retention"] is not None and cell["retention"].value == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert cell["unexplained"] is not None and cell["unexplained"].value == pytest.approx(4 * (0.3**2 + 0.4**2) / 2)
    gap = cell["observability_gap"]
    assert gap is not None and [one.value for one in gap.each] == pytest.approx([0.32, 0.60])
    assert cell["steps_in_view"] is not None
    assert cell["steps_in_view"].value == pytest.approx((2 / 3 + 1 / 3 + 1 / 2 + 1) / 4)
    control = found["state"]["control"]
    assert (
        control is not None and control["observability_gap"] is not None and control["observability_gap"].value == 0.0
    )


def test_control_of_the_students_own_seed_is_the_one_that_counts():
    teacher = entry("state teacher", "1111")
    student = entry("state → stereo", "1000", 7, teacher, missed=0.3)
    controls = [entry("state → control", "1110", seed, teacher, missed) for seed, missed in ((3, 0.2), (7, 0.1))]
    for found, gap in ((controls, 0.36 - 0.04), (controls[:1], 0.36 - 0.16)):
        cell = matrix([teacher, *found, student])["state"]["stereo"]
        assert cell is not None and cell["observability_gap"] is not None
        assert [one.value for one in cell["observability_gap"].each] == pytest.approx([gap])


def test_missing_cells_are_none_and_the_matrix_is_whole():
    found = matrix(chains(("1111", "1110", "1000")))
    assert list(found) == [teacher.row for teacher in TEACHERS]
    assert all(tuple(row) == STUDENTS for row in found.values())
    assert found["depth"] == dict.fromkeys(STUDENTS)
    assert found["state"]["left eye"] is None


def test_without_a_control_or_an_asked_teacher_the_figures_are_none():
    teacher = entry("state teacher", "1111")
    cell = matrix([teacher, entry("state → stereo", "1100", 0, teacher)])["state"]["stereo"]
    assert cell is not None and cell["unexplained"] is None and cell["observability_gap"] is None
    alone = matrix([entry("state → stereo", "1100")])["state"]["stereo"]
    assert alone is not None and alone["success_gap"] is None and alone["retention"] is None


def test_depth_students_of_a_depth_teacher_stand_in_both_columns():
    teacher = entry("depth teacher", "1111")
    row = matrix([teacher, entry("depth → control", "1101", 0, teacher, missed=0.1)])["depth"]
    assert row["depth"] is not None and row["depth"]["chains"] == ["depth → control 0"]
    assert row["control"] is not None and row["control"]["chains"] == row["depth"]["chains"]


def test_pairs_are_set_against_each_other_by_seed_and_the_rest_is_left_out():
    whole = [e for e in chains(("1111", "1111", "1000"), ("1101", "1101", "1001")) if not e.kind.control]
    depth = []
    for seed in (1, 5):
        teacher = entry("depth teacher, warm start", "1111", seed)
        depth += [teacher, entry("depth → stereo, warm start", "1110", seed, teacher)]
    (one,) = explored("", Comparison((*whole, *depth), {}))
    assert one.seeds == (1,) and one.students == (("state → stereo 1", "depth → stereo, warm start 1"),)
    twins = [replace(policy, origin=replace(policy.origin, seed=None)) for policy in (*whole, *depth)]
    (one,) = explored("", Comparison(tuple(twins), {}))
    assert one.students[1] == ("state → stereo 1", "depth → stereo, warm start 5")  # seeds unknown: in their order


def two_kinds(*seeds: tuple[str, str, str, str], scratch: bool = False) -> Comparison:
    """For each seed: state teacher, its student, depth teacher, its student."""
    warm, entries = "" if scratch else ", warm start", []
    for seed, (state, of_state, depth, of_depth) in enumerate(seeds):
        one, other = entry("state teacher", state, seed), entry(f"depth teacher{warm}", depth, seed)
        entries += [one, entry("state → stereo", of_state, seed, one)]
        entries += [other, entry(f"depth → stereo{warm}", of_depth, seed, other)]
    return Comparison(tuple(entries), {})


def test_extra_loss_is_paired_by_seed_and_reset_over_all_seeds():
    comparison = two_kinds(("1111", "1000", "1111", "1110"), ("1111", "1100", "1110", "1110"))
    (loss,) = explored("", comparison)
    assert loss.name == "warm start" and len(loss.pairs) == 2
    # seed 0: 3/4 - 1/4; seed 1: 2/4 - 0
    assert [one.value for one in loss.figure.each] == [0.5, 0.5]
    assert np.isnan(loss.figure.seeds.low) and loss.figure.interval == loss.figure.both  # two seeds that agree


def test_headline_is_the_kind_of_depth_teacher_with_most_seeds_then_the_one_from_scratch():
    warm = two_kinds(("1111", "1000", "1111", "1110"), ("1111", "1100", "1110", "1110"))
    scratch = two_kinds(("1111", "1000", "1111", "1111"), scratch=True)
    fewer = Comparison((*warm.policies, *scratch.policies[2:]), {})
    assert [loss.name for loss in explored("", fewer)] == ["warm start", "from scratch"]
    even = Comparison((*warm.policies[:4], *scratch.policies[2:]), {})
    assert explored("", even)[0].name == "from scratch"
    assert explored("", Comparison(warm.policies[:2], {})) == []


def test_comparison_of_everything_goes_to_json_and_markdown_without_a_gap():
    comparison = Comparison(
        (*chains(("1111", "1110", "1000")), *two_kinds(("1111", "1000", "1111", "1110")).policies[2:]), {}
    )
    text = json.dumps(plain(tables.as_dict(comparison)), allow_nan=False)
    stored = json.loads(text)
    assert stored["gap_matrix"]["depth"]["stereo"] is None
    assert stored["gap_matrix"]["state"]["stereo"]["observability_gap"]["both"]["value"] == pytest.approx(0.32)
    assert stored["decompositions"][0]["student"] == "state → stereo 0"
    assert stored["extra_loss_of_the_state_chain"][0]["figure"]["both"]["value"] == 0.5
    page = tables.markdown(comparison)
    assert "| state → stereo | 1 |" in page and "| depth, warm start → stereo | 1 |" in page
    assert "| depth → stereo, warm start | 1 |" in page
    assert "observability_gap" in tables.as_csv(comparison).splitlines()[0]
