"""The figures of a report: one function each, from a comparison to a matplotlib figure."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.random import RandomState
from numpy.typing import NDArray

from ..evaluation.evaluation import FEW, IN_VIEW, OUT_OF_VIEW
from ..evaluation.phases import PHASES
from ..evaluation.statistics import Seeded
from .comparison import ALL, Comparison, in_stratum
from .contrasts import PASSES, Contrast
from .curves import band, curve_of, over_steps, panels
from .findings import seeds_in_words
from .policy_kind import STUDENTS, TEACHERS, PolicyKind
from .results import PolicyResult
from .style import colour

CROWDED = 0.03
"""Share of the figure's width below which a bar has no room for its number."""
INK, SOFT = "#1d1d1f", "#5d6066"
GREY = "#b9bcc2"
"""Colour of what is owed to learning, not to sight."""
BLUE, BROWN = (["#f3f6f8", "#56b4e9", "#0a5a94"], ["#f8f5f1", "#e69f00", "#b5490f"])
MAPS = {
    "success at end": ("success", LinearSegmentedColormap.from_list("good", BLUE)),
    "retention": ("retention", LinearSegmentedColormap.from_list("good", BLUE)),
    "unexplained action variance": ("unexplained", LinearSegmentedColormap.from_list("bad", BROWN)),
}
"""Figure and shades by panel of the heat map: dark is much; blue is good, brown is bad."""
LOST = (
    ("Success lost, by the reset", "success gap", {
        "in view at reset": (GREY, "success_gap, part in view at reset"),
        "out of view": ("#e69f00", "success_gap, part out of view at reset"),
    }, "success_gap"),
    ("Success lost, by cause", "success gap", {
        "learning": (GREY, "success_gap, optimisation"),
        "sight": ("#0a5a94", "success_gap, observability"),
    }, "success_gap"),
    ("Decisions missed, by cause", "unexplained variance", {
        "learning": (GREY, "optimisation_error"),
        "sight": ("#0a5a94", "observability_gap"),
    }, "unexplained_action_variance"),
)  # fmt: skip
"""Panels of the decomposition: title, unit, colour and metric of the parts, metric of the whole."""
STEPS = {ALL: ALL, IN_VIEW: "object in view", OUT_OF_VIEW: "object out of view", **{name: name for name in PHASES}}
"""What a choice of steps is called below a figure."""


def success_figure(comparison: Comparison) -> Figure:
    """success_at_end by view at reset: all, in view, out of view."""
    metrics = {f"all resets\n(n = {comparison.policies[0].summary['episodes']})": "success_at_end"}
    names = {IN_VIEW: "object in view at reset", OUT_OF_VIEW: "out of view at reset"}
    for view in comparison.policies[0].summary.get("by_view_at_reset", {}):
        counts = {one.summary["by_view_at_reset"][view]["episodes"] for one in comparison.policies}
        number = " to ".join(map(str, dict.fromkeys((min(counts), max(counts)))))  # eyes differ, and what they see
        metrics[f"{names[view]}\n(n = {number})"] = f"success_at_end, {view} at reset"
    return _success_by(comparison, comparison.kinds, metrics)


def kinds_figure(comparison: Comparison) -> Figure:
    """success_at_end by kind of object; of many the hardest."""
    found = {name: one["episodes"] for name, one in comparison.policies[0].summary["by_object_kind"].items()}
    found = dict([*comparison.hardest.items()][:FEW]) if len(found) > FEW else found
    metrics = {name.replace("_", "\n", 1) + f"\n(n = {n})": f"success_at_end, {name}" for name, n in found.items()}
    return _success_by(comparison, comparison.kinds, metrics)


def objects_figure(comparison: Comparison, pictures: Mapping[str, NDArray[np.uint8]]) -> Figure:
    """Objects, by name (H, W, 3), each with the success of every policy."""
    rows, side, words = -(-len(pictures) // 5), 1.7, 0.3 + 0.15 * len(comparison.policies)  # inches
    figure = Figure(figsize=(9.6, tall := rows * (side + words)))
    grid = figure.subplots(rows, 5, squeeze=False)
    figure.subplots_adjust(0.005, (words - 0.25) / tall, 0.995, 1 - 0.25 / tall, 0.1, words / side)
    for axes, (name, picture) in zip(grid.flat, pictures.items(), strict=False):
        axes.imshow(picture)
        axes.set_title(f"{name} (n = {comparison.hardest[name]})", fontsize=8)
        for line, one in enumerate(comparison.policies):
            found = comparison.figure(one.name, f"success_at_end, {name}")
            told, how = f"{one.name} {found.value:.2f}" if found else one.name, {"ha": "center", "va": "top"}
            at = {"color": colour(comparison, one.kind), "transform": axes.transAxes, "fontsize": 7}
            axes.text(0.5, -0.15 * line / side, told, **at, **how)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def ablation_figure(comparison: Comparison) -> Figure:
    """success_at_end of each policy that sees images, with them as they are and tampered with."""
    kinds = [kind for kind in comparison.kinds if any(one.ablations for one in comparison.of_kind(kind))]
    how = dict.fromkeys(how for one in comparison.policies for how in one.ablations)
    return _success_by(comparison, kinds, {"as it is": "success_at_end", **{h: f"success_at_end, {h}" for h in how}})


def _success_by(comparison: Comparison, kinds: Sequence[PolicyKind], metrics: Mapping[str, str]) -> Figure:
    figure, (axes,) = panels(3.1 if kinds == comparison.kinds else 3.0)
    bars(axes, comparison, kinds, metrics)
    axes.set(ylabel="success at end", ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    return figure


def unexplained_figure(comparison: Comparison) -> Figure:
    """Unexplained action variance of each student: all steps, by whether it sees the object at that step, and by grasp
    phase, where the environment tells."""
    return _by_steps(comparison, "unexplained_action_variance", "unexplained action variance", digits=3)


def sigma_figure(comparison: Comparison) -> Figure:
    """How unsure each student is of what its teacher would do: its standard deviation, by view and by grasp phase."""
    return _by_steps(comparison, "student_sigma", "student's σ (actions in −1..1)")  # noqa: RUF001


def _by_steps(comparison: Comparison, metric: str, label: str, digits: int = 2) -> Figure:
    kinds = [kind for kind in comparison.kinds if comparison.over(kind, metric) is not None]
    metrics = {name: in_stratum(metric, steps) for steps, name in STEPS.items()}
    metrics = {name: one for name, one in metrics.items() if any(comparison.over(kind, one) for kind in kinds)}
    figure, (axes,) = panels(2.8)
    bars(axes, comparison, kinds, metrics, digits)
    axes.set(ylabel=label, ylim=(0, 1.06 * axes.get_ylim()[1]))
    return figure


def bars(
    axes: Axes, comparison: Comparison, kinds: Sequence[PolicyKind], metrics: Mapping[str, str], digits: int = 2
) -> None:
    """Groups of bars, a group for each metric, by its label, a bar for each policy kind. One seed: its own interval.
    Several: their mean and points, and from three on the t-interval (two would give one that hides everything). No bar
    where nothing is known. The legend stands above the axes."""
    width = min(0.8 / max(len(kinds), 1), 0.22)
    for number, kind in enumerate(kinds):
        for place, metric in enumerate(metrics.values()):
            each = [f.value for one in comparison.of_kind(kind) if (f := comparison.figure(one.name, metric))]
            bar = comparison.over(kind, metric)
            if bar is None or not np.isfinite(each).all():
                continue
            x = place + (number - (len(kinds) - 1) / 2) * width
            axes.bar(x, bar.value, 0.9 * width, color=colour(comparison, kind))
            tops = [bar.value, *each]
            if np.isfinite([bar.low, bar.high]).all():
                axes.plot([x, x], [bar.low, bar.high], color="#222222", linewidth=1.1)
                tops.append(bar.high)
            if len(each) > 1:
                axes.plot([x] * len(each), each, "o", color="white", markeredgecolor="#222222", ms=3)
            if width / len(metrics) >= CROWDED:
                look = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 8}
                axes.annotate(f"{bar.value:.{digits}f}", (x, max(tops)), (0, 2), **look)
    axes.set_xticks(range(len(metrics)), list(metrics))
    axes.set_xlim(-0.5, len(metrics) - 0.5)
    shades = {kind.label: colour(comparison, kind) for kind in kinds}
    _legend(axes, shades, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=legend_columns(list(shades)))


def _legend(axes: Axes, shades: Mapping[str, str], **place: Any) -> None:
    handles = [Patch(color=shade, label=name) for name, shade in shades.items()]
    axes.legend(handles=handles, handlelength=1.0, **place)


def legend_columns(names: Sequence[str]) -> int:
    """Columns of a legend above a wide figure: as many as fit."""
    return min(len(names), 6 if sum(map(len, names)) < 90 else 4)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Let the axes have a named row for each of several things, from above, with a line at zero."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def matrix_figure(comparison: Comparison) -> Figure:
    """The gap matrix as heat maps: success, retention and unexplained action variance of every teacher's students."""
    matrix = comparison.matrix
    teachers = [teacher for teacher in TEACHERS if any(matrix[teacher.row].values())]
    students = [student for student in STUDENTS if any(matrix[teacher.row][student] for teacher in teachers)]
    figure, maps = panels(0.85 + 0.72 * len(teachers), len(MAPS), sharey=True)
    for axes, (title, (key, shades)) in zip(maps, MAPS.items(), strict=True):
        places = itertools.product(enumerate(students), enumerate(teachers))
        kinds = {(x, y): matrix[teacher.row][student] for (x, student), (y, teacher) in places}
        found = {place: comparison.over_seeds[kind].get(key) if kind else None for place, kind in kinds.items()}
        top = max((f.value for f in found.values() if f), default=1.0) if key == "unexplained" else 1.0
        for (x, y), figure_there in found.items():
            _square(axes, x, y, figure_there, shades, top)
        axes.set(title=title, xlim=(-0.5, len(students) - 0.5), ylim=(len(teachers) - 0.5, -0.5))
        axes.set_xticks(range(len(students)), students)
        axes.set_yticks(range(len(teachers)), [_teacher_label(comparison, teacher) for teacher in teachers])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def _teacher_label(comparison: Comparison, teacher: PolicyKind) -> str:
    """Name of a row, with the teachers' own success."""
    own = comparison.over(teacher, "success_at_end")
    return teacher.label + (f" ({own.value:.3f})" if own else "")


def _square(axes: Axes, x: int, y: int, found: Seeded | None, shades: Colormap, top: float) -> None:
    """One cell: its figure with interval and number of seeds; hatched where nothing was run."""
    square = partial(Rectangle, (x - 0.48, y - 0.46), 0.96, 0.92)
    if found is None or not np.isfinite(found.value):
        axes.add_patch(square(facecolor="#fafafa", edgecolor="#dddddd", hatch="////"))
        return
    shade = shades(found.value / top if top else 0.0)
    axes.add_patch(square(facecolor=shade, edgecolor="none"))
    ink = "white" if np.dot((0.299, 0.587, 0.114), shade[:3]) < 0.55 else INK
    digits = 2 if top == 1.0 else 3
    low, high = found.both.low, found.both.high
    bounds = f"{low:.{digits}f}–{high:.{digits}f}" if np.isfinite(low) else ""  # noqa: RUF001
    below = f"{bounds}\n{seeds_in_words(len(found.each))}"
    for height, text, size in ((-0.12, f"{found.value:.3f}", 10), (0.2, below, 6.5)):
        axes.text(x, y + height, text, color=ink, ha="center", va="center", fontsize=size)


def decomposition_figure(comparison: Comparison) -> Figure:
    """What the students lost, in parts that add up: by whether the object was in view at reset, and, where a control
    student was trained, by learning and by sight, of success and of the teacher's decisions."""
    kinds = [kind for kind in comparison.kinds if kind.is_student and not kind.control]
    by_cause = any(comparison.over(kind, "observability_gap") for kind in kinds)
    chosen = LOST if by_cause else LOST[:1]
    figure, ways = panels(1.15 + 0.42 * len(kinds), len(chosen), sharey=True)
    for axes, (title, unit, parts, whole) in zip(ways, chosen, strict=True):
        for row, kind in enumerate(kinds):
            _stacked(axes, row, comparison, kind, parts, whole)
        _rows(axes, [kind.label for kind in kinds])
        shades = {name: shade for name, (shade, _) in parts.items()}
        _legend(axes, shades, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, borderpad=0, ncols=2)
        axes.set_title(title, pad=20)
        axes.set_xlabel(unit)
    return figure


def _stacked(
    axes: Axes,
    row: int,
    comparison: Comparison,
    kind: PolicyKind,
    parts: Mapping[str, tuple[str, str]],
    whole: str,
) -> None:
    """A bar of parts (colour and metric, by name) that add up to a whole (a metric), whose interval is drawn but for
    two seeds; what is below zero grows to the left."""
    right = left = 0.0
    for shade, metric in parts.values():
        part = comparison.over(kind, metric)
        if part is None:
            continue
        axes.barh(row, part.value, 0.56, left=right if part.value >= 0 else left, color=shade)
        right, left = (right + part.value, left) if part.value >= 0 else (right, left + part.value)
    total = comparison.over(kind, whole, among=[metric for _, metric in parts.values()])
    if total is not None and right > left:
        if np.isfinite([total.low, total.high]).all():
            axes.plot([total.low, total.high], [row, row], color="#222222", linewidth=1.1)
        axes.plot(total.value, row, "|", color="#222222", markersize=9)


def learning_figure(comparison: Comparison) -> Figure:
    """Success of teachers and students, and the students' imitation error, over the environment steps of training:
    the mean over the seeds of a policy kind, in a band from the lowest to the highest. Where trainings moved their
    level of randomisation, that too."""
    moved = any("level" in row for one in comparison.policies for row in one.origin.metrics)
    figure, (teachers, students, errors, *levels) = panels(3.0, 3 + moved)
    for kind in comparison.kinds:
        logged = [one.origin.metrics for one in comparison.of_kind(kind)]
        axes, look = students if kind.is_student else teachers, {"color": colour(comparison, kind)}
        pale = any("validation/success_at_end" in row for rows in logged for row in rows)
        success = [curve_of(rows, "success_at_end", smooth=pale) for rows in logged]
        band(axes, success, label=None if pale else kind.label, alpha=0.35 if pale else 1, **look)
        validated = [curve_of(rows, "validation/success_at_end") for rows in logged]
        band(axes, validated, label=kind.label, marker="o", markersize=3, **look)
        if kind.is_student:
            band(errors, [curve_of(rows, "imitation_error") for rows in logged], **look)
        for axes in levels:
            band(axes, [curve_of(rows, "level") for rows in logged], label=kind.label, **look)
            axes.set(title="Level of randomisation", ylim=(0, None))
    teachers.set(title="Teachers: success at end", ylim=(0, 1.02))
    students.set(title="Students: success at end", ylim=(0, 1.02))
    errors.set(title="Students: imitation error", ylim=(0, None))
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr]
    for axes in (teachers, students, errors, *levels):
        over_steps(axes, loc="lower right")
    return figure


def visibility_figure(comparison: Comparison) -> Figure:
    """Share of running episodes with the object in view of the policy's eyes at each step, by whether it was at reset:
    the mean over the seeds of a policy kind, in a band from the lowest to the highest."""
    views = [one.evaluation.in_view_at_reset for one in comparison.policies]
    groups = {"All resets": None, "Object in view at reset": True, "Out of view at reset": False}
    groups = {name: view for name, view in groups.items() if view is None or any((v == view).any() for v in views)}
    figure, each = panels(2.9, len(groups), sharey=True)
    for axes, (name, view) in zip(each, groups.items(), strict=True):
        for kind in comparison.kinds:
            curves = [_share_in_view(one, view) for one in comparison.of_kind(kind)]
            band(axes, curves, kind.label, color=colour(comparison, kind), ls="--" if kind.is_student else "-")
        axes.set(title=name, xlabel="step of the episode", ylim=(0, 1.02), xlim=(0, None))
    each[0].set_ylabel("share with the object in view")
    handles, names = each[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=legend_columns(names))
    return figure


def _share_in_view(policy: PolicyResult, view: bool | None) -> NDArray[np.float64]:
    """(2, R) step, and share of the episodes that are running there, or of those that began in or out of its view."""
    rows = slice(None) if view is None else policy.evaluation.in_view_at_reset == view
    seen = policy.evaluation.in_view[rows]
    running = np.isfinite(seen).sum(axis=0)
    known = running > 0
    return np.stack([np.flatnonzero(known).astype(np.float64), np.nansum(seen[:, known], axis=0) / running[known]])


def seeds_figure(comparison: Comparison) -> Figure:
    """What rliable says of kinds of several training seeds (Agarwal et al. 2021, arXiv 2108.13264), by success at end:
    interquartile mean, performance profile, probability that a seed of one beats one of another; 95 % over seeds."""
    from rliable import library, metrics  # an extra

    each = {kind: [[one.success] for one in comparison.of_kind(kind)] for kind in comparison.kinds}
    runs = {kind: np.array(found) for kind, found in each.items() if len(found) > 1}
    pairs = {(a, b): (runs[a], runs[b]) for a, b in itertools.combinations(runs, 2) if a.is_student == b.is_student}
    taus = np.linspace(min(one.min() for one in runs.values()) - 0.02, 1, 101)
    known: Any = partial(library.get_interval_estimates, reps=500, random_state=RandomState(0))
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of a word that rliable says to its library
        values, bounds = known(runs, lambda x: np.array([metrics.aggregate_iqm(x), *(x > taus).mean(axis=0)]))
        better, span = known(pairs, lambda a, b: np.array([metrics.probability_of_improvement(a, b)]))
    figure, (left, middle, right) = panels(1.2 + 0.36 * max(len(runs), len(pairs)), 3)
    _rows(left, [kind.label for kind in runs])
    _rows(right, [f"{a.label}\nbetter than {b.label}" for a, b in pairs])
    for axes, found, ranges in ((left, values, bounds), (right, better, span)):
        for row, name in enumerate(found):
            axes.plot(ranges[name][:, 0], [row, row], color=SOFT, linewidth=2.2, solid_capstyle="butt")
            axes.plot(found[name][0], row, "D", color=INK, markersize=5)
    for kind in runs:
        look: Any = {"color": colour(comparison, kind), "ls": "--" if kind.is_student else "-"}
        middle.plot(taus, values[kind][1:], label=kind.label, **look)
        middle.fill_between(taus, *bounds[kind][:, 1:], color=look["color"], alpha=0.12, linewidth=0)
    left.set(title="Interquartile mean", xlabel="success at end", xlim=(taus[0], 1))
    middle.set(title="Performance profile", xlabel="success τ", ylabel="share of seeds above τ")
    right.set(title="Improvement", xlabel="its probability", xlim=(-0.04, 1.04), xticks=(0, 0.5, 1))
    right.axvline(0.5, color=SOFT, linewidth=0.9, linestyle=":")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def verdict_figure(verdicts: Sequence[Contrast]) -> Figure:
    """The extra loss of the state teachers' students: a line per scene and kind of depth teacher."""
    names = [f"{one.config.scene}, {one.name} ({seeds_in_words(len(one.pairs))})" for one in verdicts]
    shown = [one.verdict.startswith("Difference") for one in verdicts]
    label = "extra loss of the state-taught students, points (right of zero: as the claim has it)"
    return _forest(dict(zip(names, (one.figure for one in verdicts), strict=True)), shown, label)


def contrast_figure(contrasts: Sequence[Contrast]) -> Figure:
    """The contrasts that a study named before it ran, a line each, the primary one first."""
    contrasts = sorted(contrasts, key=lambda one: (not one.primary, one.config.control, one.config.claim))
    kinds = ["control" if one.config.control else "primary" if one.primary else "" for one in contrasts]
    names = [f"{one.name}{f' ({kind})' * bool(kind)}" for one, kind in zip(contrasts, kinds, strict=True)]
    shown = [one.word == PASSES for one in contrasts]
    return _forest(dict(zip(names, (one.figure for one in contrasts), strict=True)), shown, "points more that are lost")


def _forest(figures: Mapping[str, Seeded], shown: Sequence[bool], label: str) -> Figure:
    """A line for each figure, by its name, in points: a circle for each training seed, a diamond for their mean, and a
    bar for Student's t-interval over seeds; of fewer than three seeds there is none. Grey where not `shown`."""
    figure, (axes,) = panels(0.9 + 0.52 * len(figures))
    for row, (one, dark) in enumerate(zip(figures.values(), shown, strict=True)):
        shade, each = INK if dark else SOFT, [100 * value.value for value in one.each]
        if len(each) > 2:
            axes.plot([100 * one.seeds.low, 100 * one.seeds.high], [row, row], color=shade, linewidth=2.2,
                      solid_capstyle="butt")  # fmt: skip
        axes.plot(100 * one.value, row, "D", color=shade, markersize=6.5)
        if len(each) > 1:
            axes.plot(each, [row + 0.24] * len(each), "o", color="white", markeredgecolor=shade, markersize=4)
    _rows(axes, list(figures))
    axes.tick_params(axis="y", pad=10)
    axes.set_xlabel(label)
    axes.spines["left"].set_visible(False)
    return figure
