"""Films for a report: made where checkpoints are at hand, kept beside the results, found again."""

import shutil

import pytest

from handsight.distill.commands.compare import CompareArgs, compare
from handsight.distill.report import illustrate as illustrations
from handsight.distill.report.illustrate import Illustrations, illustrate_study
from handsight.distill.report.study_results import Study

from ..commands.test_compare import make_student, make_teacher


@pytest.fixture
def study(tmp_path, toy_sims, monkeypatch):
    monkeypatch.setattr("handsight.distill.commands.compare.write_page", lambda study, folder: (folder, {}))
    teachers = [make_teacher(tmp_path / "runs", sight) for sight in ("state", "depth")]
    students = [make_student(tmp_path / "runs", teacher) for teacher in teachers]
    args = CompareArgs((*teachers, *students), episodes=8, num_envs=4, videos=False, out=tmp_path / "out")
    return Study({"wrist": compare(args)}, {}, ())


def test_every_kind_of_policy_is_filmed_and_the_films_are_found_again(study, tmp_path):
    made = illustrate_study(study, tmp_path / "results", tmp_path)
    films = made["wrist"].films
    roles = ("state-teacher", "depth-teacher", "state-to-stereo", "depth-to-stereo")
    assert {film.file for film in films} == {f"videos/{role}.mp4" for role in roles}
    assert all((tmp_path / "results" / "wrist" / film.file).stat().st_size > 1000 for film in films)
    assert "resets 0 to 3" in films[0].caption
    assert Illustrations.load(tmp_path / "results" / "wrist") == made["wrist"]


def test_moments_are_those_of_the_headlines_first_pair(study, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(illustrations, "film_moments", lambda *asking: asked.append(asking) or [])
    illustrate_study(study, tmp_path / "results", tmp_path, moments=2)
    ((failing, succeeding, _, count, _),) = asked
    assert (failing[0], succeeding[0], count) == ("state → stereo", "depth → stereo", 2)


def test_what_was_made_is_kept_where_no_checkpoint_is_at_hand(study, tmp_path):
    illustrate_study(study, tmp_path / "results", tmp_path)
    before = Illustrations.load(tmp_path / "results" / "wrist")
    shutil.rmtree(tmp_path / "runs")
    assert illustrate_study(study, tmp_path / "results", tmp_path) == {}
    assert Illustrations.load(tmp_path / "results" / "wrist") == before
    assert Illustrations.load(tmp_path / "results" / "open") == Illustrations()
