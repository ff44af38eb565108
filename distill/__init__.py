"""Teachers, students, and what one loses of the other: trainings, evaluation, comparison, study, command line.

What is meant for use from Python can be had from here, each from its room when it is first asked for:

    from handsight.distill import TeacherConfig, train_teacher, load_policy, evaluate
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

ROOMS = {
    "training.teacher_config": ("TeacherConfig",),
    "training.train_teacher": ("train_teacher",),
    "training.student_config": ("OfflineConfig", "StudentRunConfig"),
    "training.dagger": ("DaggerConfig",),
    "training.train_student": ("train_student",),
    "runs.run": ("Run",),
    "runs.policy_io": ("LoadedPolicy", "load_policy"),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.evaluation": ("Evaluation",),
    "evaluation.disagreement": ("disagreement",),
    "report.style": ("STYLE",),
    "report.curves": ("curves_figure",),
    "report.figures": (
        "decomposition_figure", "learning_figure", "matrix_figure", "success_figure", "verdict_figure",
        "visibility_figure",
    ),
    "report.film": ("contact_sheet", "make_film"),
    "report.findings": ("CLAIM", "study_limits", "verdicts"),
    "report.report": ("main_policies",),
    "report.study_results": ("Study",),
    "commands.compare": ("CompareArgs", "compare"),
    "commands.evaluate": ("summary_table",),
    "commands.capacity": ("CapacityArgs", "capacity", "placement_figure", "placement_table"),
}  # fmt: skip
"""Where each public name lives."""
FIRST_EDITION = (
    "capacity", "compare", "curves", "evaluate", "figures", "placement", "policy_loading", "run", "study_figures",
    "study_findings", "study_report", "study_results", "train_student", "train_teacher", "video",
)  # fmt: skip
"""Modules under which the first edition had these names: `from handsight.distill.train_teacher import ...` goes on."""
_HOME = {name: room for room, names in ROOMS.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; available: {', '.join(__all__)}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


for _name in FIRST_EDITION:
    _module = ModuleType(f"{__name__}.{_name}", f"Names of the first edition; use `{__name__}`.")
    _module.__getattr__ = __getattr__  # type: ignore[method-assign]
    sys.modules[_module.__name__] = _module
