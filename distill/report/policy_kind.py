"""What kind of policy is compared: who sees what, taught by whom. All that two training seeds of one policy share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

CONTROL, LEFT, STEREO = "control", "left eye", "stereo"
ARROW, WARM, MATCHED = " → ", ", warm start", ", matched"


@dataclass(frozen=True)
class PolicyKind:
    """A teacher, or a student of one."""

    teacher: str
    """What the teacher sees beside proprioception: "state", "depth", ...; "unknown" if it is not at hand."""
    student: str | None = None
    """What the student sees: "state", "depth", "stereo", "left eye", "noisy position", ...; None for a teacher."""
    warm_start: bool = False
    """Whether the teacher imitated another one before it learnt by itself."""
    matched: bool = False
    """Whether the teacher is an earlier checkpoint, chosen to be as good as the weaker teacher of its seed."""

    @property
    def is_student(self) -> bool:
        """Whether a teacher taught it."""
        return self.student is not None

    @property
    def control(self) -> bool:
        """Whether it is a student that sees what its teacher sees."""
        return self.student == self.teacher

    @property
    def sight(self) -> str:
        """What it sees itself beside proprioception."""
        return self.student or self.teacher

    @property
    def its_teacher(self) -> PolicyKind:
        """The kind of the policy that taught it; a teacher's own."""
        return replace(self, student=None)

    @property
    def row(self) -> str:
        """Its teacher's row in the gap matrix: "state", "depth, warm start"."""
        return self.teacher + WARM * self.warm_start

    @property
    def column(self) -> str:
        """Its column in the gap matrix: "control", "stereo", ..."""
        return CONTROL if self.control else str(self.student)

    @property
    def label(self) -> str:
        """How it is called for people, e.g. "depth teacher, warm start", "state, matched → stereo"."""
        matched, warm = MATCHED * self.matched, WARM * self.warm_start
        if self.is_student:
            return f"{self.teacher}{matched}{ARROW}{self.column}{warm}"
        return f"{self.teacher} teacher{warm}{matched}"


TEACHERS = STATE, WARM_DEPTH, DEPTH = (PolicyKind("state"), PolicyKind("depth", warm_start=True), PolicyKind("depth"))
"""Rows of the gap matrix; the last one learnt from scratch, end to end."""
STUDENTS = (CONTROL, "depth", STEREO, LEFT)
"""Columns of the gap matrix."""


def taught(teacher: PolicyKind, student: str) -> PolicyKind:
    """The kind of the students of a teacher in a column of the gap matrix. A depth student of a depth teacher sees what
    its teacher sees: both columns show the same policies, its control."""
    return replace(teacher, student=teacher.teacher if student == CONTROL else student)


TEACHER_NAMES = {"state-teacher": STATE, "depth-teacher": WARM_DEPTH, "depth-teacher-scratch": DEPTH}
"""Kinds of teachers by the name of their training in a study."""
STRONGER = PolicyKind("stronger", matched=True)
"""Teacher of a matched student as long as nobody knows which of the two is the stronger one."""
SOURCES = {"state": STATE, "depth": WARM_DEPTH, "depth-scratch": DEPTH, "matched": STRONGER} | {
    f"{name}-matched": replace(teacher, matched=True) for name, teacher in (("state", STATE), ("depth", WARM_DEPTH))
}
"""What a student's training calls its teacher."""
PLACES = ("position", "noisy-position", "seen-position")
"""Controls that are told where the object is: what is lost to precision, and what to being out of sight."""
SIGHTS = {"stereo": STEREO, "left": LEFT, "depth": "depth", "control": CONTROL}
SIGHTS |= {name: name.replace("-", " ") for name in PLACES}
"""What students see, as a training and as the gap matrix calls it; "control": what their teacher sees."""
NAMED = TEACHER_NAMES | {
    f"{source}-to-{sight}": taught(teacher, seen)
    for source, teacher in SOURCES.items()
    for sight, seen in SIGHTS.items()
}
"""Every kind by the name of its training in a study, e.g. "depth-to-stereo"."""


def read_kind(label: str) -> PolicyKind:
    """The kind that a file calls by its label, the key `role` of comparison.json: the only place that reads labels."""
    bare = label.replace(WARM, "").replace(MATCHED, "")
    teacher, arrow, student = bare.removesuffix(" teacher").partition(ARROW)
    sight = (teacher if student == CONTROL else student) if arrow else None
    return PolicyKind(teacher, sight, WARM in label, MATCHED in label)


def sight_of(policy_config: Mapping[str, Any]) -> str:
    """What a policy of this configuration sees beside proprioception: "state", "depth", "stereo", "left eye", ...

    A student that is given both eyes and fuses only the left one sees with its left eye.
    """
    if "sight" in policy_config:
        left = policy_config["sight"] == "left" or policy_config["fusion"] == "left"
        return (
            LEFT if left and policy_config["sight"] in ("stereo", "left") else policy_config["sight"].replace("_", " ")
        )
    return next((key for key in policy_config.get("actor_keys", ("state",)) if key != "proprio"), "proprio")
