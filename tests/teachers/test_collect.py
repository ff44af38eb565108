"""What a rollout stores: who saw what, with which hidden state, and what came of it."""

import pytest
import torch
from tensordict import TensorDict

from handsight.teachers import Decision, EpisodeTracker, RolloutBuffer, RolloutStoppedError, collect
from handsight.teachers.collect import checked

from ..distill.toy_env import ToyEnv

WORLDS, STEPS = 3, 20
"""Episodes of the toy take 8 steps and one that resets, so that each world meets two ends in a rollout."""


class Counter:
    """Its hidden state counts the steps since it was zero; its value is ten times that, and where the palm is."""

    train_keys = ("proprio",)

    def __init__(self):
        self.seen = []

    def act(self, obs, hidden):
        self.seen.append((obs["proprio"].clone(), hidden[:, 0].clone()))
        moved = torch.tensor([[0.1, -0.1, 0.0]]) * torch.arange(1, WORLDS + 1)[:, None]
        rows = torch.zeros(WORLDS)
        return Decision(moved, rows, moved, torch.ones_like(moved), self.value(obs, hidden), hidden + 1)

    def value(self, obs, hidden):
        return 10 * hidden[:, 0] + obs["proprio"][:, 0]


def rollout(env=None, hidden=None, **how):
    env = env or ToyEnv(("proprio",), WORLDS)
    obs, actor = env.reset(5), Counter()
    buffer = RolloutBuffer(env.obs_spec, actor.train_keys, STEPS, WORLDS, 3, 1)
    hidden = torch.zeros(WORLDS, 1) if hidden is None else hidden
    after = collect(env, actor, buffer, obs, hidden, EpisodeTracker(WORLDS), **how)
    return actor, buffer, after


def test_the_hidden_state_is_zeroed_where_an_episode_opens():
    actor, buffer, (_, hidden) = rollout()
    counted = torch.stack([h for _, h in actor.seen])
    # eight steps (0..7), the step that resets (8), then again from 0
    assert counted[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    assert buffer.first[:, 0].nonzero()[:, 0].tolist() == [9, 18]
    assert hidden[:, 0].tolist() == [2, 2, 2]


def test_a_rollout_begins_with_the_hidden_state_that_the_last_one_ended_with():
    actor, buffer, _ = rollout(hidden=torch.tensor([[3.0], [0.0], [5.0]]))
    assert actor.seen[0][1].tolist() == [3, 0, 5]
    assert buffer.hidden[:, 0].tolist() == [3, 0, 5]


def test_what_is_stored_was_seen_and_the_last_value_is_of_what_came_after_the_last_row():
    actor, buffer, (obs, hidden) = rollout(version=7)
    assert torch.equal(buffer.obs["proprio"], torch.stack([seen for seen, _ in actor.seen]))
    assert torch.equal(buffer.last_value, 10 * hidden[:, 0] + obs["proprio"][:, 0])
    assert not torch.equal(obs["proprio"], buffer.obs["proprio"][-1])
    assert (buffer.version == 7).all()


def test_rewards_and_ends_are_those_that_the_environment_gave():
    _, buffer, _ = rollout()
    env = ToyEnv(("proprio",), WORLDS)
    env.reset(5)
    for t in range(STEPS):
        step = env.step(buffer.action[t])
        for name in ("reward", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(buffer, name)[t], getattr(step, name)), (name, t)


def test_a_rollout_can_be_broken_off_before_any_step():
    steps = []
    with pytest.raises(RolloutStoppedError):
        rollout(stop=lambda: steps.append(1) or len(steps) > 3)
    assert len(steps) == 4


class Follower(Counter):
    """Acts on what it sees and remembers, however many worlds it is asked about."""

    def act(self, obs, hidden):
        moved = torch.cat([0.3 - obs["proprio"], 0.1 * hidden], dim=1)
        rows = torch.zeros(len(moved))
        return Decision(moved, rows, moved, torch.ones_like(moved), self.value(obs, hidden), hidden + 1)


class Parted(ToyEnv):
    """The same worlds, which move in two parts."""

    parts = (slice(0, 1), slice(1, WORLDS))

    def __init__(self):
        super().__init__(("proprio",), WORLDS)
        self.own = [ToyEnv(("proprio",), part.stop - part.start, part.start) for part in self.parts]
        self.sent = {}

    def reset(self, seed):
        return TensorDict.cat([one.reset(seed) for one in self.own])

    def send(self, action, part=0):
        assert part not in self.sent
        self.sent[part] = action

    def receive(self, part=0):
        return self.own[part].step(self.sent.pop(part))


def test_worlds_in_parts_store_what_they_do_in_one_piece():
    found = []
    for env in (ToyEnv(("proprio",), WORLDS), Parted()):
        obs, actor = env.reset(5), Follower()
        buffer = RolloutBuffer(env.obs_spec, actor.train_keys, STEPS, WORLDS, 3, 1)
        obs, hidden = collect(env, actor, buffer, obs, torch.zeros(WORLDS, 1), EpisodeTracker(WORLDS))
        state = buffer.state_dict()
        found.append(state.pop("obs") | state | {"after": obs["proprio"], "remembered": hidden})
    assert not env.sent  # nothing is under way
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name


def test_a_row_is_not_valid_if_any_number_of_it_is_not_finite_and_counts_only_if_it_was():
    """Worlds: all finite; an infinite reward; NaN seen; NaN seen afterwards; NaN done; NaN seen as an episode opens."""
    env, nan = ToyEnv(("proprio",), 6), float("nan")
    obs = env.reset(0)
    step = env.step(torch.zeros(6, env.action_dim))
    step.valid[:] = torch.tensor([True, True, True, True, True, False])
    step.reward[1] = float("inf")
    before, after = ({"proprio": obs["proprio"].clone()} for _ in range(2))
    before["proprio"][2, 0] = before["proprio"][5, 0] = nan
    after["proprio"][3, 0] = nan
    column = torch.zeros(6, env.action_dim)
    decision = Decision(column.clone(), torch.zeros(6), column, column + 1, torch.zeros(6), torch.zeros(6, 1))
    decision.action[4, 0] = nan
    found = checked(step, before, decision, after)
    assert found.valid.tolist() == [True, False, False, False, False, False]
    assert found.log["nonfinite"].tolist() == [False, True, True, True, True, False]
    assert found.reward.isfinite().all()
