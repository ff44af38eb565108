"""rliable's figures of a study with several seeds: the committed results of the first edition."""

from pathlib import Path

import numpy as np
import pytest

from handsight.distill.report import figures, report
from handsight.distill.report.study_results import Study

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "study"


def test_seeds_are_shown_as_rliable_has_them(monkeypatch):
    pytest.importorskip("rliable")
    comparison = report.main_policies(Study.load(RESULTS).comparisons["open"])
    left, middle, right = figures.seeds_figure(comparison).axes
    assert [one.get_text() for one in left.get_yticklabels()] == [kind.label for kind in comparison.kinds]
    each = {kind: [one.success for one in comparison.of_kind(kind)] for kind in comparison.kinds}
    means = [float(np.squeeze(line.get_xdata())) for line in left.lines if line.get_marker() == "D"]
    assert means == pytest.approx([np.mean(two) for two in each.values()])  # of two seeds nothing is cut off
    profile = {line.get_label(): line.get_xydata() for line in middle.lines}
    for kind, (low, high) in ((kind, sorted(two)) for kind, two in each.items()):
        taus, shares = profile[kind.label].T
        assert np.array_equal(shares, np.where(taus < low, 1, np.where(taus < high, 0.5, 0)))
    state, depth = (each[kind] for kind in comparison.kinds if not kind.is_student)
    wins = np.mean([(a > b) + 0.5 * (a == b) for a in state for b in depth])
    found = next(line for line in right.lines if line.get_marker() == "D").get_xdata()
    assert float(np.squeeze(found)) == pytest.approx(wins)


def test_there_is_no_such_figure_without_rliable_or_of_one_seed(monkeypatch):
    study = Study.load(RESULTS)
    assert {"wrist-seeds", "open-seeds"} <= report.figures_of_study(study).keys()
    assert "occluded-seeds" not in report.figures_of_study(study)
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    assert "wrist-seeds" not in report.figures_of_study(study)
