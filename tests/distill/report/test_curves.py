"""Curves of trainings: means where all seeds are known, bands from the lowest to the highest."""

import numpy as np
from matplotlib.figure import Figure

from handsight.distill.report.curves import band, curve_of, curves_figure

ROWS = [{"step": 1e6 * i, "success_at_end": 0.1 * i} for i in range(1, 5)]


def test_curve_is_in_millions_of_steps_and_leaves_out_the_warm_start():
    rows = [{"step": 5e5, "success_at_end": 0.9, "warm_start": 1.0}, *ROWS, {"step": 9e6, "loss": 1.0}]
    np.testing.assert_allclose(curve_of(rows, "success_at_end"), [[1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]])
    assert curve_of(rows, "unknown").shape == (2, 0)


def test_running_mean_is_weighted_by_episodes():
    rows = [{"step": 1e6, "s": 0.0, "episodes": 3.0}, {"step": 2e6, "s": 1.0, "episodes": 1.0}]
    np.testing.assert_allclose(curve_of(rows, "s", smooth=True)[1], [0.0, 0.25])


def test_band_spans_the_seeds_where_all_of_them_are_known():
    axes = Figure().subplots()
    band(axes, [np.array([[0.0, 2.0], [0.0, 2.0]]), np.array([[1.0, 3.0], [3.0, 3.0]])])
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xdata(), [1, 2])
    np.testing.assert_allclose(line.get_ydata(), [2.0, 2.5])  # (1 + 3) / 2, (2 + 3) / 2
    (shade,) = axes.collections
    assert shade.get_paths()[0].vertices[:, 1].min() == 1.0
    assert shade.get_paths()[0].vertices[:, 1].max() == 3.0


def test_one_panel_per_metric_and_one_line_per_training_that_logged_it():
    figure = curves_figure(
        {"a": ROWS, "b": [{"step": 1e6, "loss": 2.0}]}, {"success_at_end": "Success", "loss": "Loss"}
    )
    first, second = figure.axes
    assert "Success" in (first.get_title(loc="center"), first.get_title(loc="left"))
    assert len(first.lines) == len(second.lines) == 1
    assert first.lines[0].get_color() != second.lines[0].get_color()  # "b" has its colour where it stands alone, too
