"""The task's promises, on the real simulator."""

import math

import pytest
import torch

from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.checker import ContractError, check_vec_env
from handsight.sims.env_config import RewardWeights
from handsight.sims.objects.primitives import KINDS, PRIMITIVES, build_objects
from handsight.sims.tasks.resets import RESETS
from handsight.sims.tasks.rewards import GraspSituation, grasp_reward, is_held

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


def test_a_grip_is_never_negative_and_what_is_lifted_counts_near_the_hand_only():
    far = grasp_reward(situation(grasp_distance=0.2, closure=0.8, lift=0.06), RewardWeights())[1]
    assert far["close"].item() == far["raise_hand"].item() == far["lift"].item() == 0.0
    weight = RewardWeights().scale * RewardWeights().lift
    for distance, share in ((0.119, 0.5), (0.121, 0.0)):
        terms = grasp_reward(situation(grasp_distance=distance, lift=0.06), RewardWeights())[1]
        assert terms["lift"].item() == pytest.approx(share * weight)
    high = grasp_reward(situation(grasp_distance=0.01, closure=1.0, lift=0.5, palm_height=0.9), RewardWeights())[1]
    assert high["lift"].item() == pytest.approx(weight)  # nothing is paid beyond 12 cm, and 15 cm of the palm
    assert high["raise_hand"].item() == pytest.approx(RewardWeights().scale * RewardWeights().raise_hand)


def test_an_object_is_held_by_two_digits_and_the_palm_is_none():
    touch = torch.zeros(4, 5, dtype=torch.bool)
    touch[1, 0], touch[2, [1, 3]], touch[3, [2, 4]] = True, True, True  # the last column is the palm
    assert is_held(touch).tolist() == [False, False, True, False]


def test_objects_stand_evenly_around_the_middle_and_are_turned_every_way():
    env = make(config(reset_mix={"wide": 1.0}), ("state",), 256)
    env.reset(0)
    body = env.engine.read()
    off = body.object_pos[:, :2] - torch.tensor([0.62, 0.0])
    spread = torch.tensor(RESETS["wide"].object_xy)
    assert (off.abs() <= spread + 1e-5).all() and (torch.stack([off.amax(0), -off.amin(0)]) > 0.95 * spread).all()
    assert (off.mean(0).abs() < 0.1 * spread).all()
    yaw = torch.atan2(body.object_rot[:, 1, 0], body.object_rot[:, 0, 0])
    assert torch.histc(yaw, bins=4, min=-math.pi, max=math.pi).min() > 40  # 64 each
    env.close()


def test_probabilities_of_resets_need_not_add_up_to_one():
    env = make(config(), ("state",), 256)
    env.set_reset_mix({"near": 3.0, "easy": 3.0, "wide": 6.0})
    env.reset(0)
    assert torch.bincount(env.measure()["reset_kind"]).tolist() == pytest.approx([64, 64, 128], abs=25)
    env.close()


def test_every_part_of_the_state_is_what_it_is_called():
    env = make(config(kinds=("box", "mug")), ("state", "proprio"), 6)
    env.reset(4)
    for action in torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1:
        obs = env.step(action).obs
    body, params, controller = env.engine.read(), env._params, env._controller
    inwards = lambda v: torch.einsum("nji,n...j->n...i", body.palm_rot, v)  # noqa: E731
    columns = lambda rotation: torch.cat([rotation[..., 0], rotation[..., 1]], 1)  # noqa: E731
    rest = params.size[:, 2]  # these stand upright, with their origin at half their height
    state = {
        "object_from_palm": inwards(body.object_pos - body.palm_pos),
        "object_from_grasp": inwards(body.object_pos - body.grasp_pos),
        "object_rotation": columns(torch.einsum("nji,njk->nik", body.palm_rot, body.object_rot)),
        "object_velocity": inwards(body.object_linvel), "object_spin": body.object_angvel,
        "object_size": params.size, "object_mass": params.mass[:, None] / 0.1,
        "object_kind": torch.nn.functional.one_hot(params.kind, len(env.kinds)).float(),
        "object_friction": params.friction[:, None], "object_lift": (body.object_pos[:, 2] - rest)[:, None],
        "touch": body.touch.float(), "tip_from_object": inwards(body.tip_pos - body.object_pos[:, None]).flatten(1),
    }  # fmt: skip
    low, high = torch.tensor(env.engine.model.jnt_range[: body.joint_pos.shape[1]], dtype=torch.float32).T
    proprio = {
        "joint_position": 2 * (body.joint_pos - low) / (high - low) - 1, "joint_velocity": body.joint_vel,
        "palm_position": body.palm_pos - torch.tensor([0.62, 0.0, 0.2]), "palm_rotation": columns(body.palm_rot),
        "palm_target": controller.palm_target - body.palm_pos,
        "tip_position": inwards(body.tip_pos - body.palm_pos[:, None]).flatten(1),
        "hand_error": controller.hand_target - body.joint_pos[:, 7:], "synergy": controller.synergy,
        "last_action": action,
    }  # fmt: skip
    for group, parts in (("state", state), ("proprio", proprio)):
        assert set(parts) == set(env.obs_spec[group].parts)
        for name, expected in parts.items():
            found = obs[group][:, env.obs_spec[group].part(name)]
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4, msg=f"{group}: {name}")
    env.close()


def test_closing_is_that_of_the_synergies_that_close():
    env = make(config(action_space="palm6+synergy5"), ("state",), 3)
    env.reset(0)
    closing = env._controller.space.closing
    assert 0 < closing < env._controller.synergy.shape[1]
    env._controller.synergy[:] = 1.0
    env._controller.synergy[0, :closing], env._controller.synergy[1, closing:] = 0.0, 0.0
    assert env.judge(env.engine.read()).closure.tolist() == [0.0, 1.0, 1.0]
    env.close()


@pytest.mark.parametrize("before", [0, 1], ids=["in its first step", "later"])
def test_a_world_that_the_simulator_put_back_by_itself_diverged(before):
    """MuJoCo resets a state beyond all measure and goes on; what follows is finite, slow, and another episode."""
    env = make(config(), ("state",), 3)
    env.reset(0)
    for _ in range(before):
        env.step(torch.zeros(3, 6))
    env.engine._data["qpos"][1, 0] = 1e12
    step = env.step(torch.zeros(3, 6))
    assert step.log["diverged"].tolist() == step.first.tolist() == [False, True, False]
    env.close()


def test_a_world_that_waits_for_its_reset_cannot_diverge():
    env = make(config(episode_steps=1), ("state",), 2)
    env.reset(0)
    assert env.step(torch.zeros(2, 6)).truncated.all()
    env.engine._data["qvel"][0, 0] = math.nan
    step = env.step(torch.zeros(2, 6))
    assert not step.log["diverged"].any() and step.first.all()
    assert env.step(torch.zeros(2, 6)).valid.all()
    env.close()


def test_a_row_that_opens_an_episode_earns_nothing_by_any_term():
    env = make(config(episode_steps=1), ("state",), 4)
    env.reset(0)
    ended, opened = env.step(torch.ones(4, 6)), env.step(torch.ones(4, 6))
    names = [name for name in opened.log if name.startswith("reward/")]
    assert len(names) == 7 and not any(opened.log[name].any() for name in names) and not opened.reward.any()
    assert all(ended.log[name].any() for name in ("reward/reach", "reward/effort"))
    torch.testing.assert_close(sum(ended.log[name] for name in names), ended.reward)
    env.close()


def test_servos_hold_the_posture_with_which_an_episode_begins():
    env = make(config(), ("state",), 4)
    env.reset(0)
    joints = env.engine.read().joint_pos
    assert torch.equal(torch.tensor(env.engine._data["ctrl"]).float(), env.engine.scene.robot.ctrl(joints))
    env.close()
