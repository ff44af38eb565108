"""Curves over training and over episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .style import WIDTH


def curves_figure(trainings: Mapping[str, Sequence[Mapping[str, float]]], metrics: Mapping[str, str]) -> Figure:
    """One panel per metric over the environment steps of training, a line for each training that logged it.

    Args:
        trainings: rows of a metrics.csv (`Run.metrics`) by the name that the legend shows.
        metrics: titles of the panels by name of the metric, e.g. {"success_at_end": "Success at end"}.
    """
    figure, each = panels(3.0, len(metrics))
    for axes, (metric, title) in zip(each, metrics.items(), strict=True):
        for number, (name, rows) in enumerate(trainings.items()):
            curve = curve_of(rows, metric)
            marker = "o" if curve.shape[1] < 40 else ""
            band(axes, [curve], label=name, color=f"C{number}", marker=marker, markersize=3)
        axes.set_title(title)
        over_steps(axes)
    return figure


def panels(height: float, count: int = 1, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A wide figure with `count` axes side by side. height: inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=sharey, squeeze=False)[0])


def over_steps(axes: Axes, **place: Any) -> None:
    """Let the curves in the axes go over environment steps; a legend where they have names."""
    axes.set_xlabel("environment steps (millions)")
    axes.set_xlim(left=0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, **place)


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
