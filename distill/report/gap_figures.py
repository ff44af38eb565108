"""Figures of the gap: matrix, decomposition, ablations, who says how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..evaluation.evaluation import IN_VIEW, OUT_OF_VIEW
from ..evaluation.statistics import Interval, Seeded, t_interval, wilson
from .comparison import Comparison
from .figures import WIDTH, bars, legend, step_label
from .gaps import Cell, Decomposition, Gap
from .policies import CONTROL, STUDENTS, TEACHERS, cell_of, is_student
from .results import Entry

INK, SOFT = "#1d1d1f", "#5d6066"
GREY = "#b9bcc2"
"""What is owed to learning, not to sight."""
MAPS = {
    "success at end": LinearSegmentedColormap.from_list("success", ["#f3f6f8", "#56b4e9", "#0a5a94"]),
    "retention": LinearSegmentedColormap.from_list("retention", ["#f3f6f8", "#56b4e9", "#0a5a94"]),
    "unexplained action variance": LinearSegmentedColormap.from_list("missed", ["#f8f5f1", "#e69f00", "#b5490f"]),
}
"""By panel of the heat map: dark is much; blue is good, brown is bad."""
CAUSES = (
    ("Success lost, by cause", "success gap", ("success_optimisation", "success_observability", "success")),
    ("Decisions missed, by cause", "unexplained variance", ("optimisation", "observability", "unexplained")),
)
"""Panels of the decomposition: title, unit, and fields of `Decomposition`: learning, sight, both."""
INTACT = "as it is"


def matrix_figure(comparison: Comparison) -> Figure:
    """The gap matrix as heat maps: success, retention and unexplained action variance of every teacher's students."""
    matrix = comparison.matrix
    teachers = [t for t in TEACHERS if any(matrix[t].values())]
    students = [s for s in STUDENTS if any(matrix[t][s] for t in teachers)]
    figure = Figure(figsize=(WIDTH, 0.85 + 0.72 * len(teachers)), layout="constrained")
    panels = figure.subplots(1, len(MAPS), sharey=True)
    pick: dict[str, Callable[[Cell], Seeded | None]] = {
        "success at end": lambda cell: cell.success,
        "retention": lambda cell: cell.retention,
        "unexplained action variance": lambda cell: cell.unexplained,
    }
    for axes, (title, shades) in zip(panels, MAPS.items(), strict=True):
        found = {(t, s): cell and pick[title](cell) for t in teachers for s in students for cell in [matrix[t][s]]}
        top = max((f.value for f in found.values() if f), default=1.0) if "variance" in title else 1.0
        for (teacher, student), figure_of_cell in found.items():
            _square(axes, students.index(student), teachers.index(teacher), figure_of_cell, shades, top)
        axes.set(title=title, xlim=(-0.5, len(students) - 0.5), ylim=(len(teachers) - 0.5, -0.5))
        axes.set_xticks(range(len(students)), students)
        axes.set_yticks(range(len(teachers)), [_teacher_label(comparison, t) for t in teachers])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def _teacher_label(comparison: Comparison, teacher: str) -> str:
    """Name of a row, with the teachers' own success."""
    sight, _, start = teacher.partition(", ")
    role = f"{sight} teacher" + (f", {start}" if start else "")
    own = comparison.over_seeds.get(role)
    return role + (f" ({own['success_at_end'].value:.3f})" if own else "")


def _square(axes: Axes, x: int, y: int, found: Seeded | None, shades: Colormap, top: float) -> None:
    """One cell: its figure with interval and number of seeds; hatched where nothing was run."""
    if found is None or not np.isfinite(found.value):
        axes.add_patch(
            Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor="#fafafa", edgecolor="#dddddd", hatch="////")
        )
        return
    share = found.value / top if top else 0.0
    axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=shades(share), edgecolor="none"))
    red, green, blue = shades(share)[:3]
    ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK
    axes.text(x, y - 0.12, f"{found.value:.3f}", color=ink, ha="center", va="center", fontsize=10)
    low, high = found.both.low, found.both.high
    digits = 2 if top == 1.0 else 3
    bounds = f"{low:.{digits}f}–{high:.{digits}f}" if np.isfinite(low) else ""  # noqa: RUF001
    axes.text(
        x, y + 0.2, f"{bounds}\n{seeds_in_words(len(found.each))}", color=ink, ha="center", va="center", fontsize=6.5
    )


def decomposition_figure(comparison: Comparison) -> Figure:
    """What the students lost, in parts that add up: by whether the object was in view at reset, and, where a control
    student was trained, by learning and by sight, of success and of the teacher's decisions."""
    roles = [role for role in comparison.roles if is_student(role) and cell_of(role)[1] != CONTROL]
    gaps = {gap.student: gap for gap in comparison.gaps}
    parts = {part.student: part for part in comparison.decompositions}
    width = 3 if parts else 1
    figure = Figure(figsize=(WIDTH, 1.15 + 0.42 * len(roles)), layout="constrained")
    panels = figure.subplots(1, width, sharey=True, squeeze=False)[0]
    by_view = {
        "in view at reset": (GREY, _mean(comparison, gaps, lambda gap: gap.success_part_by_view.get(IN_VIEW))),
        "out of view": ("#e69f00", _mean(comparison, gaps, lambda gap: gap.success_part_by_view.get(OUT_OF_VIEW))),
    }
    _stacked(panels[0], comparison, roles, by_view, _mean(comparison, gaps, lambda gap: gap.success))
    panels[0].set_title("Success lost, by the reset", pad=20)
    panels[0].set_xlabel("success gap")
    if parts:
        for axes, (title, unit, names) in zip(panels[1:], CAUSES, strict=True):
            learning, sight, whole = (_mean(comparison, parts, attrgetter(name)) for name in names)
            _stacked(axes, comparison, roles, {"learning": (GREY, learning), "sight": ("#0a5a94", sight)}, whole)
            axes.set_title(title, pad=20)
            axes.set_xlabel(unit)
    panels[0].set_yticks(range(len(roles)), roles)
    panels[0].set_ylim(len(roles) - 0.4, -0.6)
    return figure


def _mean(
    comparison: Comparison, found: Mapping[str, Gap] | Mapping[str, Decomposition], pick: Callable
) -> dict[str, Interval]:
    """By role: the mean over its students of one figure of a gap or decomposition, with Student's t over seeds."""
    result = {}
    for role in comparison.roles:
        each = [pick(found[entry.name]) for entry in comparison.of_role(role) if entry.name in found]
        each = [figure for figure in each if figure is not None]
        if each:
            result[role] = each[0] if len(each) == 1 else t_interval([figure.value for figure in each])
    return result


def _stacked(
    axes: Axes,
    comparison: Comparison,
    roles: Sequence[str],
    parts: Mapping[str, tuple[str, Mapping[str, Interval]]],
    whole: Mapping[str, Interval],
) -> None:
    """Bars of parts that add up to a whole, whose interval is drawn but for two seeds; what is below zero grows
    to the left."""
    for row, role in enumerate(roles):
        right = left = 0.0
        for shade, figures in parts.values():
            if role not in figures:
                continue
            value = figures[role].value
            start = right if value >= 0 else left
            axes.barh(row, value, 0.56, left=start, color=shade)
            right, left = (right + value, left) if value >= 0 else (right, left + value)
        if role in whole and right > left:
            total = whole[role]
            if np.isfinite([total.low, total.high]).all() and len(comparison.of_role(role)) != 2:
                axes.plot([total.low, total.high], [row, row], color="#222222", linewidth=1.1)
            axes.plot(total.value, row, "|", color="#222222", markersize=9)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    handles = [Patch(color=shade, label=name) for name, (shade, _) in parts.items()]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, borderpad=0, ncols=2,
                handlelength=1.0)  # fmt: skip


def ablation_figure(comparison: Comparison) -> Figure:
    """success_at_end of each policy that has eyes, with its images as they are and tampered with."""
    roles = [role for role in comparison.roles if any(entry.ablations for entry in comparison.of_role(role))]
    kinds = dict.fromkeys(kind for entry in comparison.entries for kind in entry.ablations)
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()

    def height(entry: Entry, group: str) -> Interval | None:
        if group != INTACT and group not in entry.ablations:
            return None
        return wilson((entry.evaluation if group == INTACT else entry.ablations[group]).success_at_end)

    bars(axes, comparison, roles, [INTACT, *kinds], height)
    axes.set(ylabel="success at end", ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    legend(axes, comparison, roles)
    return figure


def sigma_figure(comparison: Comparison) -> Figure:
    """How unsure each student is of what its teacher would do: its standard deviation, by view and by phase."""
    gaps = {gap.student: gap for gap in comparison.gaps if gap.student_sigma}
    roles = list(dict.fromkeys(comparison.entry(name).role for name in gaps))
    groups = list(dict.fromkeys(name for gap in gaps.values() for name in gap.student_sigma))
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    bars(axes, comparison, roles, groups, lambda entry, group: gaps[entry.name].student_sigma.get(group))
    axes.set_xticks(axes.get_xticks(), [step_label(group) for group in groups])
    axes.set(ylabel="student's σ (actions in −1..1)", ylim=(0, 1.06 * axes.get_ylim()[1]))  # noqa: RUF001
    legend(axes, comparison, roles)
    return figure


def seeds_in_words(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
