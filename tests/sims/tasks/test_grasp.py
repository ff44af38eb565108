"""The task's promises, on the real simulator."""

import math

import pytest
import torch

from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.checker import ContractError, check_vec_env
from handsight.sims.env_config import RewardWeights
from handsight.sims.objects.primitives import KINDS, PRIMITIVES, build_objects
from handsight.sims.tasks.resets import RESETS
from handsight.sims.tasks.rewards import GraspSituation, grasp_reward

ALL = ("state", "proprio", "depth", "stereo")


def config(**task):
    return EnvConfig(task=GraspConfig(**task))


@pytest.mark.parametrize("space", ["palm4+closure2", "palm6+synergy5"])
def test_grasp_task_keeps_the_contract(space):
    env = make(config(action_space=space, episode_steps=6), ALL, 6)
    promises = check_vec_env(env)
    assert len(promises) == 7 and not any("not offered" in promise for promise in promises)
    env.close()


def test_results_do_not_depend_on_placement():
    """16 worlds in one piece are, bit for bit, 4 + 12 worlds with their offsets."""
    actions = torch.rand(12, 16, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = _roll(make(config(episode_steps=8), ALL, 16), actions)
    parts = [
        _roll(make(config(episode_steps=8), ALL, 4), actions[:, :4]),
        _roll(make(config(episode_steps=8), ALL, 12, world_offset=4), actions[:, 4:]),
    ]
    for i, value in enumerate(whole):
        assert torch.equal(value, torch.cat([parts[0][i], parts[1][i]])), i


def _roll(env, actions):
    env.reset(5)
    for action in actions:
        step = env.step(action)
    env.close()
    return [step.obs[group] for group in ALL] + [step.reward, step.first]


def test_threads_do_not_change_results():
    actions = torch.rand(10, 8, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one = _roll(make(EnvConfig(threads=1, task=GraspConfig(episode_steps=6)), ALL, 8), actions)
    two = _roll(make(EnvConfig(threads=2, task=GraspConfig(episode_steps=6)), ALL, 8), actions)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_step_after_an_end_ignores_its_action_and_is_invalid():
    env = make(config(episode_steps=3), ("state", "proprio"), 4)
    env.reset(0)
    for _ in range(3):
        last = env.step(torch.zeros(4, 6))
    assert last.truncated.all() and last.valid.all() and not last.first.any()
    saved = env.state_dict()
    opened = env.step(torch.zeros(4, 6))
    env.load_state_dict(saved)
    other = env.step(torch.ones(4, 6))
    assert opened.first.all() and not opened.valid.any() and (opened.reward == 0).all()
    assert torch.equal(opened.obs["state"], other.obs["state"])
    env.close()


def test_a_lost_object_terminates():
    env = make(config(), ("state", "proprio"), 3)
    env.reset(0)
    env.engine._data["qpos"][1, 23] += 1.0
    step = env.step(torch.zeros(3, 6))
    assert step.terminated.tolist() == [False, True, False]
    assert not step.truncated.any() and step.valid.all()
    env.close()


def test_a_diverged_world_is_invalid_and_the_others_stay_bit_identical():
    actions = torch.rand(6, 5, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    env = make(config(), ALL, 5)
    env.reset(2)
    healthy = [env.step(action) for action in actions]
    env.reset(2)
    for i, action in enumerate(actions):
        if i == 3:
            env.engine._data["qvel"][2, 0] = math.nan
        step = env.step(action)
        flags = [False, False, i == 3, False, False]
        assert step.log["diverged"].tolist() == flags and step.first.tolist() == flags
        assert step.valid.tolist() == [not flag for flag in flags]
        assert not (step.terminated | step.truncated).any()
        told = step.obs["proprio"][:, env.obs_spec["proprio"].part("last_action")]
        assert told.any(1).tolist() == [not flag for flag in flags]  # a new episode knows of no action
        for group in ALL:
            assert torch.isfinite(step.obs[group].float()).all()
            others = [0, 1, 3, 4]
            assert torch.equal(step.obs[group][others], healthy[i].obs[group][others])
    env.close()


def test_a_nan_action_does_no_harm():
    env = make(config(), ("state", "proprio"), 2)
    env.reset(0)
    step = env.step(torch.full((2, 6), math.nan))
    assert step.valid.all() and torch.isfinite(step.obs["state"]).all()
    env.close()


def test_random_actions_do_not_diverge():
    """5,000 world-steps of the wildest actions; the benchmark counts over many more."""
    env = make(config(reset_mix={"near": 1.0}), ("state", "proprio"), 64)
    env.reset(0)
    generator = torch.Generator().manual_seed(0)
    count = 0
    for _ in range(80):
        count += int(env.step(torch.randint(0, 2, (64, 6), generator=generator) * 2.0 - 1.0).log["diverged"].sum())
    assert count == 0
    env.close()


def test_reset_mix_draws_kinds_in_proportion_and_places_objects_accordingly():
    env = make(config(), ("state", "proprio"), 256)
    env.set_reset_mix({"near": 0.5, "wide": 0.5})
    env.reset(0)
    kind = env.measure()["reset_kind"]
    near = kind == list(RESETS).index("near")
    assert set(kind.tolist()) == {0, 2} and 90 < int(near.sum()) < 166
    body = env.engine.read()
    beside = (body.object_pos - body.grasp_pos)[:, :2].abs()
    assert (beside[near] <= torch.tensor([0.036, 0.041])).all()
    assert (body.object_pos[:, 2] - env._params.size[:, 2]).abs().max() < 0.002
    env.close()


def test_unknown_names_are_refused_with_what_is_available():
    available = "state, proprio, calibration, touch, position, noisy_position, seen_position, depth, stereo"
    with pytest.raises(Exception, match=rf"unknown observation groups \['rgb'\]; available: {available}"):
        make(EnvConfig(), ("rgb",), 2)
    with pytest.raises(Exception, match=r"action_space: expected one of palm4\+closure2, .*, found 'joints'"):
        make(config(action_space="joints"), ("state",), 2)
    with pytest.raises(Exception, match=r"unknown kind of object 'cow'; available: box"):
        make(config(kinds=("cow",)), ("state",), 2)
    with pytest.raises(Exception, match="num_envs must be at least 1"):
        make(EnvConfig(), ("state",), 0)
    with pytest.raises(Exception, match="needs probabilities >= 0 of: near, easy, wide"):
        make(config(reset_mix={"far": 1.0}), ("state",), 1)


def test_energy_of_a_flying_object_is_kept_whatever_its_mass():
    """Without `set_const` after the masses of a world change, spinning objects gain energy."""
    import mujoco

    env = make(config(kinds=("mug", "tee")), ("state",), 6)
    env.reset(0)
    data, engine = env.engine._data, env.engine
    for field in ("opt.gravity", "geom_contype", "geom_conaffinity"):
        engine._batch.expand(field)[:] = 0
    engine._batch.expand("opt.timestep")[:] = 0.001  # at 8 ms the integrator itself loses some per cent
    data["qvel"][:, 23:29] = [0.3, 0.1, 0.2, 6.0, 9.0, 4.0]
    before = [_kinetic(engine, world) for world in range(6)]
    engine._batch.step(nstep=1500, stage=mujoco.mjtStage.mjSTAGE_ACC)
    after = [_kinetic(engine, world) for world in range(6)]
    assert after == pytest.approx(before, rel=0.02)
    env.close()


def _kinetic(engine, world):
    """Energy of the object from first principles: m v^2 / 2 of its centre of mass and w I w / 2 in its own frame."""
    data, body = engine._data, engine._ids.object
    mass, inertia = engine._fields["body_mass"][world, body], engine._fields["body_inertia"][world, body]
    offset, spin = engine._fields["body_ipos"][world, body], data["qvel"][world, 26:29]
    frame = data["xmat"][world, body].reshape(3, 3)
    import numpy as np

    velocity = data["qvel"][world, 23:26] + frame @ np.cross(spin, offset)
    return 0.5 * mass * velocity @ velocity + 0.5 * (inertia * spin) @ spin


@pytest.mark.parametrize("kind", KINDS)
def test_mass_properties_of_simple_bodies(kind):
    size, pos, extent = build_objects(torch.tensor([KINDS.index(kind)]), torch.tensor([0.03]), torch.tensor([0.04]))
    com, inertia = PRIMITIVES.mass_properties(torch.tensor([0.12]), size, pos)
    if kind == "box":  # m/3 (b^2 + c^2), half sizes .03 .024 .04
        assert inertia[0].tolist() == pytest.approx([0.12 / 3 * v for v in (0.002176, 0.0025, 0.001476)], rel=1e-3)
    if kind == "cylinder":  # m/12 (3 r^2 + h^2) with h = .08, and m r^2 / 2
        side = 0.12 / 12 * (3 * 0.03**2 + 0.08**2)
        assert inertia[0].tolist() == pytest.approx([side, side, 0.12 * 0.03**2 / 2], rel=1e-3)
    if kind == "mug":
        assert com[0, 0] > 0.002 and com[0, 1] == 0
    triangle = inertia[0, [0, 1]].sum() - inertia[0, 2]
    assert triangle > 0 and (extent > 0.02).all()


def situation(**changes):
    values = dict(tip_distance=0.1, grasp_distance=0.2, palm_height=0.2, lift=0.0, closure=0.0)
    tensors = {name: torch.tensor([value]) for name, value in (values | changes).items() if name != "held"}
    return GraspSituation(
        **tensors, held=torch.tensor([changes.get("held", False)]), action=torch.tensor([[1.0, 0.0, 2.0]])
    )


def test_reward_terms_by_hand():
    total, terms = grasp_reward(situation(), RewardWeights())
    assert terms["reach"].item() == pytest.approx(0.1 * 0.3 * math.exp(-0.65), rel=1e-5)
    assert terms["approach"].item() == pytest.approx(0.1 * 0.7 * math.exp(-1.28), rel=1e-5)
    assert terms["effort"].item() == pytest.approx(-0.1 * 0.05 * 5.0)
    assert terms["close"].item() == terms["raise_hand"].item() == terms["lift"].item() == 0.0
    assert total.item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-5)
    grasped = grasp_reward(situation(grasp_distance=0.06, closure=0.8, palm_height=0.09), RewardWeights())[1]
    assert grasped["close"].item() == pytest.approx(0.1 * 0.4 * 0.8 * 0.5, rel=1e-5)
    assert grasped["raise_hand"].item() == pytest.approx(0.1 * 1.5 * 0.8 * 0.5 * 0.5, rel=1e-5)


def test_success_needs_height_and_at_least_two_digits():
    assert situation(lift=0.11, held=True).success.item()
    assert not situation(lift=0.11, held=False).success.item()
    assert not situation(lift=0.09, held=True).success.item()


def test_checker_notices_a_broken_promise():
    env = make(config(episode_steps=3), ("state",), 2)
    honest = env.step

    def lying(action):
        step = honest(action)
        step.valid[:] = True
        return step

    env.step = lying
    with pytest.raises(ContractError, match="valid=False where first"):
        check_vec_env(env)
    env.close()


def test_what_phases_are_made_of_is_logged_of_each_moment():
    env = make(config(episode_steps=4), ("state", "proprio"), 4)
    env.reset(0)
    step = env.step(torch.zeros(4, 6))
    now, parts = env.measure(), env.obs_spec["state"]
    assert {"grasp_distance", "touching", "lift"} <= set(step.log)
    assert all(torch.equal(step.log[name], now[name]) for name in ("grasp_distance", "touching", "lift"))
    touch = step.obs["state"][:, parts.part("touch")] > 0
    assert torch.equal(now["touching"], touch.any(1))
    assert (now["grasp_distance"] > 0).all() and now["grasp_distance"].shape == (4,)
    env.close()
