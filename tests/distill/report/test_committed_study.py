"""The study that is committed, of the first edition, says today, from its arrays, what it said when it was written.

Its values are those of the first edition. What version 0.2 tells otherwise: nothing is called supported, as no contrast
was named before; its matched teachers are not matched on the reported resets; intervals of paired shares are adjusted
Wald ones, and those over seeds are told from three seeds on; and what it did not measure (the right eye, postures of
its own, curves at a constant learning rate) is said.
"""

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


def test_it_is_marked_as_first_edition_and_its_numbers_are_the_same():
    said = (COMMITTED / "report.md").read_text()
    assert "students of state teachers lost 3.1 points [1.3, 4.9] more" in said
    assert "students of state teachers lost 31.6 points [25.8, 37.5] more" in said
    assert "Supported" not in said and "Contradicted" not in said
    assert "First edition: no contrast had been named" in said and "Shared postures" in said
    assert "In view: of the left eye only" in said
    wrist = committed().comparisons["wrist"]
    means = [wrist.over_seeds[kind]["success"].value for kind in wrist.kinds[:4]]
    assert [round(mean, 3) for mean in means] == [0.958, 0.906, 0.929, 0.909]  # as its report had them in version 0.1


def test_its_matched_teachers_are_more_than_a_point_apart_on_the_reported_resets():
    found = [committed().reported_difference(match) for match in committed().matches]
    assert [round(100 * (one or 0), 1) for one in found] == [0.6, 1.4, 0.8, 1.8, -4.3]
    (verdict,) = [one for one in verdicts(committed()) if one.config.matched]
    assert verdict.name == "not matched"


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
    (verdict,) = [one for one in verdicts(committed()) if one.config.matched]
    assert differences(stored["figure"]["seeds"], plain(verdict.figure.seeds)) == []
    assert stored["chains"] == [list(pair) for pair in verdict.students]
