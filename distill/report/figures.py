"""The figures of a report: one function each, from a comparison to a matplotlib figure."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..evaluation.evaluation import IN_VIEW, OUT_OF_VIEW
from ..evaluation.statistics import Interval, t_interval, wilson
from .comparison import Comparison
from .gaps import ALL
from .policies import WARM
from .results import Entry

COLOURS = {
    "state teacher": "#b5490f",
    "state → stereo": "#e69f00",
    "state → left eye": "#f0c869",
    "state → control": "#8a6d3b",
    "state → depth": "#d55e00",
    f"depth teacher{WARM}": "#0a5a94",
    f"depth → stereo{WARM}": "#56b4e9",
    f"depth → left eye{WARM}": "#a6d8f5",
    f"depth → control{WARM}": "#4b6b86",
    "depth teacher": "#00694d",
    "depth → stereo": "#00a37a",
    "depth → left eye": "#8fd3bd",
    "depth → control": "#4d7a6c",
}
"""By role, after Okabe and Ito: brown chains of state teachers, blue ones of depth teachers with a warm start, green
ones of those from scratch; never red against green; teachers are darker."""
OTHER_COLOURS = ("#cc79a7", "#777777", "#7f3c8d", "#b3a100")
CROWDED = 0.03
"""Share of the figure's width below which a bar has no room for its number."""


def colour(comparison: Comparison, role: str) -> str:
    """The same colour for a role in every figure."""
    others = [r for r in comparison.roles if r not in COLOURS]
    return COLOURS.get(role) or OTHER_COLOURS[others.index(role) % len(OTHER_COLOURS)]


def drawn(draw: Callable[[], Figure], kind: str = "svg") -> bytes:
    """What `draw` draws, in the report's style, as a file's content. kind: "svg" or "png".

    Nothing of matplotlib's global state is left changed.
    """
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        draw().savefig(stream, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def success_figure(comparison: Comparison) -> Figure:
    """success_at_end by view at reset: all, in view, out of view."""
    groups = {"all resets": np.ones(len(comparison.entries[0].evaluation.length), dtype=bool)}
    if comparison.entries[0].evaluation.seen:
        view = comparison.entries[0].evaluation.in_view_at_reset
        groups |= {"object in view at reset": view, "out of view at reset": ~view}
    return _success_by(comparison, {f"{name}\n(n = {int(rows.sum())})": rows for name, rows in groups.items()})


def kinds_figure(comparison: Comparison) -> Figure:
    """success_at_end by kind of object."""
    evaluation = comparison.entries[0].evaluation
    names, kinds = evaluation.object_kinds, np.unique(evaluation.kind).tolist()
    groups = {names[k] if k < len(names) else f"kind {k}": evaluation.kind == k for k in kinds}
    return _success_by(comparison, {f"{name}\n(n = {int(rows.sum())})": rows for name, rows in groups.items()})


def _success_by(comparison: Comparison, groups: Mapping[str, NDArray[np.bool_]]) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    axes = figure.subplots()

    def height(entry: Entry, group: str) -> Interval:
        return wilson(entry.evaluation.success_at_end[groups[group]])

    bars(axes, comparison, comparison.roles, list(groups), height)
    axes.set(ylabel="success at end", ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    legend(axes, comparison, comparison.roles)
    return figure


def unexplained_figure(comparison: Comparison) -> Figure:
    """Unexplained action variance of each student: all steps, by whether it sees the object at that step, and by what
    the hand is about, where the environment tells."""
    gaps = {gap.student: gap for gap in comparison.gaps if gap.unexplained is not None}
    roles = list(dict.fromkeys(comparison.entry(name).role for name in gaps))
    parts = {
        name: {ALL: gap.unexplained, **gap.unexplained_by_view, **gap.unexplained_by_phase}
        for name, gap in gaps.items()
    }
    groups = list(dict.fromkeys(group for groups in parts.values() for group in groups))
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    bars(axes, comparison, roles, groups, lambda entry, group: parts[entry.name].get(group), digits=3)
    axes.set(ylabel="unexplained action variance", ylim=(0, 1.06 * axes.get_ylim()[1]))
    axes.set_xticks(axes.get_xticks(), [step_label(group) for group in groups])
    legend(axes, comparison, roles)
    return figure


def step_label(group: str) -> str:
    """What a choice of steps is called below a figure."""
    return f"object {group}" if group in (IN_VIEW, OUT_OF_VIEW) else group


def bars(
    axes: Axes,
    comparison: Comparison,
    roles: Sequence[str],
    groups: Sequence[str],
    height: Callable[[Entry, str], Interval | None],
    digits: int = 2,
) -> None:
    """Groups of bars, one per role. One seed: its own interval. Several: their mean and points, and from three on the
    t-interval (two would give one that hides everything). No bar where `height` knows nothing."""
    width = min(0.8 / max(len(roles), 1), 0.22)
    crowded = width / len(groups) < CROWDED
    for number, role in enumerate(roles):
        entries = [e for e in comparison.of_role(role)]
        for place, group in enumerate(groups):
            each = [figure for figure in (height(entry, group) for entry in entries) if figure is not None]
            if not each or not all(np.isfinite(figure.value) for figure in each):
                continue
            bar = each[0] if len(each) == 1 else t_interval([figure.value for figure in each])
            x = place + (number - (len(roles) - 1) / 2) * width
            axes.bar(x, bar.value, 0.9 * width, color=colour(comparison, role))
            top = bar.value
            if np.isfinite([bar.low, bar.high]).all() and len(each) != 2:
                axes.plot([x, x], [bar.low, bar.high], color="#222222", linewidth=1.1)
                top = max(bar.high, top)
            if len(each) > 1:
                axes.plot([x] * len(each), [f.value for f in each], "o", color="white", markeredgecolor="#222222", ms=3)
            if crowded:
                continue
            axes.annotate(
                f"{bar.value:.{digits}f}",
                (x, max(top, *(figure.value for figure in each), bar.value)),
                (0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
            )
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.5, len(groups) - 0.5)


def legend(axes: Axes, comparison: Comparison, roles: Sequence[str]) -> None:
    """The colours of the roles, above the axes."""
    handles = [Patch(color=colour(comparison, role), label=role) for role in roles]
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": _columns(roles)}
    axes.legend(handles=handles, handlelength=1.0, **place)


def _columns(names: Sequence[str]) -> int:
    """Of a legend above a wide figure: as many as fit."""
    return min(len(names), 6 if sum(map(len, names)) < 90 else 4)


def learning_figure(comparison: Comparison) -> Figure:
    """Success of teachers and students, and the students' imitation error, over the environment steps of training:
    the mean over the seeds of a role, in a band from the lowest to the highest."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    teachers, students, errors = figure.subplots(1, 3)
    for role in comparison.roles:
        taught, entries = "→" in role, comparison.of_role(role)
        axes, look = students if taught else teachers, {"color": colour(comparison, role)}
        pale = any("validation/success_at_end" in metrics for e in entries for metrics in e.origin.metrics)
        success = [curve_of(e.origin.metrics, "success_at_end", smooth=pale) for e in entries]
        band(axes, success, label=None if pale else role, alpha=0.35 if pale else 1, **look)
        validated = [curve_of(e.origin.metrics, "validation/success_at_end") for e in entries]
        band(axes, validated, label=role, marker="o", markersize=3, **look)
        if taught:
            band(errors, [curve_of(e.origin.metrics, "imitation_error") for e in entries], **look)
    teachers.set(title="Teachers: success at end", ylim=(0, 1.02))
    students.set(title="Students: success at end", ylim=(0, 1.02))
    errors.set(title="Students: imitation error", ylim=(0, None))
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr]
    for axes in (teachers, students, errors):
        axes.set_xlabel("environment steps (millions)")
        axes.set_xlim(left=0)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower right", fontsize=8)
    return figure


def visibility_figure(comparison: Comparison) -> Figure:
    """Share of running episodes with the object in view of the left eye at each step, by whether it was at reset: the
    mean over the seeds of a role, in a band from the lowest to the highest."""
    evaluation = comparison.entries[0].evaluation
    view = evaluation.in_view_at_reset
    groups = {"All resets": np.ones_like(view), "Object in view at reset": view, "Out of view at reset": ~view}
    groups = {name: rows for name, rows in groups.items() if rows.any()}
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (name, rows) in zip(panels, groups.items(), strict=True):
        for role in comparison.roles:
            curves = [_share_in_view(entry, rows) for entry in comparison.of_role(role)]
            band(axes, curves, role, color=colour(comparison, role), ls="--" if "→" in role else "-")
        axes.set(title=name, xlabel="step of the episode", ylim=(0, 1.02), xlim=(0, None))
    panels[0].set_ylabel("share with the object in view")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=_columns(names))
    return figure


def _share_in_view(entry: Entry, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(2, R) step, and share of the episodes that are running there."""
    seen = entry.evaluation.in_view[rows]
    running = np.isfinite(seen).sum(axis=0)
    known = running > 0
    return np.stack([np.flatnonzero(known).astype(np.float64), np.nansum(seen[:, known], axis=0) / running[known]])


STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=["#b5490f", "#0a5a94", "#e69f00", "#56b4e9", "#009e73", "#cc79a7"]),
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "handsight",
}
WIDTH = 9.6
"""Of a wide figure, inches."""


def curves_figure(trainings: Mapping[str, Sequence[Mapping[str, float]]], metrics: Mapping[str, str]) -> Figure:
    """One panel per metric over the environment steps of training, a line for each training that logged it.

    Args:
        trainings: rows of a metrics.csv (`Run.metrics`) by the name that the legend shows.
        metrics: titles of the panels by name of the metric, e.g. {"success_at_end": "Success at end"}.
    """
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics.items(), strict=True):
        for number, (name, rows) in enumerate(trainings.items()):
            curve = curve_of(rows, metric)
            marker = "o" if curve.shape[1] < 40 else ""
            band(axes, [curve], label=name, color=f"C{number}", marker=marker, markersize=3)
        axes.set(title=title, xlabel="environment steps (millions)")
        axes.set_xlim(left=0)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(fontsize=8)
    return figure


def curve_of(rows: Sequence[Mapping[str, float]], metric: str, smooth: bool = False) -> NDArray[np.float64]:
    """(2, R): steps in millions and one metric, from rows of a metrics.csv, without the rollouts of a warm start; R
    may be 0. A noisy one gets a running mean over ten rows, weighted by their episodes."""
    rows = [row for row in rows if metric in row and "warm_start" not in row]
    steps, values = (np.array([row[name] for row in rows]) for name in ("step", metric))
    if smooth and rows:
        weights = np.array([row.get("episodes", 1.0) for row in rows])
        window = np.ones(min(10, len(rows)))
        values = np.convolve(values * weights, window)[: len(rows)] / np.convolve(weights, window)[: len(rows)]
    return np.stack([steps / 1e6, values])


def band(axes: Axes, curves: Sequence[NDArray[np.float64]], label: str | None = None, **look: Any) -> None:
    """The mean of several curves, (2, R) each, from where all have begun to where the first ends, in a band from
    their lowest to their highest."""
    curves = [curve for curve in curves if curve.shape[1]]
    if not curves:
        return
    x = np.unique(np.concatenate([curve[0] for curve in curves]))
    x = x[(x >= max(curve[0, 0] for curve in curves)) & (x <= min(curve[0, -1] for curve in curves))]
    y = np.stack([np.interp(x, *curve) for curve in curves])
    axes.plot(x, y.mean(axis=0), label=label, **look)
    if len(curves) > 1:
        shade = {"color": look.get("color"), "alpha": 0.18 * look.get("alpha", 1), "linewidth": 0}
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), **shade)
