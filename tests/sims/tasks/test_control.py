"""From actions to joint targets: how far a step goes, and what it never leaves."""

from dataclasses import replace

import pytest
import torch

from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.rotation import exp_matrix, log_matrix
from handsight.sims.tasks.control import LEASH, LINEAR_STEP, SYNERGY_STEP, TURN_LEASH, TURN_STEP, palm_jacobian

N = 64


@pytest.fixture(scope="module")
def env():
    made = make(EnvConfig(task=GraspConfig(action_space="palm6+synergy5")), ("proprio",), N)
    yield made
    made.close()


@pytest.fixture
def begun(env):
    """A controller that knows where the palm is, and that state."""
    env.reset(0)
    return env._controller, env.engine.read()


def action(env, **values) -> torch.Tensor:
    chosen = torch.zeros(N, env.action_dim)
    for column, value in values.items():
        chosen[:, "xyzabcs".index(column)] = value
    return chosen


def test_a_full_action_moves_the_palms_target_by_one_step(env, begun):
    controller, state = begun
    controller.joint_target(action(env, x=1.0, z=-0.5, s=1.0), state)
    torch.testing.assert_close(
        controller.palm_target - state.palm_pos, torch.tensor([LINEAR_STEP, 0.0, -0.5 * LINEAR_STEP]).repeat(N, 1)
    )
    assert controller.synergy[:, 0].tolist() == pytest.approx([SYNERGY_STEP] * N)
    torch.testing.assert_close(controller.palm_turn, state.palm_rot, atol=1e-5, rtol=0)


def test_a_turn_is_about_an_axis_of_the_world(env, begun):
    controller, state = begun
    controller.joint_target(action(env, c=1.0), state)
    expected = exp_matrix(torch.tensor([[0.0, 0.0, TURN_STEP]])) @ state.palm_rot
    torch.testing.assert_close(controller.palm_turn, expected, atol=1e-5, rtol=0)


def test_targets_run_ahead_of_the_palm_no_further_than_the_leash_and_stay_in_the_workspace(env, begun):
    controller, state = begun
    for _ in range(6):
        controller.joint_target(action(env, y=1.0, b=1.0), state)
    ahead = (controller.palm_target - state.palm_pos).norm(dim=1)
    assert ahead.max().item() == pytest.approx(LEASH, abs=1e-5)
    turned = log_matrix(controller.palm_turn @ state.palm_rot.transpose(1, 2)).norm(dim=1)
    assert turned.tolist() == pytest.approx([TURN_LEASH] * N, abs=1e-4)
    low, high = controller._box
    outside = replace(state, palm_pos=high.expand(N, 3).clone())
    controller.palm_target = outside.palm_pos.clone()
    controller.joint_target(action(env, x=1.0, y=1.0, z=1.0), outside)
    assert torch.equal(controller.palm_target, outside.palm_pos)
    outside = replace(state, palm_pos=low.expand(N, 3).clone())
    controller.palm_target = outside.palm_pos.clone()
    controller.joint_target(action(env, x=-1.0, y=-1.0, z=-1.0), outside)
    assert torch.equal(controller.palm_target, outside.palm_pos)


def test_joint_targets_keep_within_range_and_speed(env, begun):
    controller, state = begun
    draws = torch.Generator().manual_seed(0)
    low, high = controller._low, controller._high
    share = torch.rand(N, len(low), generator=draws).round() * 0.998 + 0.001  # beside one end or the other
    state = replace(state, joint_pos=low + share * (high - low))
    controller.hand_target = state.joint_pos[:, controller._hand].clone()
    touched = torch.zeros(2, dtype=torch.bool)
    for _ in range(20):
        before = torch.cat([state.joint_pos[:, controller._arm], controller.hand_target], 1)
        target = controller.joint_target(2 * torch.rand(N, env.action_dim, generator=draws) - 1, state)
        assert ((target >= low) & (target <= high)).all()
        assert ((target - before).abs() <= controller._max_move + 1e-5).all()
        touched |= torch.stack([(target == low).any(), (target == high).any()])
    assert touched.all()
    limit = torch.tensor(env.engine.scene.robot.velocity_limit)
    torch.testing.assert_close(controller._max_move, limit * env.control_dt)


def test_only_the_masked_environments_begin_anew(env, begun):
    controller, state = begun
    for _ in range(3):
        controller.joint_target(action(env, x=1.0, s=1.0), state)
    mask = torch.arange(N) < 2
    held = controller.state_dict()
    controller.reset(mask, state)
    for name, value in controller.state_dict().items():
        assert torch.equal(value[2:], held[name][2:]), name
    assert (controller.synergy[:2] == 0).all() and (controller.synergy[2:, 0] > 0).all()
    assert torch.equal(controller.palm_target[:2], state.palm_pos[:2])
    assert torch.equal(controller.hand_target[:2], torch.tensor(env.engine.scene.robot.open_hand).repeat(2, 1))


def test_synergies_stay_between_their_own_lowest_and_one(env, begun):
    controller, state = begun
    for sign, bound in ((-1.0, controller._lowest), (1.0, controller._highest)):
        for _ in range(8):
            controller.joint_target(torch.full((N, env.action_dim), sign), state)
        assert torch.equal(controller.synergy, bound.expand(N, -1))
    assert controller._lowest.tolist() == [0.0, 0.0, -0.5, -1.0, -1.0]  # some only close, some go both ways


def test_the_pull_to_the_home_posture_does_not_move_the_palm(env, begun):
    """The arm's step moves the palm by what is asked for, to first order, however far from home the arm is."""
    controller, state = begun
    controller.joint_target(action(env), state)
    home = controller._home - state.joint_pos[:, controller._arm]
    far = home.norm(dim=1) > 0.3
    assert far.sum() > N / 2
    moved = torch.einsum("nij,nj->ni", palm_jacobian(state, None), controller._arm_step(state))
    alone = torch.einsum("nij,nj->ni", palm_jacobian(state, None), 0.1 * home)
    assert (moved.norm(dim=1) < 0.1 * alone.norm(dim=1))[far].all()
    target = controller.palm_target.clone()
    controller.palm_target = target + torch.tensor([0.01, 0.0, 0.0])
    asked = torch.einsum("nij,nj->ni", palm_jacobian(state, None), controller._arm_step(state)) - moved
    assert asked[:, 0].median().item() == pytest.approx(0.01, rel=0.15)
