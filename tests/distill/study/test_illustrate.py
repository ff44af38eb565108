"""Films for a report: made where checkpoints are at hand, kept beside the results, found again."""

import shutil
from dataclasses import replace

import av
import numpy as np
import pytest

from handsight.distill.commands.compare import CompareArgs, compare
from handsight.distill.report import illustrate as illustrations
from handsight.distill.report.illustrate import Illustrations, illustrate_study, set_apart
from handsight.distill.report.study_results import Study
from handsight.distill.runs.policy_io import load_policy

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


def test_without_a_headline_a_student_is_set_against_its_teacher_and_else_the_first_two(study):
    whole = study.comparisons["wrist"]

    def names(*which):
        return [one.name for one in set_apart(replace(whole, policies=tuple(map(whole.policy, which))))]

    assert names("depth teacher", "state teacher", "depth → stereo") == ["depth teacher", "depth → stereo"]
    assert names("depth teacher", "state teacher") == ["depth teacher", "state teacher"]
    assert names("depth teacher") == ["depth teacher"]


def test_the_resets_that_differ_most_are_films_of_both_and_it_is_said_how_they_were_chosen(study, tmp_path):
    made = illustrate_study(study, tmp_path / "results", tmp_path, moments=3)["wrist"]
    assert 0 < len(made.moments) <= 3 and f"the {len(made.moments)} in which they differ most" in made.chosen
    for moment in made.moments:
        with av.open(str(tmp_path / "results" / "wrist" / moment.file)) as container:
            assert len([*container.decode(video=0)]) == 9 + 5
        assert "state → stereo: " in moment.caption and "depth → stereo: " in moment.caption
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "illustrations.json").write_text('{"moments": [], "films": [], "sheets": []}')
    assert "first resets of the first kind" in Illustrations.load(tmp_path / "old").chosen


def test_all_are_filmed_in_the_environment_in_which_all_were_evaluated(study, tmp_path, monkeypatch):
    met, film = [], illustrations.make_film
    monkeypatch.setattr(
        illustrations, "make_film", lambda one, env, *a, **b: met.append(env) or film(one, env, *a, **b)
    )
    loaded = {}

    def load(policy):
        one = load_policy(tmp_path / policy.origin.checkpoint)
        loaded[policy.name] = replace(one, env_config=replace(one.env_config, threads=len(loaded) + 1))
        return loaded[policy.name]

    illustrations.illustrate(study.comparisons["wrist"], load, tmp_path / "results")
    assert {env.threads for env in met} == {1} and len(met) > 4


def test_each_student_stands_below_its_teacher_in_a_sheet_of_the_same_reset(study, tmp_path, monkeypatch):
    drawn = []
    sheet = illustrations.contact_sheet
    monkeypatch.setattr(illustrations, "contact_sheet", lambda films, *a: drawn.append(films) or sheet(films, *a))
    made = illustrate_study(study, tmp_path / "results", tmp_path)["wrist"]
    pairs = [["state teacher", "state → stereo"], ["depth teacher", "depth → stereo"]]
    assert [list(films) for films in drawn] == pairs
    for films, one in zip(drawn, made.sheets, strict=True):
        first, second = films.values()
        np.testing.assert_array_equal(first.images["depth"][0], second.images["depth"][0])
        assert one.caption.startswith(f"{' and '.join(films)} in the same reset")


def test_what_was_made_is_kept_where_no_checkpoint_is_at_hand(study, tmp_path):
    illustrate_study(study, tmp_path / "results", tmp_path)
    before = Illustrations.load(tmp_path / "results" / "wrist")
    shutil.rmtree(tmp_path / "runs")
    assert illustrate_study(study, tmp_path / "results", tmp_path) == {}
    assert Illustrations.load(tmp_path / "results" / "wrist") == before
    assert Illustrations.load(tmp_path / "results" / "open") == Illustrations()
