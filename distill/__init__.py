"""Teachers, students, and what one loses of the other: trainings, evaluation, comparison, study, command line.

What is meant for use from Python can be had from here, each from its room when it is first asked for:

    from handsight.distill import TeacherConfig, train_teacher, load_policy, evaluate
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .commands.capacity import CapacityArgs, capacity, placement_figure, placement_table
    from .commands.compare import CompareArgs, compare
    from .commands.evaluate import summary_table
    from .evaluation.disagreement import disagreement
    from .evaluation.evaluate import evaluate
    from .evaluation.evaluation import Evaluation
    from .report.curves import curves_figure
    from .report.figures import (
        decomposition_figure,
        learning_figure,
        matrix_figure,
        success_figure,
        verdict_figure,
        visibility_figure,
    )
    from .report.film import beside, contact_sheet, make_film
    from .report.findings import CLAIM, study_limits, verdicts
    from .report.report import main_policies
    from .report.study_results import Study
    from .report.style import STYLE
    from .runs.policy_io import LoadedPolicy, load_policy
    from .runs.run import Run
    from .training.student_config import DaggerConfig, OfflineConfig, StudentRunConfig
    from .training.teacher_config import TeacherConfig
    from .training.train_student import train_student
    from .training.train_teacher import train_teacher

FIRST_EDITION = (
    "capacity", "compare", "curves", "evaluate", "figures", "placement", "policy_loading", "run", "study_figures",
    "study_findings", "study_report", "study_results", "train_student", "train_teacher", "video",
)  # fmt: skip
"""Modules under which the first edition had these names: `from handsight.distill.train_teacher import ...` goes on."""
lazy.attach(__name__)
for _name in FIRST_EDITION:
    _module = ModuleType(f"{__name__}.{_name}", f"Names of the first edition; use `{__name__}`.")
    _module.__getattr__ = sys.modules[__name__].__getattr__  # type: ignore[method-assign]
    sys.modules[_module.__name__] = _module
