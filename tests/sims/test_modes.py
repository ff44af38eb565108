"""Environments and policies under `torch.inference_mode` and `torch.no_grad`, and outside again."""

from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict

from handsight import sims
from handsight.distill.runs.policy_io import load_policy
from handsight.policies import RunningMeanStd
from handsight.sims.engines import ray_cameras
from handsight.sims.env_config import TASKS, EnvConfig
from handsight.sims.randomization import HARDEST
from handsight.students import StereoStudent, StudentConfig
from handsight.teachers import ActorCritic, ActorCriticConfig

MODES = [torch.no_grad, torch.inference_mode]
GROUPS = ("state", "proprio", "depth", "stereo", "seen_position")
CONFIG = EnvConfig(threads=2, task=TASKS["carry"](episode_steps=3, randomization=HARDEST))


def every_call(env):
    """All that a VecEnv can be asked; what its steps gave."""
    steps = [env.reset(3)]
    env.stagger()
    env.set_reset_mix({"easy": 1.0})
    env.set_level(1)
    for turn in range(6):
        step = env.step(torch.full((env.num_envs, env.action_dim), 0.3))
        steps += [step.obs, env.renew()] if turn % 2 else [step.obs]
        env.measure(), env.drawn(), env.physics_state(), env.statistics()
    state = env.state_dict()
    steps.append(env.step(torch.zeros(env.num_envs, env.action_dim)).obs)
    steps.append(env.load_state_dict(state))
    return steps


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("caster", [True, False], ids=["our ray caster", "mujoco_warp's cameras"])
def test_every_call_of_an_environment_works_in_a_mode_and_after_it(mode, caster, monkeypatch):
    if not caster:
        monkeypatch.setattr(ray_cameras, "cannot_cast", lambda model, view: "for this test")
        monkeypatch.setattr(ray_cameras.warnings, "warn", lambda *words, **how: None)
    groups = (*GROUPS, "command")
    plain = sims.make(CONFIG, groups, 3)
    expected = every_call(plain) + every_call(plain)
    with mode():
        env = sims.make(CONFIG, groups, 3)
        found = every_call(env)
        assert not any(one.is_inference() for obs in found for one in obs.values())
    found += every_call(env)
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in groups)
    plain.close()
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_made_before_and_stepped_in_between(mode):
    env = sims.make(EnvConfig(), ("state",), 2)
    env.reset(0)
    action = torch.zeros(2, env.action_dim)
    env.step(action)
    with mode():
        env.step(torch.zeros(2, env.action_dim))
    assert torch.is_grad_enabled()
    assert not env.step(action.requires_grad_()).obs["state"].requires_grad
    env.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_policies_work_in_a_mode_and_learn_after_it(mode, kind):
    spec, actions = sims.describe(EnvConfig(), GROUPS), sims.action_dim(EnvConfig())
    obs = TensorDict({name: torch.ones(2, *one.shape, dtype=one.dtype) for name, one in spec.items()}, [2])
    with mode():
        if kind == "teacher":
            policy = ActorCritic(replace(ActorCriticConfig(), recurrent="gru"), spec, actions)
        else:
            policy = StereoStudent(StudentConfig(), spec, actions)
    trained = (
        ActorCritic(replace(ActorCriticConfig(), recurrent="gru"), spec, actions)
        if kind == "teacher"
        else StereoStudent(StudentConfig(), spec, actions)
    )
    for one in (policy, trained):
        with mode():
            one(obs, one.initial_hidden(2))
    loss = trained(obs, trained.initial_hidden(2))[0].square().sum()
    loss.backward()
    assert any(p.grad is not None for p in trained.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_a_policy_that_was_loaded_in_a_mode_learns_outside_it(mode):
    with mode():
        policy = load_policy("zoo:state").policy
    spec = sims.describe(EnvConfig(), policy.obs_keys)
    obs = {name: torch.ones(2, *one.shape) for name, one in spec.items()}
    policy(obs, policy.initial_hidden(2))[0].sum().backward()
    assert policy.head.mean.weight.grad is not None


@pytest.mark.parametrize("mode", MODES)
def test_a_normaliser_takes_in_rows_of_a_mode(mode):
    normalizer = RunningMeanStd(2)
    with mode():
        normalizer.update(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    normalizer.update(torch.tensor([[2.0, 4.0]]))
    assert normalizer.mean.tolist() == [2.0, 4.0]
