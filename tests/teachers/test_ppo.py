import copy
import dataclasses
import math

import pytest
import torch

from handsight.policies import kl_divergence, log_prob
from handsight.sims.vec_env import ArraySpec
from handsight.teachers import PPO, ActorCritic, ActorCriticConfig, AdaptiveRate, PPOConfig, RolloutBuffer
from handsight.teachers.ppo import clipped_surrogate, value_error

SPEC = {
    "state": ArraySpec((6,), torch.float32, {"object_from_palm": 3, "object_size": 3}),
    "proprio": ArraySpec((2,), torch.float32),
    "depth": ArraySpec((1, 16, 16), torch.int16),
}
STEPS, WORLDS, ACTIONS = 8, 6, 2


def build(recurrent="none", **ppo):
    torch.manual_seed(0)
    config = ActorCriticConfig(
        actor_keys=("depth", "proprio"),
        hidden=(16, 8),
        recurrent=recurrent,
        recurrent_size=5,
        auxiliary=("object_from_palm",),
    )
    policy = ActorCritic(config, SPEC, ACTIONS)
    with torch.no_grad():
        policy.head.mean.weight.normal_(std=0.1)  # as the head starts near zero, little would flow below it
    buffer = RolloutBuffer(SPEC, policy.train_keys, STEPS, WORLDS, ACTIONS, policy.core.hidden_size)
    for name in ("action", "mean", "log_prob", "value", "reward"):
        getattr(buffer, name).normal_()
    for key in ("state", "proprio"):
        buffer.obs[key].normal_()
    buffer.obs["depth"].random_(0, 1500)
    buffer.std.fill_(0.6)
    buffer.valid.fill_(True)
    return PPO(policy, dataclasses.replace(PPOConfig(epochs=1, minibatches=2), **ppo)), buffer


def gradients(ppo, buffer):
    torch.manual_seed(1)
    advantage, returns = ppo.advantages(buffer)
    ppo.optimizer.zero_grad()
    for batch in buffer.minibatches(1, advantage, returns):
        ppo.loss(batch)[0].backward()
    return [parameter.grad.clone() for parameter in ppo.policy.parameters()]


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.0, 3.0, -3.0),  # the policy that acted: minus the advantage
        (1.1, 3.0, -3.3),  # within the clip
        (2.0, 3.0, -3.6),  # a good action gets no more than 1.2
        (2.0, -3.0, 6.0),  # a bad action made likelier is punished in full
        (0.5, -3.0, 2.4),  # a bad action gets no less than 0.8
        (0.5, 3.0, -1.5),  # a good action made rarer is punished in full
    ],
)
def test_clipped_surrogate_analytic(ratio, advantage, expected):
    assert clipped_surrogate(torch.tensor(ratio), torch.tensor(advantage), 0.2).item() == pytest.approx(expected)


def test_no_gradient_pulls_further_beyond_the_clip():
    ratio = torch.tensor([1.5, 0.5, 1.5], requires_grad=True)
    clipped_surrogate(ratio, torch.tensor([1.0, -1.0, -1.0]), 0.2).sum().backward()
    assert ratio.grad.tolist() == [0.0, 0.0, 1.0]


def test_value_clipping_takes_the_larger_error():
    value, old, returns = torch.tensor([2.0, 0.1, -1.0]), torch.zeros(3), torch.tensor([2.0, 2.0, 1.0])
    assert value_error(value, old, returns, None).tolist() == pytest.approx([0.0, 3.61, 4.0])
    # clipped to 0.2, 0.1, -0.2: errors 3.24, 3.61, 1.44
    assert value_error(value, old, returns, 0.2).tolist() == pytest.approx([3.24, 3.61, 4.0])


def test_the_rate_follows_the_divergence():
    rate = AdaptiveRate(target_kl=0.01, minimum=1e-4, maximum=1e-3)
    assert rate.next(5e-4, 0.021) == pytest.approx(5e-4 / 1.5)
    assert rate.next(5e-4, 0.004) == pytest.approx(5e-4 * 1.5)
    assert rate.next(5e-4, 0.015) == 5e-4
    assert rate.next(1.2e-4, 1.0) == 1e-4
    assert rate.next(9e-4, 0.0) == 1e-3


def test_the_asymmetric_rule_has_a_narrow_dead_zone():
    rate = AdaptiveRate(
        target_kl=0.016, raise_below=0.85, lower_above=1.4, up=1.3, down=1.3, minimum=3e-4, maximum=1.5e-3
    )
    assert rate.next(5e-4, 0.84 * 0.016) == pytest.approx(6.5e-4)
    assert rate.next(5e-4, 0.86 * 0.016) == 5e-4
    assert rate.next(5e-4, 1.39 * 0.016) == 5e-4
    assert rate.next(5e-4, 1.41 * 0.016) == pytest.approx(5e-4 / 1.3)


def test_a_rate_without_a_target_stays():
    assert AdaptiveRate(target_kl=None).next(1e-3, 100.0) == 1e-3


def test_the_rate_reaches_the_optimiser():
    ppo, buffer = build(rate=AdaptiveRate(initial=1e-3, target_kl=1e-9, every="update"))
    metrics = ppo.update(buffer)
    assert metrics["lr"] == pytest.approx(1e-3 / 1.5)
    assert ppo.optimizer.param_groups[0]["lr"] == metrics["lr"]


def test_once_an_update_the_rate_follows_the_divergence_of_the_last_epoch(monkeypatch):
    ppo, buffer = build(rate=AdaptiveRate(every="update"), epochs=3)
    measured, followed, improve = [], [], ppo.improve
    monkeypatch.setattr(ppo, "improve", lambda batch: measured.append(improve(batch)) or measured[-1])
    monkeypatch.setattr(ppo, "_adapt", followed.append)
    ppo.update(buffer)
    kl = [float(one["kl"]) for one in measured]
    assert len(kl) == 3 * 2 and kl[0] != pytest.approx(kl[-1], rel=1e-3)
    assert [float(one) for one in followed] == pytest.approx([(kl[-2] + kl[-1]) / 2])


def test_each_minibatch_may_move_the_rate():
    ppo, buffer = build(rate=AdaptiveRate(initial=1e-3, target_kl=1e-9), epochs=2)
    assert ppo.update(buffer)["lr"] == pytest.approx(1e-3 / 1.5**4)


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_invalid_rows_have_no_influence(recurrent):
    ppo, buffer = build(recurrent)
    # World 0 ends at row 2; row 3 resets it. World 1 diverges at row 5. Their values stay: others bootstrap from them.
    for world, t in ((0, 3), (1, 5)):
        buffer.valid[t, world], buffer.first[t + 1, world] = False, True
    buffer.truncated[2, 0] = True
    before = gradients(ppo, buffer)
    for world, t in ((0, 3), (1, 5)):
        for name in ("action", "mean", "std", "log_prob", "reward"):
            getattr(buffer, name)[t, world] = float("nan")
        for rows in buffer.obs.values():
            rows[t, world] = 77
    for old, new in zip(before, gradients(ppo, buffer), strict=True):
        assert torch.equal(old, new)


def test_a_valid_row_has_influence():
    ppo, buffer = build()
    before = gradients(ppo, buffer)
    buffer.reward[3, 0] += 10
    assert not all(torch.equal(old, new) for old, new in zip(before, gradients(ppo, buffer), strict=True))


@pytest.mark.parametrize("recurrent", ["none", "gru", "lstm"])
def test_every_trainable_parameter_gets_a_finite_gradient(recurrent):
    ppo, buffer = build(recurrent)
    gradients(ppo, buffer)
    for name, parameter in ppo.policy.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_advantages_are_normalised_over_valid_rows():
    ppo, buffer = build()
    buffer.valid[2:4] = False
    advantage, _ = ppo.advantages(buffer)
    usable = advantage[buffer.valid]
    assert usable.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert usable.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)


def test_warm_up_trains_value_and_auxiliary_head_only():
    ppo, buffer = build(aux_warmup_iterations=1)
    still, moving = ("head.", "trunk."), ("critic.", "auxiliary.", "depth.")
    before = {name: value.clone() for name, value in ppo.policy.named_parameters()}
    ppo.update(buffer)
    changed = {name for name, value in ppo.policy.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(moving)}
    ppo.update(buffer)
    after = dict(ppo.policy.named_parameters())
    assert all(not torch.equal(after[name], before[name]) for name in before if name.startswith(still))


@pytest.mark.parametrize(("apart", "norm"), [(False, 0.1), (True, 0.1 * math.sqrt(2))])
def test_gradients_are_clipped_together_or_the_critics_apart(apart, norm):
    ppo, buffer = build(max_grad_norm=0.1, clip_critic_apart=apart)
    advantage, returns = ppo.advantages(buffer)
    batch = next(buffer.minibatches(1, advantage, 100 * returns))
    assert ppo.improve(batch)["grad_norm"] > 0.1
    total = torch.cat([parameter.grad.flatten() for parameter in ppo.policy.parameters()]).norm()
    assert total.item() == pytest.approx(norm, rel=1e-3)


def test_the_first_look_at_a_rollout_has_ratio_one():
    ppo, buffer = build()
    flat = {key: rows.flatten(0, 1) for key, rows in buffer.obs.items()}
    mean, std, _ = ppo.policy(flat, ppo.policy.initial_hidden(STEPS * WORLDS))
    buffer.mean.copy_(mean.detach().view_as(buffer.mean))
    buffer.std.copy_(std.detach().view_as(buffer.std))
    buffer.log_prob.copy_(log_prob(buffer.mean, buffer.std, buffer.action))
    batch = next(buffer.minibatches(1, *ppo.advantages(buffer)))
    _, measured = ppo.loss(batch)
    assert measured["kl"].item() == pytest.approx(0.0, abs=1e-6)
    assert measured["clip_fraction"] == 0
    assert measured["loss/policy"].item() == pytest.approx(0.0, abs=1e-5)  # the mean of normalised advantages


def test_kl_is_of_the_old_policy_from_the_new():
    ppo, buffer = build()
    buffer.std.fill_(0.2)  # with equal spreads it would be the same the other way round
    batch = next(buffer.minibatches(1, *ppo.advantages(buffer)))
    new = ppo.policy.predict(batch.obs, batch.hidden, batch.first)
    expected = kl_divergence(batch.mean, batch.std, new.mean, new.std).mean()
    torch.testing.assert_close(ppo.loss(batch)[1]["kl"], expected.detach())


def test_the_entropy_bonus_lowers_the_loss_by_its_weight():
    (plain, buffer), (rewarded, _) = build(), build(entropy_coefficient=0.3)
    batch = next(buffer.minibatches(1, *plain.advantages(buffer)))
    loss, measured = plain.loss(batch)
    assert measured["entropy"].item() == pytest.approx(ACTIONS * (math.log(0.6) + 0.5 * (1 + math.log(2 * math.pi))))
    assert (loss - rewarded.loss(batch)[0]).item() == pytest.approx(0.3 * measured["entropy"].item(), rel=1e-4)


@pytest.mark.parametrize(("coefficient", "bound"), [(100.0, 1.0), (-100.0, 0.05)])
def test_no_gradient_step_takes_the_spread_beyond_its_bounds(coefficient, bound):
    ppo, buffer = build(rate=AdaptiveRate(initial=5e-2, target_kl=None), epochs=40)
    ppo.config = dataclasses.replace(ppo.config)
    object.__setattr__(ppo.config, "entropy_coefficient", coefficient)  # a negative one is refused to users
    for _ in range(2):
        ppo.update(buffer)
    assert ppo.policy.head.std().tolist() == pytest.approx([bound] * ACTIONS, rel=1e-4)


def test_reward_scale_is_for_learning():
    ppo, buffer = build(reward_scale=0.5)
    halved, other = ppo.returns(buffer)[0], build()[0]
    buffer.reward.mul_(0.5)
    torch.testing.assert_close(other.returns(buffer)[0], halved)


def test_an_update_goes_on_where_it_was_saved():
    ppo, buffer = build()
    ppo.update(buffer)
    weights, state = copy.deepcopy(ppo.policy.state_dict()), copy.deepcopy(ppo.state_dict())
    other, _ = build()
    other.policy.load_state_dict(weights)
    other.load_state_dict(state)
    for one in (ppo, other):
        torch.manual_seed(5)
        one.update(buffer)
    for name, value in ppo.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[name]), name
    assert other.rate == ppo.rate


def test_normalisers_take_a_rollout_in_after_learning_from_it():
    ppo, buffer = build()
    buffer.valid[0] = False
    counts, improve = [], ppo.improve

    def watched(batch):
        counts.append(ppo.policy.normalizers["state"].count.item())
        return improve(batch)

    ppo.improve = watched
    ppo.update(buffer)
    assert counts == [0, 0]  # while it learns the policy is the one that acted
    assert ppo.policy.normalizers["state"].count == (STEPS - 1) * WORLDS


def test_no_warm_up_moves_the_rate():
    followed = AdaptiveRate(initial=1e-3, target_kl=1e-9)
    for every in ("minibatch", "update"):
        ppo, buffer = build(aux_warmup_iterations=1, rate=dataclasses.replace(followed, every=every))
        assert ppo.update(buffer)["lr"] == 1e-3
        assert ppo.update(buffer)["lr"] < 1e-3


def test_a_warm_up_goes_on_where_it_was_saved():
    (ppo, buffer), (other, _) = build(aux_warmup_iterations=1), build(aux_warmup_iterations=1)
    ppo.update(buffer)
    other.load_state_dict(copy.deepcopy(ppo.state_dict()))
    before = other.policy.head.mean.weight.clone()
    other.update(buffer)
    assert other.updates == 2 and not torch.equal(other.policy.head.mean.weight, before)


def test_what_is_clipped_is_counted_on_both_sides():
    ppo, buffer = build()
    batch = next(buffer.minibatches(1, *ppo.advantages(buffer)))
    new = ppo.policy.predict(batch.obs, batch.hidden, batch.first)
    now = log_prob(new.mean, new.std, batch.action).detach()
    off = torch.tensor([1.5, 1.1, 0.9, 0.5]).repeat(len(now) // 4)  # ratios; the clip is .2
    assert ppo.loss(batch._replace(log_prob=now - off.log()))[1]["clip_fraction"] == 0.5


def test_explained_variance_is_the_share_of_the_returns_that_the_values_tell():
    """With gamma 0 a return is its reward; values of half of it leave a quarter of its variance."""
    ppo, buffer = build(gamma=0.0)
    buffer.value.copy_(0.5 * buffer.reward)
    buffer.valid[0], buffer.value[0] = False, 77.0
    assert ppo.update(buffer)["explained_variance"] == pytest.approx(0.75, abs=1e-4)


def test_metrics_are_means_over_the_steps_that_were_made(monkeypatch):
    ppo, buffer = build(epochs=2)  # of two minibatches each
    answers, improve = iter([False, True, True, False]), ppo.improve
    monkeypatch.setattr(ppo, "improve", lambda batch: improve(batch) | {"one": torch.ones(())} if next(answers) else {})
    assert ppo.update(buffer)["one"] == 1.0
