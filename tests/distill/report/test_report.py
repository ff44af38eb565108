"""The report: complete, self-contained, honest about what it does not show."""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from handsight.distill.evaluation.statistics import Interval
from handsight.distill.report import findings, report
from handsight.distill.report import illustrate as illustrations
from handsight.distill.report.comparison import Comparison
from handsight.distill.report.contrasts import Contrast, explored
from handsight.distill.report.figures import learning_figure, success_figure
from handsight.distill.report.findings import headline, limits
from handsight.distill.report.illustrate import Illustrations, _objects
from handsight.distill.report.page_tables import object_table
from handsight.distill.report.policy_kind import read_kind
from handsight.distill.report.report import write_page
from handsight.distill.report.study_results import Study
from handsight.distill.report.style import COLOURS, colour, drawn
from handsight.sims.env_config import EnvConfig, SceneConfig
from handsight.sims.objects.choose import object_set

from .. import synthetic


def write_report(comparison: Comparison, folder: Path) -> Path:
    return write_page(Study({"": comparison}, {}, ()), folder)[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = write_report(synthetic.comparison(), tmp_path_factory.mktemp("report"))
    names = {file.stem for file in (path.parent / "figures").iterdir()}
    more = {"matrix", "decomposition", "sigma"}
    assert names == {"success", "kinds", "unexplained", "learning", "visibility"} | more
    return path.read_text()


def test_page_asks_nobody_for_anything(page):
    sources = re.findall(r'(?:src|href|srcset)\s*=\s*"([^"]{0,40})', page) + re.findall(r"url\(([^)]{0,40})", page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert "<script" not in page
    assert "@import" not in page


def test_page_shows_every_policy_figure_and_gap(page):
    for role in synthetic.SUCCESS:
        assert role in page
    assert page.count("data:image/svg+xml") == 8
    for heading in ("The observability gap", "Learning", "Who looks", "What this does not show", "What was run"):
        assert heading in page
    assert "Over training seeds" not in page


def test_of_many_objects_all_stand_in_a_table_and_the_ten_hardest_are_drawn(tmp_path, monkeypatch):
    names, kind = object_set("procedural").names[:12], np.arange(synthetic.EPISODES) % 12
    policies = []
    for one in synthetic.comparison().policies:
        success = ~np.isin(kind, (7, 2)) | ((kind == 2) & (np.arange(len(kind)) // 12 % 2 == 0))
        evaluation = replace(one.evaluation, kind=kind, object_kinds=names, success_at_end=success)
        policies.append(replace(one, evaluation=evaluation))
    many = replace(synthetic.comparison(), policies=tuple(policies))
    assert [*many.hardest][:2] == [names[7], names[2]] and len(many.hardest) == 12
    first, second, *_, last = object_table(many).rows
    assert (first.name, [cell.value for cell in first.cells]) == (names[7], [43, *["0.0 %"] * 4])
    assert (second.name, second.cells[1].value) == (names[2], "51.2 %") and last.cells[1].value == "100.0 %"
    asked, figure = [], illustrations.objects_figure
    monkeypatch.setattr(illustrations, "objects_figure", lambda *what: asked.append(what) or figure(*what))
    env_config = EnvConfig(scene=SceneConfig(objects="procedural"))
    Illustrations(objects=_objects(many, env_config, tmp_path)).save(tmp_path)
    ((_, pictures),) = asked
    assert [*pictures] == [*many.hardest][:10] and all(one.std() > 5 for one in pictures.values())
    page = write_report(many, tmp_path).read_text()
    assert "All 12 objects" in page and f"<td>{names[7]}</td>" in page and page.count("data:image/png") == 1
    assert "All 5 objects" not in write_report(synthetic.comparison(), tmp_path / "few").read_text()


def test_a_level_of_randomisation_that_moved_has_its_curve():
    whole = synthetic.comparison()
    one = whole.policies[0]
    logged = [row for row in one.origin.metrics if "success_at_end" in row]
    rows = tuple({**row, "level": float(i)} for i, row in enumerate(logged))
    moved = replace(one, origin=replace(one.origin, metrics=rows))
    axes = learning_figure(replace(whole, policies=(moved, *whole.policies[1:]))).axes
    assert len(learning_figure(whole).axes) == 3 and axes[3].get_title() == "Level of randomisation"
    assert axes[3].get_lines()[0].get_ydata().tolist() == [float(i) for i in range(len(rows))]


@pytest.fixture
def words_only(monkeypatch):
    """Drawing takes seconds, and some tests are about the text."""
    monkeypatch.setattr(report, "draw", lambda study: {})


def test_several_seeds_have_a_table_of_their_own(tmp_path, words_only):
    text = write_report(synthetic.comparison(seeds=3), tmp_path).read_text()
    assert "Over training seeds" in text
    assert "state → stereo (seed 2)" in text


def test_page_of_teachers_alone_has_no_gap(tmp_path, words_only):
    whole = synthetic.comparison()
    teachers = Comparison(tuple(p for p in whole.policies if not p.kind.is_student), whole.settings)
    text = write_report(teachers, tmp_path).read_text()
    assert "The observability gap" not in text
    assert "state teacher policy succeeds in" in text


def test_names_are_escaped(tmp_path, words_only):
    whole = synthetic.comparison()
    odd = Comparison(whole.policies, whole.settings, notes=("<script>alert(1)</script>",))
    assert "<script>" not in write_report(odd, tmp_path).read_text()


def test_warm_start_is_named_and_called_no_end_to_end_result():
    said = " ".join(limits(synthetic.comparison()))
    assert "depth teacher did not learn from scratch" in said
    assert "no end-to-end result" in said
    several = " ".join(limits(synthetic.comparison(seeds=3)))
    assert several.count("did not learn from scratch") == 1
    assert "The 3 depth teachers with a warm start" in several


def test_limits_name_seeds_pixels_simulation_and_missing_control():
    said = " ".join(limits(synthetic.comparison()))
    for words in ("one seed", "32 x 32 pixels", "simulation", "boxes and cylinders", "No control student", "invented"):
        assert words in said
    assert "3 training seeds" in " ".join(limits(synthetic.comparison(seeds=3)))


def test_limits_say_which_object_set_it_was():
    whole = synthetic.comparison()
    kinds = ", ".join(whole.policies[0].evaluation.object_kinds)
    for there, said in (
        ({}, "put together from boxes and cylinders"),
        ({"env": {"scene": {"objects": "procedural"}}}, "those of the object set procedural"),
    ):
        found = limits(replace(whole, settings=whole.settings | there))
        assert f"Objects are {said} ({kinds}), on an empty table, one at a time." in found


def test_difference_within_its_interval_is_not_claimed(monkeypatch):
    comparison = synthetic.comparison()
    one, several = (explored("", synthetic.comparison(seeds))[0] for seeds in (1, 2))

    def lose(loss: Contrast, both: Interval) -> None:
        changed = replace(loss, figure=replace(loss.figure, both=both))
        monkeypatch.setattr(findings, "explored", lambda scene, comparison: [changed])

    lose(one, Interval(0.02, -0.01, 0.05))
    assert headline(comparison)[-1].startswith("Not decided by one seed: students of state teachers lost 2.0 points")
    lose(several, Interval(0.02, -0.01, 0.05))
    assert headline(comparison)[-1].startswith("No difference shown")


def test_several_seeds_add_what_their_spread_says():
    assert "(over 3 training seeds)" in headline(synthetic.comparison(seeds=3))[-1]
    assert "(an interval over resets only)" in headline(synthetic.comparison())[-1]


def test_headline_gives_each_students_success_and_loss():
    comparison = synthetic.comparison()
    first = headline(comparison)[0]
    success = comparison.policy("state → stereo").evaluation.success_at_end.mean()
    assert f"{100 * success:.1f}" in first
    assert "loses" in first


def test_policy_kind_has_one_colour_whatever_else_is_compared():
    whole = synthetic.comparison()
    some = Comparison(whole.policies[2:], whole.settings)
    warm, scratch = read_kind("depth → stereo, warm start"), read_kind("depth → stereo")
    assert colour(whole, warm) == colour(some, warm) == COLOURS[warm]
    assert colour(whole, scratch) == COLOURS[scratch] != COLOURS[warm]
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    drawn(lambda: success_figure(synthetic.comparison()))
    assert dict(matplotlib.rcParams) == before
