"""What the policies of a comparison are called: "depth teacher, warm start", "state → stereo", "depth → control"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARROW, WARM = " → ", ", warm start"
"""WARM ends the role of a teacher that imitated another one before it learnt by itself, and of those it taught."""
CONTROL, LEFT = "control", "left eye"
TEACHERS = ("state", "depth" + WARM, "depth")
"""Rows of the gap matrix; the last one learnt from scratch, end to end."""
STUDENTS = (CONTROL, "depth", "stereo", LEFT)
"""Columns of the gap matrix."""


def sight_of(policy_config: Mapping[str, Any]) -> str:
    """What a policy of this configuration sees beside proprioception: "state", "depth", "stereo", "left eye".

    A student that is given both eyes and fuses only the left one sees with its left eye.
    """
    if "sight" in policy_config:
        left = policy_config["sight"] == "left" or policy_config["fusion"] == "left"
        return LEFT if left and policy_config["sight"] in ("stereo", "left") else policy_config["sight"]
    return next((key for key in policy_config["actor_keys"] if key != "proprio"), "proprio")


def teacher_role(sight: str, warm: bool) -> str:
    """e.g. "state teacher", "depth teacher, warm start"."""
    return f"{sight} teacher{WARM if warm else ''}"


def student_role(taught: str, sight: str, warm: bool) -> str:
    """e.g. "state → stereo", "depth → left eye, warm start"; a student that sees what its teacher sees is its control.

    taught: the teacher's sight; warm: that teacher imitated another one first.
    """
    return f"{taught}{ARROW}{CONTROL if sight == taught else sight}{WARM if warm else ''}"


def is_student(role: str) -> bool:
    """Whether the role is that of a student."""
    return ARROW in role


def cell_of(role: str) -> tuple[str, str]:
    """(teacher, student) of a student's role: its row and column in the gap matrix, e.g. ("depth, warm start",
    "stereo")."""
    taught, student = role.removesuffix(WARM).split(ARROW)
    return taught + (WARM if role.endswith(WARM) else ""), student


def role_of_cell(teacher: str, student: str) -> str:
    """The role that stands in a cell of the gap matrix.

    A depth student of a depth teacher sees what its teacher sees: both columns show the same policies, its control.
    """
    return student_role(
        teacher.removesuffix(WARM), teacher.removesuffix(WARM) if student == CONTROL else student, WARM in teacher
    )
