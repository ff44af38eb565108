from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict

from handsight.sims.vec_env import Step
from handsight.teachers import EpisodeTracker


def row(reward, truncated=(0, 0), first=(0, 0), success=(0, 0), kind=(0, 1), **log):
    flag = lambda values: torch.tensor(values, dtype=torch.bool)  # noqa: E731
    log = {"success": flag(success), "reset_kind": torch.tensor(kind)} | log
    none = torch.zeros(2, dtype=torch.bool)
    obs = TensorDict({}, [2])
    return Step(obs, torch.tensor(reward), none, flag(truncated), flag(first), ~flag(first), log)


def test_success_is_counted_at_the_end_of_an_episode_and_once_within_it():
    tracker = EpisodeTracker(2, ("near", "wide"))
    tracker.add(row([1.0, 2.0], success=(1, 0)))
    tracker.add(row([1.0, 2.0], truncated=(1, 1), success=(0, 1)))
    metrics, by_kind = tracker.summary()
    assert metrics["success_once"] == 1.0
    assert metrics["success_at_end"] == 0.5
    assert metrics["return"] == (2 + 4) / 2
    assert metrics["length"] == 2
    assert by_kind == {"near": (0, 1), "wide": (1, 1)}
    assert metrics["success/wide"] == 1.0


def test_an_episode_under_way_says_nothing():
    tracker = EpisodeTracker(2, ("near", "wide"))
    tracker.add(row([1.0, 1.0], success=(1, 1)))
    metrics, by_kind = tracker.summary()
    assert metrics["episodes"] == 0
    assert "success_at_end" not in metrics
    assert by_kind == {}


def test_the_row_that_resets_belongs_to_no_episode():
    tracker = EpisodeTracker(2, ("near", "wide"))
    tracker.add(row([1.0, 1.0], truncated=(1, 0)))
    tracker.add(row([100.0, 1.0], first=(1, 0), success=(1, 0)))
    tracker.add(row([3.0, 1.0], truncated=(1, 1)))
    metrics, _ = tracker.summary()
    assert metrics["return"] == pytest.approx((1 + 3 + 3) / 3)
    assert metrics["success_once"] == 0


def test_a_diverged_episode_is_dropped_and_counted():
    tracker = EpisodeTracker(2, ("near", "wide"))
    tracker.add(row([5.0, 1.0]))
    tracker.add(row([float("nan"), 1.0], first=(1, 0), diverged=torch.tensor([True, False])))
    tracker.add(row([1.0, 1.0], truncated=(1, 1)))
    metrics, _ = tracker.summary()
    assert metrics["diverged"] == 1
    assert metrics["return"] == (1 + 3) / 2


def test_a_row_whose_numbers_are_not_finite_counts_for_nothing():
    tracker = EpisodeTracker(2)
    tracker.add(row([1.0, 1.0]))
    broken = row([50.0, 1.0], truncated=(1, 0), success=(1, 0))
    tracker.add(replace(broken, valid=torch.tensor([False, True])))
    assert tracker.summary()[0]["episodes"] == 0  # what ends in such a row is not an episode to learn from
    tracker.add(row([2.0, 1.0], truncated=(1, 1)))
    metrics, _ = tracker.summary()
    assert metrics["success_once"] == 0
    assert metrics["length"] == (2 + 3) / 2
    assert metrics["return"] == (3 + 3) / 2


def test_reward_terms_are_averaged_over_valid_rows():
    tracker = EpisodeTracker(2)
    tracker.add(row([0.0, 0.0], **{"reward/lift": torch.tensor([1.0, 3.0])}))
    tracker.add(row([0.0, 0.0], first=(1, 0), **{"reward/lift": torch.tensor([50.0, 5.0])}))
    assert tracker.summary()[0]["reward/lift"] == 3.0


def test_episodes_go_on_after_a_restart():
    tracker, other = EpisodeTracker(2), EpisodeTracker(2)
    tracker.add(row([1.0, 2.0], success=(0, 1)))
    other.load_state_dict(tracker.state_dict())
    other.add(row([1.0, 2.0], truncated=(1, 1)))
    metrics, _ = other.summary()
    assert metrics["return"] == 3.0
    assert metrics["success_once"] == 0.5


def test_success_at_the_edge_is_that_at_the_end_of_episodes_of_the_present_level():
    tracker = EpisodeTracker(2, ("near", "wide"))
    edge = {"edge": torch.tensor([True, False])}
    tracker.add(row([0.0, 0.0], success=(1, 0), **edge))  # the first was there once, and is not in the end
    tracker.add(row([0.0, 0.0], truncated=(1, 1), success=(0, 1), **edge))
    tracker.add(row([0.0, 0.0], first=(1, 1), **edge))
    tracker.add(row([0.0, 0.0], truncated=(1, 1), success=(1, 0), **edge))
    metrics, by_kind = tracker.summary()
    assert by_kind["edge"] == (1, 2) and metrics["success/edge"] == 0.5
    tracker.add(row([0.0, 0.0], truncated=(1, 1), edge=torch.tensor([False, False])))
    assert "edge" not in tracker.summary()[1]


def test_nothing_that_ended_is_told_twice():
    tracker = EpisodeTracker(2, ("near", "wide"))
    tracker.add(row([1.0, 1.0], truncated=(1, 1), **{"reward/lift": torch.tensor([1.0, 3.0])}))
    assert tracker.summary()[0]["episodes"] == 2
    metrics, by_kind = tracker.summary()
    assert metrics["episodes"] == 0 and by_kind == {} and "reward/lift" not in metrics
