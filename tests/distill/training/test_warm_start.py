import dataclasses

import pytest
import torch

from handsight.distill.training.warm_start import WarmStart, WarmStartConfig
from handsight.errors import HandsightError
from handsight.teachers import PPO, ActorCritic, ActorCriticConfig, EpisodeTracker, PPOConfig, RolloutBuffer, collect

from ..toy_env import ToyEnv

STATE = ActorCriticConfig(hidden=(16, 8), initial_std=0.2)
DEPTH = dataclasses.replace(
    STATE, actor_keys=("depth", "proprio"), depth_features=16, initial_std=0.6, auxiliary=("object_from_palm",)
)


WARM = WarmStartConfig(iterations=12, beta_iterations=4, gradient_steps=8, minibatch=64)


def build(memory="none"):
    torch.manual_seed(0)
    env = ToyEnv(("state", "proprio", "depth"), num_envs=32)
    expert = ActorCritic(dataclasses.replace(STATE, recurrent=memory), env.obs_spec, env.action_dim)
    with torch.no_grad():
        expert.head.mean.weight.normal_(std=0.5)
    expert.normalizers["state"].update(torch.randn(100, 6) * 0.5)
    policy = ActorCritic(DEPTH, env.obs_spec, env.action_dim)
    ppo = PPO(policy, PPOConfig())
    buffers = [RolloutBuffer(env.obs_spec, policy.train_keys, 8, 32, env.action_dim) for _ in range(WARM.iterations)]
    return env, expert, WarmStart(ppo, expert, WARM, buffers)


def test_the_depth_policy_comes_closer_to_the_state_teacher():
    env, _, warm = build()
    obs, hidden, episodes, errors = env.reset(0), warm.policy.initial_hidden(32), EpisodeTracker(32), []
    while not warm.done:
        buffer = warm.buffer
        obs, hidden = collect(env, warm.actor, buffer, obs, hidden, episodes)
        errors.append(warm.update(buffer)["warm_start_error"])
    assert errors[-1] < 0.5 * errors[0]
    assert len(errors) == 12


def test_beta_falls_from_one_to_zero_and_really_acts():
    env, expert, warm = build()
    obs = env.reset(0)
    expected, shares = expert(obs, expert.initial_hidden(32))[0], []
    with torch.no_grad():
        warm.policy.head.mean.bias += 100.0  # an action of its own is easily told from the expert's
    for updates in (0, 1, 2, 3, 4, 9):
        warm.updates = updates
        _ = warm.buffer
        decision = warm.actor.act(obs, warm.policy.initial_hidden(32))
        shares.append((decision.action[:, 0] < 50).float().mean().item())
        torch.testing.assert_close(decision.mean, expected.clamp(-1, 1))
    assert shares[0] == 1.0
    assert 0.5 < shares[1] < 1.0
    assert shares[-2:] == [0.0, 0.0]


def test_critic_normalisers_and_std_are_inherited():
    _, expert, warm = build()
    assert set(warm.copied) == {"normalizers.state", "normalizers.proprio", "critic", "std"}
    assert warm.policy.normalizers["state"].count == 100
    torch.testing.assert_close(warm.policy.head.std(), expert.head.std())
    assert not torch.allclose(expert.head.std(), torch.tensor(DEPTH.initial_std))
    assert torch.equal(warm.policy.critic[0].weight, expert.critic[0].weight)


def test_every_rollout_so_far_is_learnt_from_and_none_that_is_still_to_come():
    env, _, warm = build()
    obs, hidden, episodes, dealt = env.reset(0), warm.policy.initial_hidden(32), EpisodeTracker(32), []
    for number, buffer in enumerate(warm.buffers):
        parts = buffer.minibatches
        buffer.minibatches = lambda *args, number=number, parts=parts: dealt.append(number) or parts(*args)
    for _ in range(4):
        buffer = warm.buffer
        obs, hidden = collect(env, warm.actor, buffer, obs, hidden, episodes)
        warm.update(buffer)
    per_update = len(dealt) // 4  # as many passes over a rollout each
    assert per_update == 2 and dealt[:per_update] == [0, 0]
    warm.config = dataclasses.replace(warm.config, gradient_steps=200)
    dealt.clear()
    buffer = warm.buffer
    collect(env, warm.actor, buffer, obs, hidden, episodes)
    warm.update(buffer)
    assert set(dealt) == {0, 1, 2, 3, 4}


def test_the_expert_does_not_change():
    env, expert, warm = build()
    before = {name: value.clone() for name, value in expert.state_dict().items()}
    buffer = warm.buffer
    collect(env, warm.actor, buffer, env.reset(0), warm.policy.initial_hidden(32), EpisodeTracker(32))
    warm.update(buffer)
    assert all(torch.equal(value, before[name]) for name, value in expert.state_dict().items())


def test_an_expert_with_memory_is_refused():
    with pytest.raises(HandsightError, match="expected a state teacher without memory"):
        build(memory="gru")


def test_the_gradients_of_critic_and_actor_are_each_scaled_down_to_the_norm_that_is_allowed():
    env, _, warm = build()
    buffer = warm.buffer
    collect(env, warm.actor, buffer, env.reset(0), warm.policy.initial_hidden(32), EpisodeTracker(32))
    warm.config = dataclasses.replace(WARM, max_grad_norm=1e-3)
    _, returns = warm.ppo.returns(buffer)
    warm._improve(next(buffer.minibatches(1, returns, 100 * returns)))
    norms = {True: [], False: []}
    for name, parameter in warm.policy.named_parameters():
        if parameter.grad is not None:
            norms[name.startswith("critic.")].append(parameter.grad.norm())
    assert [torch.stack(one).norm().item() for one in norms.values()] == pytest.approx([1e-3] * 2, rel=0.01)


def test_what_is_imitated_is_a_mean_that_can_be_executed():
    env, expert, warm = build()
    with torch.no_grad():
        expert.head.mean.bias += 3.0
    decision = warm.actor.act(env.reset(0), warm.policy.initial_hidden(32))
    assert decision.mean.max() == 1.0
