"""Names of what is compared, from configurations alone."""

import pytest

from handsight.distill.report.policies import (
    STUDENTS,
    TEACHERS,
    cell_of,
    is_student,
    role_of_cell,
    sight_of,
    student_role,
    teacher_role,
)


def seeing(sight: str, fusion: str = "cross_attention") -> dict[str, str]:
    return {"sight": sight, "fusion": fusion}


def test_what_a_policy_sees():
    assert sight_of({"actor_keys": ["proprio", "depth"]}) == "depth"
    assert sight_of({"actor_keys": ["state", "proprio"]}) == "state"
    assert sight_of(seeing("stereo")) == "stereo"
    assert sight_of(seeing("left")) == sight_of(seeing("stereo", "left")) == "left eye"
    assert sight_of(seeing("depth", "left")) == "depth"


def test_student_that_sees_what_its_teacher_sees_is_its_control():
    assert student_role("state", "state", False) == "state → control"
    assert student_role("depth", "depth", False) == "depth → control"
    assert student_role("state", "depth", False) == "state → depth"


def test_warm_start_is_named_in_teachers_and_in_those_they_taught():
    assert teacher_role("depth", True) == "depth teacher, warm start"
    assert student_role("depth", "left eye", True) == "depth → left eye, warm start"
    assert not is_student(teacher_role("depth", True)) and is_student(student_role("depth", "stereo", True))


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("student", STUDENTS)
def test_cells_and_roles_are_each_others_inverse(teacher, student):
    row, column = cell_of(role_of_cell(teacher, student))
    assert row == teacher
    coincide = teacher.startswith("depth") and student == "depth"
    assert column == ("control" if coincide else student)
