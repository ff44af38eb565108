from itertools import pairwise

import pytest
import torch

from handsight.policies import zero_where_first
from handsight.sims.vec_env import ArraySpec
from handsight.teachers import ActorCritic, ActorCriticConfig
from handsight.teachers.actor_critic import ActorCriticError

SPEC = {
    "state": ArraySpec((7,), torch.float32, {"contacts": 1, "object_from_palm": 3, "object_size": 3}),
    "proprio": ArraySpec((4,), torch.float32),
    "depth": ArraySpec((1, 16, 16), torch.int16),
}
DEPTH = ActorCriticConfig(
    actor_keys=("depth", "proprio"), hidden=(16, 8), auxiliary=("object_from_palm", "object_size"), depth_features=8
)


def observe(*shape):
    return {
        "state": torch.randn(*shape, 7),
        "proprio": torch.randn(*shape, 4),
        "depth": torch.randint(0, 2000, (*shape, 1, 16, 16)).to(torch.int16),
    }


def build(recurrent="none", config=DEPTH):
    torch.manual_seed(0)
    return ActorCritic(
        ActorCriticConfig(**{**vars(config), "recurrent": recurrent, "recurrent_size": 5}), SPEC, action_dim=2
    )


@pytest.mark.parametrize("recurrent", ["gru", "lstm"])
def test_predict_is_act_step_by_step_with_resets(recurrent):
    policy, obs, first = build(recurrent), observe(6, 4), torch.rand(6, 4) < 0.3
    start = torch.randn(4, policy.core.hidden_size)
    first[0] = False  # the memory before the first row is stored as it is
    together, hidden = policy.predict(obs, start, first), start
    for t in range(6):
        hidden = zero_where_first(hidden, first[t])
        row = {key: value[t] for key, value in obs.items()}
        torch.testing.assert_close(policy.value(row, hidden), together.value[t])
        mean, std, hidden = policy(row, hidden)
        torch.testing.assert_close(mean, together.mean[t])
        torch.testing.assert_close(std, together.std[t])


def test_the_actor_never_looks_at_the_state():
    policy, obs = build(), observe(3)
    mean, _, _ = policy(obs, policy.initial_hidden(3))
    del obs["state"]
    assert torch.equal(policy(obs, policy.initial_hidden(3))[0], mean)
    assert policy.obs_keys == ("depth", "proprio")


def test_the_critic_sees_the_state():
    policy, obs = build(), observe(3)
    before = policy.value(obs, policy.initial_hidden(3))
    assert not torch.allclose(policy.value(obs | {"state": obs["state"] + 1}, policy.initial_hidden(3)), before)


def test_depth_beyond_the_limit_and_no_return_look_alike():
    policy, near = build(), torch.full((1, 1, 16, 16), 500, dtype=torch.int16)
    features = [policy.depth(torch.full_like(near, value)) for value in (0, 600, 2000, 500)]
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[1], features[2])
    assert not torch.allclose(features[2], features[3])


def test_integers_of_the_image_are_not_written_to():
    policy, image = build(), torch.full((1, 1, 16, 16), 5000, dtype=torch.int16)
    policy.depth(image)
    assert (image == 5000).all()


def test_auxiliary_target_is_the_named_parts_normalised():
    policy, obs = build(), observe(50)
    policy.normalise(policy.observed(obs, torch.ones(50, dtype=torch.bool)))
    expected = policy.normalizers["state"](obs["state"])[:, 1:7]
    assert torch.equal(policy.auxiliary_target(obs), expected)


def test_the_prediction_reaches_the_policy_detached():
    policy, obs = build(), observe(3)
    with torch.no_grad():
        policy.head.mean.weight.normal_()
    policy(obs, policy.initial_hidden(3))[0].sum().backward()
    assert all(parameter.grad is None for parameter in policy.auxiliary.parameters())
    assert policy.depth.project[0].weight.grad.abs().sum() > 0


def test_normalisers_leave_out_invalid_rows():
    policy, obs = build(), observe(4)
    obs["state"][2] = float("nan")
    policy.normalise(policy.observed(obs, torch.tensor([True, True, False, True])))
    assert policy.normalizers["state"].count == 3
    assert policy.normalizers["state"].mean.isfinite().all()


def test_a_missing_group_names_those_available():
    with pytest.raises(ActorCriticError, match="no observation group 'touch'; available: state, proprio, depth"):
        ActorCritic(ActorCriticConfig(actor_keys=("touch",)), SPEC, 2)


def test_a_critic_on_images_is_refused():
    with pytest.raises(ActorCriticError, match=r"group 'depth' has shape \(1, 16, 16\)"):
        ActorCritic(ActorCriticConfig(critic_keys=("depth",)), SPEC, 2)


def test_a_fresh_policy_acts_near_zero_whatever_it_sees():
    policy = build(config=ActorCriticConfig(actor_keys=("state", "proprio"), hidden=(16, 8)))
    mean = policy(observe(64), policy.initial_hidden(64))[0]
    assert 0 < mean.abs().max() < 0.1 * policy.config.initial_std


@pytest.mark.parametrize("recurrent", ["none", "gru", "lstm"])
def test_a_decision_is_valued_by_the_hidden_state_with_which_it_was_made(recurrent):
    policy, obs = build(recurrent), observe(3)
    hidden = torch.randn(3, policy.core.hidden_size)
    made = policy.act(obs, hidden)
    assert torch.equal(made.value, policy.value(obs, hidden))
    mean, std, after = policy(obs, hidden)
    assert torch.equal(made.mean, mean) and torch.equal(made.std, std) and torch.equal(made.hidden, after)
    torch.testing.assert_close(made.log_prob, torch.distributions.Normal(mean, std).log_prob(made.action).sum(1))


@pytest.mark.parametrize("recurrent", ["gru", "lstm"])
def test_the_value_teaches_the_actors_memory_nothing(recurrent):
    policy = build(recurrent)
    policy.predict(observe(4, 3), policy.initial_hidden(3), torch.zeros(4, 3, dtype=torch.bool)).value.sum().backward()
    assert all(parameter.grad is None for parameter in (*policy.core.parameters(), *policy.depth.parameters()))
    assert policy.critic[0].weight.grad.abs().sum() > 0


def test_depth_is_told_apart_up_to_the_limit_and_not_beyond():
    policy = build()  # depth_max_m is .6
    features = [policy.depth(torch.full((1, 1, 16, 16), mm, dtype=torch.int16)) for mm in (61, 300, 595, 600, 605)]
    assert all(not torch.equal(one, other) for one, other in pairwise(features[:4]))
    assert torch.equal(features[3], features[4])
