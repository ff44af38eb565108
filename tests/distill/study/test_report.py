"""A study's report: the verdict says what the data say, the page holds every part and asks nobody for anything."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from handsight.distill.commands.study import ReportArgs, run_report
from handsight.distill.report import report as study_report
from handsight.distill.report.contrasts import explored
from handsight.distill.report.findings import study_headline, study_limits, verdicts
from handsight.distill.report.illustrate import Illustrations, Picture
from handsight.distill.report.policy_kind import read_kind
from handsight.distill.report.report import main_policies, write_study_report
from handsight.distill.report.study_results import Study

from .. import synthetic_study

FAIR = synthetic_study.LOSS | {
    "state → stereo": 0.12,
    "depth → stereo, warm start": 0.12,
    "depth → stereo": 0.15,
}
"""Teachers fail in as many resets each, and so do their students."""
TURNED = FAIR | {"state → stereo": 0.08, "depth → stereo, warm start": 0.25}
"""The depth teachers' students lose more."""


@pytest.fixture(scope="module")
def whole():
    return synthetic_study.study()


@pytest.fixture(scope="module")
def folder(whole, tmp_path_factory):
    """The report of a study with pictures and a film, written from what was saved and nothing else."""
    folder = tmp_path_factory.mktemp("results")
    whole.save(folder)
    for file in ("gallery/reset-3.png", "videos/state-to-stereo.mp4"):
        (folder / "wrist" / file).parent.mkdir()
        (folder / "wrist" / file).write_bytes(b"not looked at")
    moments = (Picture("gallery/reset-3.png", "Reset 3, mug out of view at the beginning."),)
    films = (Picture("videos/state-to-stereo.mp4", "state → stereo: resets 0 to 3."),)
    Illustrations(moments, films).save(folder / "wrist")
    run_report(ReportArgs(folder))
    return folder


def test_page_asks_nobody_for_anything(folder):
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href|srcset)\s*=\s*"([^"]{0,40})', page) + re.findall(r"url\(([^)]{0,40})", page)
    assert len(sources) > 20
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "<script" not in page and "@import" not in page


def test_page_has_every_part(folder):
    page = (folder / "report.html").read_text()
    for heading in (
        "Part 1 of the claim", "Part 1, explored",
        "Scene <em>wrist</em>", "Scene <em>open</em>", "The gap matrix", "Where it is lost",
        "Whether they use their eyes", "Learning", "Who looks", "Where they differ most", "Films", "Matched teachers",
        "What this does not show", "What was run",
    ):  # fmt: skip
        assert heading in page
    pictures = {path.name for path in (folder / "figures").iterdir()}
    parts = ["success", "kinds", "matrix", "decomposition", "unexplained", "sigma", "learning", "visibility"]
    parts += ["seeds"] * (find_spec("rliable") is not None)
    assert pictures == {"verdict.svg", "wrist-ablations.svg"} | {
        f"{s}-{p}.svg" for s in ("wrist", "open") for p in parts
    }
    assert page.count("data:image/svg+xml") == len(pictures)
    assert page.count("data:video/mp4") == 1 and page.count("data:image/png") == 1
    assert "Reset 3, mug out of view" in page
    assert "an invented processor" in page and "0000000000" in page and "training seeds" in page
    assert re.search(r"In \d+ of the 512 resets state → stereo \(seed 0\) fails and depth → stereo, warm start", page)


def test_anchors_lead_somewhere(folder):
    page = (folder / "report.html").read_text()
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= set(re.findall(r'id="([\w-]+)"', page))


def test_markdown_and_json_say_the_same(folder, whole):
    text, facts = (folder / "report.md").read_text(), json.loads((folder / "report.json").read_text())
    sentence = study_headline(whole)
    assert sentence in text and facts["verdicts"][0]["sentence"] == sentence
    assert "![wrist-matrix](figures/wrist-matrix.svg)" in text
    assert "| depth, warm start → stereo | 5 |" in text
    assert facts["verdicts"][0]["extra_loss"]["seeds"]["low"] > 0
    assert facts["scenes"]["wrist"]["matrix"]["state"]["stereo"]["success"]["both"]["value"] > 0
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(row.count("|") == rows[0].count("|") for row in rows[:3])


def test_report_is_the_same_from_what_was_stored(whole, folder):
    assert [v.sentence for v in verdicts(Study.load(folder))] == [v.sentence for v in verdicts(whole)]


def test_planted_loss_is_found_in_its_direction_and_size(whole):
    verdict = verdicts(whole)[0]
    assert (verdict.config.scene, verdict.name, len(verdict.pairs)) == ("wrist", "warm start", 5)
    assert verdict.verdict == "Difference shown"
    assert verdict.figure.interval.value == pytest.approx(0.13, abs=0.03)  # 0.25 - 0.12; teachers are alike
    assert verdict.sentence.startswith("Difference shown in the scene wrist: students of state teachers lost 1")
    assert "depth teachers that began with a warm start (over 5 training seeds)." in verdict.sentence


def test_loss_in_the_other_direction_contradicts_the_claim():
    verdict = verdicts(synthetic_study.study(TURNED))[0]
    assert verdict.verdict == "Difference the other way"
    assert verdict.figure.interval.high < 0
    assert "students of depth teachers that began with a warm start lost 1" in verdict.sentence
    assert "more of their teachers' success than students of state teachers" in verdict.sentence
    assert "\N{MINUS SIGN}" not in verdict.sentence


def test_no_difference_is_claimed_where_the_interval_holds_zero():
    verdict = verdicts(synthetic_study.study(FAIR))[0]
    assert verdict.figure.interval.low < 0 < verdict.figure.interval.high
    assert verdict.sentence.startswith("No difference shown in the scene wrist")
    assert verdict.sentence.endswith("; the interval holds zero.")


def test_seeds_that_disagree_show_no_difference_however_sure_each_of_them_is(whole):
    verdict = verdicts(whole)[0]
    assert verdict.figure.both.low > 0 and verdict.p < 0.05
    assert replace(verdict, p=0.06).verdict == "No difference shown"


def test_single_seed_decides_nothing_and_says_so():
    verdict = next(v for v in verdicts(synthetic_study.study(seeds=1)) if v.config.scene == "wrist")
    assert verdict.figure.interval == verdict.figure.both
    assert verdict.figure.interval.low > 0  # however sure the resets are
    assert verdict.sentence.startswith("Not decided by one seed in the scene wrist")
    assert "an interval over resets only" in verdict.sentence


def test_equal_teachers_have_a_verdict_of_their_own(whole):
    comparison = whole.comparisons["wrist"]
    assert not any(one.config.matched for one in explored("wrist", comparison))
    student, teacher = (
        comparison.policy("depth → stereo, warm start (seed 0)"),
        comparison.policy("state teacher (seed 0)"),
    )
    early = replace(
        comparison.policy(str(student.teacher)), name="early", kind=read_kind("depth teacher, warm start, matched")
    )
    early = replace(early, evaluation=teacher.evaluation)  # as good as the state teacher of its seed
    kind = read_kind("depth, matched → stereo, warm start")
    pupil = replace(student, name="pupil", kind=kind, teacher="early")
    found = explored("wrist", replace(comparison, policies=(*comparison.policies, early, pupil)))[-1]
    assert found.name == "matched teachers" and found.students == (("state → stereo (seed 0)", "pupil"),)
    mine = comparison.policy("state → stereo (seed 0)").evaluation.success_at_end.astype(float)
    assert found.figure.value == pytest.approx(float(np.mean(student.evaluation.success_at_end - mine)))


def test_limits_name_what_is_missing_and_what_was_rising(whole):
    said = " ".join(study_limits(whole))
    assert "open/seed1/depth-to-control (failed)" in said
    assert "This is invented." in said
    assert "did not learn from scratch" in said
    assert len(study_limits(whole)) == len(set(study_limits(whole)))


def test_limits_of_one_scene_name_it_and_those_of_all_are_said_once(whole):
    said = study_limits(whole)
    (everywhere,) = [line for line in said if "happened in simulation" in line]
    assert everywhere.startswith("Everything")
    seeds = [line for line in said if "training seed" in line or "one seed" in line]
    assert len(seeds) == len(whole.comparisons) and all(line.startswith("Scene ") for line in seeds)


def test_crowded_figures_show_teachers_and_stereo_students(whole):
    roles = {kind.label for kind in main_policies(whole.comparisons["wrist"]).kinds}
    assert "state → left eye" not in roles and "state → control" not in roles
    assert {"state teacher", "state → stereo", "depth → stereo", "depth → stereo, warm start"} <= roles
    assert main_policies(whole.comparisons["open"]) is whole.comparisons["open"]


def test_study_without_chains_has_a_report_without_a_verdict(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(study_report, "draw", lambda study: {})  # drawing takes seconds
    comparison = whole.comparisons["open"]
    teachers = replace(comparison, policies=tuple(p for p in comparison.policies if not p.kind.is_student))
    page = write_study_report(replace(whole, comparisons={"open": teachers}), tmp_path).read_text()
    assert "Verdict" not in page.split("</header>")[0]
    assert "No verdict" in study_headline(replace(whole, comparisons={"open": teachers}))


def test_constant_sigma_has_no_figure(whole):
    comparison = whole.comparisons["open"]
    constant = [
        replace(e, disagreement=e.disagreement and replace(e.disagreement, student_std=e.disagreement.teacher_std))
        for e in comparison.policies
    ]
    assert "sigma" in study_report._of_scene(comparison)
    assert "sigma" not in study_report._of_scene(replace(comparison, policies=tuple(constant)))
