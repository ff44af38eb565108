"""The study that is committed says today, from its arrays, what it said when it was written down."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from handsight.distill import Study, verdicts
from handsight.distill.evaluation.statistics import plain
from handsight.distill.report import tables
from handsight.distill.report.page import render
from handsight.distill.report.report import contents, figures_of_study, study_dict

COMMITTED = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "study"


@cache
def committed() -> Study:
    return Study.load(COMMITTED)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two JSON trees differ by more than rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{where}.{key}" for key in one.keys() ^ other.keys()]
        return missing + [
            d for key in one.keys() & other.keys() for d in differences(one[key], other[key], f"{where}.{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}[{i}]")]
    if isinstance(one, float) and isinstance(other, float):
        same = math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    else:
        same = one == other
    return [] if same else [f"{where}: {one!r} and {other!r}"]


def test_every_sentence_and_table_is_the_same():
    names = dict.fromkeys(figures_of_study(committed()), b"")
    assert {path.stem for path in (COMMITTED / "figures").iterdir()} == set(names)
    assert render("report.md.j2", contents(committed(), names, COMMITTED)) == (COMMITTED / "report.md").read_text()


def test_every_figure_of_the_report_is_the_same():
    stored = json.loads((COMMITTED / "report.json").read_text())
    assert differences(stored, json.loads(json.dumps(plain(study_dict(committed()))))) == []


@pytest.mark.parametrize("scene", ["wrist", "open", "occluded"])
def test_every_figure_of_a_comparison_is_the_same(scene):
    stored = json.loads((COMMITTED / scene / "comparison.json").read_text())
    found = json.loads(json.dumps(plain(tables.as_dict(committed().comparisons[scene]))))
    assert differences(stored, found) == []


def test_the_matched_loss_is_worked_out_in_one_place():
    stored = json.loads((COMMITTED / "study.json").read_text())["extra_loss_at_equal_success"]["wrist"]
    (verdict,) = [one for one in verdicts(committed()) if one.matched]
    assert stored["figure"]["seeds"] == plain(verdict.loss.figure.seeds)
    assert stored["chains"] == [list(pair) for pair in verdict.loss.pairs]
