"""Evaluation: exactly one episode per reset, paired between policies, lost episodes are failures."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch

from handsight import sims
from handsight.distill.commands.evaluate import summary_table
from handsight.distill.evaluation.evaluate import evaluate, evaluate_in
from handsight.distill.evaluation.evaluation import ARRAYS, Evaluation, row_means
from handsight.distill.evaluation.phases import UNKNOWN
from handsight.distill.evaluation.statistics import bootstrap_mean, t_interval, wilson
from handsight.errors import HandsightError
from handsight.sims import EnvConfig

from ..toy_env import Counting, Scripted, ToyConfig, ToyEnv


def toy(num_envs: int = 8, observe=("state", "proprio", "depth"), **options) -> ToyEnv:
    return ToyEnv(observe, num_envs, **options)


def test_each_reset_gives_exactly_one_episode_and_they_differ_between_rounds():
    result = evaluate_in(toy(num_envs=8), Scripted("state"), episodes=20, seed=3)
    assert len(result.length) == 20
    assert (result.length == ToyEnv.episode_steps).all()
    assert not np.array_equal(result.visible[:4, 0], result.visible[8:12, 0])


def test_same_resets_for_every_policy():
    seeing = evaluate_in(toy(observe=("proprio", "depth", "stereo")), Scripted("stereo"), episodes=24, seed=5)
    knowing = evaluate_in(toy(), Scripted("state"), episodes=24, seed=5)
    other = evaluate_in(toy(), Scripted("state"), episodes=24, seed=6)
    np.testing.assert_array_equal(seeing.visible[:, 0], knowing.visible[:, 0])
    np.testing.assert_array_equal(seeing.kind, knowing.kind)
    assert not np.array_equal(other.visible[:, 0], knowing.visible[:, 0])
    assert knowing.success_at_end.all()
    assert seeing.success_at_end[seeing.in_view_at_reset].all()
    assert not seeing.success_at_end.all()


def test_lost_episode_is_a_failure_even_after_a_success():
    whole = evaluate_in(toy(), Scripted("state"), episodes=8, seed=0)
    lost = evaluate_in(toy(diverge={(2, ToyEnv.episode_steps)}), Scripted("state"), episodes=8, seed=0)
    assert whole.success_once[2]
    assert lost.aborted.tolist() == [i == 2 for i in range(8)]
    assert not lost.success_once[2]
    assert not lost.success_at_end[2]
    assert lost.length[2] == ToyEnv.episode_steps - 1
    assert np.isnan(lost.visible[2, ToyEnv.episode_steps])
    others = [i != 2 for i in range(8)]
    np.testing.assert_array_equal(lost.episode_return[others], whole.episode_return[others])


def test_episode_that_never_ends_is_lost():
    class Endless(ToyEnv):
        def step(self, action):
            step = super().step(action)
            if int(self.clock[1]) == self.episode_steps:
                step.truncated[1] = self.over[1] = False
            return step

    result = evaluate_in(Endless(("state", "proprio", "depth"), 4), Scripted("state"), episodes=4)
    assert result.aborted.tolist() == [False, True, False, False]
    assert not result.success_once[1]


def test_second_episode_of_a_world_is_not_counted():
    result = evaluate_in(toy(end_on_success=True), Scripted("state"), episodes=8, seed=1)
    again = evaluate_in(toy(num_envs=8), Scripted("state"), episodes=8, seed=1)
    first_success = result.length
    assert result.success_at_end.all()
    assert len(set(first_success.tolist())) > 1
    assert np.isnan(result.visible[np.arange(8), first_success + 1][first_success < 8]).all()
    assert (result.episode_return <= again.episode_return + 1e-6).all()


def test_memory_is_zero_at_the_start_of_every_round():
    policy = Counting()
    evaluate_in(toy(num_envs=4), policy, episodes=8, seed=0)
    steps = ToyEnv.episode_steps
    assert len(policy.seen) == 2 * steps
    for t, counts in enumerate(policy.seen):
        assert (counts == t % steps).all()


def test_policy_sees_only_what_it_reads_and_keeps_its_training_mode():
    class Nosy(Scripted):
        def forward(self, obs, hidden):
            assert set(obs.keys()) == {"state", "proprio"}
            assert not self.training
            return super().forward(obs, hidden)

    policy = Nosy("state").train()
    evaluate_in(toy(), policy, episodes=8, seed=0)
    assert policy.training


def test_missing_group_is_named():
    with pytest.raises(HandsightError, match=r"Scripted reads stereo, proprio.*available: state"):
        evaluate_in(toy(observe=("state",)), Scripted("stereo"), episodes=8)


def test_sampled_actions_differ_from_the_mean_but_repeat_with_the_seed():
    runs = [
        evaluate_in(toy(), Scripted("state", std=0.5), episodes=8, seed=2, deterministic=d)
        for d in (True, False, False)
    ]
    assert not np.array_equal(runs[0].episode_return, runs[1].episode_return)
    np.testing.assert_array_equal(runs[1].episode_return, runs[2].episode_return)


def table(**changes) -> Evaluation:
    nan = float("nan")
    columns = {
        "success_once": np.array([True, True, False, True]),
        "success_at_end": np.array([True, False, False, True]),
        "aborted": np.array([False, False, True, False]),
        "episode_return": np.array([1.0, 2.0, 3.0, 6.0], np.float32),
        "length": np.array([2, 2, 1, 2]),
        "kind": np.array([0, 1, 1, 0]),
        "reset_kind": np.array([0, 0, 0, 0]),
        "visible": np.array([[0.1, 0.0, 0.2], [0.0, 0.0, 0.3], [0.0, 0.2, nan], [0.4, 0.4, 0.4]], np.float32),
        "visible_right": np.full((4, 3), nan, np.float32),
        "phase": np.full((4, 3), UNKNOWN, np.int8),
    }
    return Evaluation(**(columns | changes), object_kinds=("box", "cylinder"), reset_kinds=("wide",))


def test_a_view_that_no_reset_has_is_a_dash_in_the_table():
    shown = summary_table({"toy": table(visible=np.ones((4, 3), np.float32))})
    in_view, out_of_view = (next(iter(shown.columns[i].cells)) for i in (2, 3))
    assert in_view.startswith("0.500") and out_of_view == "-"


RIGHT = np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.4, float("nan")], [0.0, 0.0, 0.0]], np.float32)
"""Of the resets the left eye sees the first and the fourth, the right eye the second; nobody sees the third."""


def test_in_view_is_what_the_policys_own_eyes_see():
    left, pair = (table(visible_right=RIGHT, eyes=eyes) for eyes in ("left", "either"))
    assert left.in_view_at_reset.tolist() == [True, False, False, True]
    assert pair.in_view_at_reset.tolist() == [True, True, False, True]
    views = [one.summary()["by_view_at_reset"]["in view"]["episodes"] for one in (left, pair)]
    assert views == [2, 3]
    np.testing.assert_allclose(pair.pixels[1], [0.1, 0.0, 0.15])  # the mean of both eyes
    assert pair.in_view[2].tolist()[:2] == [0, 1] and np.isnan(pair.in_view[2, 2])
    seen = pair.summary()["visibility"]
    assert {eye: one["value"] for eye, one in seen["blind_at_reset"].items()} == {
        "left": 0.5, "right": 0.75, "both": 0.25,
    }  # fmt: skip
    assert seen["looking"]["episodes"] == 1 and left.summary()["visibility"]["looking"]["episodes"] == 2


@pytest.mark.parametrize(
    ("group", "eyes"), [("depth", "left"), ("stereo", "either"), ("state", "either"), ("one eye", "left")]
)
def test_each_policy_is_judged_by_its_own_cameras(toy_sims, group, eyes):
    policy = Scripted("stereo" if group == "one eye" else group)
    policy.eyes = 1 if group == "one eye" else 2
    found = evaluate(policy, ToyConfig(), episodes=256, num_envs=256, reset_kind="wide")
    assert found.eyes == eyes and found.both_known
    left, right = found.visible[:, 0] > 0, found.visible_right[:, 0] > 0
    assert found.in_view_at_reset.tolist() == (left if eyes == "left" else left | right).tolist()
    assert not np.array_equal(left, left | right)


def test_an_evaluation_that_knows_one_eye_only_is_read_as_that(tmp_path):
    table(visible_right=RIGHT, eyes="either").save_episodes(tmp_path)
    assert Evaluation.load(tmp_path).in_view_at_reset.sum() == 3
    with np.load(tmp_path / "episodes.npz") as stored:
        columns = {name: stored[name] for name in stored.files if name != "visible_right"}
    meta = {key: value for key, value in json.loads(str(columns.pop("meta"))).items() if key != "eyes"}
    np.savez(tmp_path / "episodes.npz", meta=np.array(json.dumps(meta)), **columns)  # as version 0.1 wrote it
    old = Evaluation.load(tmp_path)
    assert not old.both_known and old.eyes == "left" and old.in_view_at_reset.sum() == 2
    assert set(old.summary()["visibility"]["blind_at_reset"]) == {"left"}


def test_summary_agrees_with_hand_counts():
    summary = table().summary()
    assert summary["success_at_end"]["value"] == 0.5
    assert summary["success_once"]["value"] == 0.75
    assert summary["return"]["value"] == pytest.approx(3.0)
    assert summary["aborted"] == 1
    assert summary["by_object_kind"]["box"]["success_at_end"]["value"] == 1.0
    assert summary["by_object_kind"]["cylinder"]["success_at_end"]["value"] == 0.0
    assert summary["by_view_at_reset"]["in view"]["episodes"] == 2
    assert summary["by_view_at_reset"]["out of view"]["success_once"]["value"] == 0.5
    visibility = summary["visibility"]
    assert visibility["steps_in_view"]["value"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 2 + 1) / 4)
    assert visibility["pixel_share"]["value"] == pytest.approx((0.1 + 0.1 + 0.1 + 0.4) / 4)
    assert visibility["in_view_by_step"] == pytest.approx([2 / 4, 2 / 4, 3 / 3])
    json.dumps(summary)


def test_no_camera_means_no_visibility():
    blind = table(visible=np.full((4, 3), np.nan, np.float32))
    assert "visibility" not in blind.summary()
    assert "by_view_at_reset" not in blind.summary()


def test_saved_evaluation_comes_back(tmp_path):
    saved = evaluate_in(toy(), Scripted("state"), episodes=8, seed=0)
    saved.save(tmp_path)
    loaded = Evaluation.load(tmp_path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    assert loaded.settings == saved.settings
    assert loaded.object_kinds == ("box", "cylinder")
    lines = (tmp_path / "episodes.csv").read_text().splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("reset,success_once,success_at_end,aborted")
    assert json.loads((tmp_path / "evaluation.json").read_text())["summary"]["episodes"] == 8


def test_evaluate_adds_a_camera_for_visibility_and_sets_the_reset_kind(toy_sims):
    result = evaluate(Scripted("state"), ToyConfig(), episodes=8, num_envs=4, reset_kind="wide")
    assert set(toy_sims[0].obs_spec) == {"state", "proprio", "stereo"}
    assert result.seen
    assert (result.reset_kind == 1).all()
    assert result.settings["env"] == {"task": "toy"}
    assert result.settings["reset_kind"] == "wide"
    assert summary_table({"toy": result}).row_count == 1


def test_wilson_interval_of_eight_of_ten():
    # Wilson 1927 with z = 1.96: centre (0.8 + z^2/20) / (1 + z^2/10), half-width z/(1 + z^2/10) sqrt(.016 + z^2/400).
    interval = wilson([True] * 8 + [False] * 2)
    assert interval.value == 0.8
    assert interval.low == pytest.approx(0.4902, abs=1e-4)
    assert interval.high == pytest.approx(0.9433, abs=1e-4)
    assert wilson([True] * 5).high == 1.0


def test_bootstrap_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert bootstrap_mean(values) == interval


@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [
        ([1.0, 2.0, 3.0], 2.0, 4.30265 / np.sqrt(3)),  # standard error 1/sqrt(3), t(0.975, 2) = 4.30265
        ([1.0, 2.0], 1.5, 12.7062 / 2),  # standard error 1/2, t(0.975, 1) = 12.7062
    ],
)
def test_t_interval_over_seeds(values, mean, half):
    interval = t_interval(values)
    assert interval.value == mean
    assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half), abs=1e-4)


def test_one_seed_has_no_t_interval():
    assert np.isnan(t_interval([1.0]).low)
    assert np.isnan(t_interval([1.0]).high)


def test_two_episodes_have_a_bootstrap_interval_and_one_has_none():
    assert str(bootstrap_mean([0.0, 1.0])) == "0.500 [0.000, 1.000]"
    assert str(bootstrap_mean([1.0])) == "1.000 [nan, nan]"


def test_row_means_leave_out_what_was_not_measured():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    means = row_means(values)
    assert means[0] == 2.0
    assert np.isnan(means[1])
    assert torch.tensor(means).shape == (2,)


def test_mistakes_are_named(toy_sims):
    with pytest.raises(HandsightError, match=r"unknown reset_kind 'steep'; available: near, wide"):
        evaluate(Scripted("state"), ToyConfig(), episodes=4, num_envs=4, reset_kind="steep")
    with pytest.raises(HandsightError, match="at least one episode, found episodes=0"):
        evaluate(Scripted("state"), ToyConfig(), episodes=0, num_envs=4)
    with pytest.raises(HandsightError, match="at least one environment, found num_envs=0"):
        evaluate(Scripted("state"), ToyConfig(), episodes=4, num_envs=0)


def test_samples_of_a_round_are_its_own_and_of_its_seed():
    noise = []

    def watch(moment, rows):
        if not moment.t:
            noise.append(moment.action - moment.mean)

    for episodes, seed in ((16, 2), (8, 3)):  # rounds of seeds 2 and 3, and one of seed 3
        evaluate_in(toy(), Scripted("state", std=0.5), episodes=episodes, seed=seed, deterministic=False, watch=watch)
    assert not torch.allclose(noise[0], noise[1], atol=0.01)
    torch.testing.assert_close(noise[1], noise[2])


def test_object_and_kind_of_reset_are_those_of_the_episode_that_counts():
    env = toy(num_envs=16, end_on_success=True)
    found = evaluate_in(env, Scripted("state"), episodes=16, seed=1)
    assert (env.episode > 0).any()  # or there would be no other to be mistaken for it
    env.reset(1)
    for name in ("kind", "reset_kind"):
        assert getattr(found, name).tolist() == env.measure()[name].tolist()


def test_steps_of_all_environments_are_counted():
    assert evaluate_in(toy(num_envs=8), Scripted("state"), episodes=20).env_steps == 3 * 8 * ToyEnv.episode_steps


@pytest.mark.parametrize("role", ["advisor", "driver"])
def test_who_is_asked_beside_the_policy_is_in_evaluation_mode_too(role):
    class Watched(Scripted):
        modes: ClassVar = []

        def forward(self, obs, hidden):
            self.modes.append(self.training)
            return super().forward(obs, hidden)

    beside = Watched("state").train()
    evaluate_in(toy(), Scripted("state"), episodes=8, **{role: beside})
    assert beside.modes == [False] * ToyEnv.episode_steps and beside.training


def test_postures_and_level_are_those_that_are_asked_for_and_trainings_are_not_the_default(monkeypatch):
    made = []

    def make(config, observe, num_envs, device="cpu"):
        made.append(config.task)
        return ToyEnv(observe, num_envs)

    monkeypatch.setattr(sims, "make", make)
    for how in ({}, {"postures": "training"}, {"level": 3}):
        found = evaluate(Scripted("state"), EnvConfig(), episodes=4, num_envs=4, **how)
        assert {"postures": "held_out", "level": None} | how == {
            name: found.settings[name] for name in ("postures", "level")
        }
    assert [(task.postures, task.level) for task in made] == [("held_out", 0), ("training", 0), ("held_out", 3)]
