"""Names of what is compared, from configurations alone."""

from itertools import product

import pytest

from handsight.distill.report.policy_kind import STUDENTS, TEACHERS, PolicyKind, read_kind, sight_of, taught


def seeing(sight: str, fusion: str = "cross_attention") -> dict[str, str]:
    return {"sight": sight, "fusion": fusion}


def test_what_a_policy_sees():
    assert sight_of({"actor_keys": ["proprio", "depth"]}) == "depth"
    assert sight_of({"actor_keys": ["state", "proprio"]}) == "state"
    assert sight_of(seeing("stereo")) == "stereo"
    assert sight_of(seeing("left")) == sight_of(seeing("stereo", "left")) == "left eye"
    assert sight_of(seeing("depth", "left")) == "depth"


def test_student_that_sees_what_its_teacher_sees_is_its_control():
    assert PolicyKind("state", "state").label == "state → control" and PolicyKind("state", "state").control
    assert PolicyKind("depth", "depth").label == "depth → control"
    assert PolicyKind("state", "depth").label == "state → depth" and not PolicyKind("state", "depth").control
    assert PolicyKind("state", "state").sight == "state"


def test_warm_start_is_named_in_teachers_and_in_those_they_taught():
    teacher = PolicyKind("depth", warm_start=True)
    assert teacher.label == "depth teacher, warm start" and not teacher.is_student
    student = taught(teacher, "left eye")
    assert student.label == "depth → left eye, warm start" and student.is_student
    assert student.its_teacher == teacher


def test_matched_teachers_and_their_students_are_named():
    assert PolicyKind("depth", None, True, matched=True).label == "depth teacher, warm start, matched"
    assert PolicyKind("state", "stereo", matched=True).label == "state, matched → stereo"
    assert PolicyKind("depth", "stereo", True, matched=True).label == "depth, matched → stereo, warm start"


@pytest.mark.parametrize("teacher", ["state", "depth", "unknown"])
def test_every_label_is_read_back(teacher):
    for student, warm, matched in product((None, "state", "depth", "stereo", "left eye"), (False, True), (False, True)):
        kind = PolicyKind(teacher, student, warm, matched)
        assert read_kind(kind.label) == kind


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("student", STUDENTS)
def test_every_cell_of_the_gap_matrix_has_a_kind(teacher, student):
    kind = taught(teacher, student)
    assert kind.row == teacher.row
    coincide = teacher.teacher == "depth" and student == "depth"
    assert kind.column == ("control" if coincide else student)
