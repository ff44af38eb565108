"""The second task's promises, on the real simulator."""

from dataclasses import replace

import pytest
import torch

from handsight.distill.runs.policy_io import SignatureError, check_signature
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims import EnvConfig, make
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import CarryConfig, CarryWeights
from handsight.sims.tasks.carry import STEADY
from handsight.students import StudentConfig

GROUPS = ("state", "proprio", "command")


def carry(num_envs=4, world_offset=0, **task):
    return make(EnvConfig(task=CarryConfig(**task)), GROUPS, num_envs, world_offset)


@pytest.fixture(scope="module")
def env():
    made = carry()
    yield made
    made.close()


def test_carry_keeps_the_contract():
    env = carry(episode_steps=6)
    promises = check_vec_env(env)
    assert len(promises) == 7 and not any("not offered" in promise for promise in promises)
    env.close()


def test_goal_lies_in_its_box_and_follows_the_episode_not_the_placement():
    env = carry(64, goal_z=(0.2, 0.25), episode_steps=1)
    env.reset(3)
    first = env.goal
    for axis, (low, high) in enumerate(((0.52, 0.72), (-0.15, 0.15), (0.2, 0.25))):
        assert low <= float(first[:, axis].min()) and float(first[:, axis].max()) < high
        assert float(first[:, axis].std()) == pytest.approx((high - low) / 12**0.5, rel=0.25)
    for _ in range(2):  # the end, and the reset that follows it
        env.step(torch.zeros(64, 6))
    assert (env.goal != first).any(1).all() and torch.equal(env.drawn()["goal"], env.goal)
    env.close()
    moved = carry(2, world_offset=60, goal_z=(0.2, 0.25))
    moved.reset(3)
    assert torch.equal(moved.goal, first[60:62])
    moved.close()


def test_command_is_the_goal_seen_from_the_grasp_site_in_the_palm_frame(env):
    obs, body = env.reset(0), env.engine.read()
    for i in range(4):
        away = env.goal[i] - body.grasp_pos[i]
        assert obs["command"][i] == pytest.approx(body.palm_rot[i].T @ away, abs=1e-5)
        away = env.goal[i] - body.object_pos[i]
        seen = torch.cat([body.palm_rot[i].T @ away, away.norm()[None]])
        assert obs["state"][i, -4:] == pytest.approx(seen, abs=1e-5)
    assert env.obs_spec["command"].shape == (3,) and env.signature["task"] == "carry"


def put(body, place, touch=True):
    """The same, the object at a place (N, 3), touched by all digits or by none."""
    return replace(body, object_pos=place, touch=torch.full_like(body.touch, touch))


def test_success_is_five_steps_in_a_row_at_the_goal_and_held(env):
    env.reset(0)
    body, off = env.engine.read(), torch.tensor([0.0, 0.0, 0.031])
    inside = off * torch.tensor([[0.9], [0.9], [1.0], [0.9]])  # 27.9 mm; the third is 1 mm too far away
    for step in range(1, STEADY + 2):
        touch = torch.ones_like(body.touch) * torch.tensor([[True], [step != 3], [True], [True]])
        there = replace(body, object_pos=env.goal + inside, touch=touch)
        env.reward(there)
        found = env.outcome(there)
        assert found["success"].tolist() == [step >= 5, False, False, step >= 5]
        assert found["goal_distance"] == pytest.approx([0.0279, 0.0279, 0.031, 0.0279], abs=1e-5)
    assert env._steady.tolist() == [6, 3, 0, 6]  # the second lost its hold in the third step
    env.reset(0)
    assert not env._steady.any()


def test_an_ending_episode_takes_nothing_into_the_next():
    env = carry(episode_steps=1)
    env.reset(0)
    env._steady += STEADY
    env.step(torch.zeros(4, 6))
    step = env.step(torch.zeros(4, 6))
    assert step.first.all() and not env._steady.any() and not step.log["success"].any()
    env.close()


def test_bring_is_paid_by_distance_once_the_object_is_lifted(env):
    """12 x .1 x (exp(-5 x .125) + exp(-25 x .125)) / 2 = .34752 at 12.5 cm from the goal, half of it when lifted by
    half of 5 cm, nothing on the table; at the goal 1.2, and 6 x .1 for being there."""
    env.reset(0)
    env._rewards = CarryWeights()
    body = env.engine.read()
    for lift, expected in ((0.05, 0.34752), (0.025, 0.17376), (0.0, 0.0)):
        place = body.grasp_pos.clone()
        place[:, 2] = env._params.size[:, 2] + lift
        held = replace(put(body, place), grasp_pos=place)
        env._box = torch.stack([place[0] + torch.tensor([0.125, 0, 0])] * 2)
        terms = env.reward(held)[1]
        assert float(terms["bring"][0]) == pytest.approx(expected, abs=1e-4) and not terms["there"][0]
    env._box = torch.stack(
        [env._params.size[0, 2] * torch.tensor([0.0, 0, 1]) + place[0] * torch.tensor([1.0, 1, 0])] * 2
    )
    there = body.object_pos.clone()
    there[0] = env._box[0] + torch.tensor([0.0, 0, 0.05])
    env._box = torch.stack([there[0]] * 2)
    terms = env.reward(replace(put(body, there), grasp_pos=there))[1]
    assert [float(terms[name][0]) for name in ("bring", "there", "success")] == pytest.approx([1.2, 0.6, 0.0], abs=1e-4)
    env._box = torch.tensor([[0.52, -0.15, 0.17], [0.72, 0.15, 0.28]])


def test_a_policy_of_another_task_is_told_what_differs(env):
    grasp = make(EnvConfig(), ("state", "proprio"), 1)
    with pytest.raises(SignatureError, match=r'(?s)task: expected "carry", found "grasp".*obs.command: expected \[3\]'):
        check_signature(env.signature, grasp.signature, "x")
    with pytest.raises(SignatureError, match='task: expected "grasp", found "carry"'):
        check_signature(grasp.signature, env.signature, "x")
    grasp.close()
    with pytest.raises(HandsightError, match=r"unknown observation groups \['command'\]"):
        make(EnvConfig(), GROUPS, 1)


def test_teachers_and_students_of_carry_read_the_command():
    worlds = EnvConfig(task=CarryConfig())
    config = TeacherConfig.depth().with_worlds(worlds)
    assert config.policy.actor_keys == ("depth", "proprio", "command")
    assert config.policy.critic_keys == ("state", "proprio", "command")
    with pytest.raises(HandsightError, match=r"task 'carry' tells every policy command.*with_worlds"):
        TeacherConfig(env=worlds)
    assert StudentConfig().told(worlds.task.told).obs_keys == ("stereo", "proprio", "command")
    assert StudentConfig().told(EnvConfig().task.told).obs_keys == ("stereo", "proprio")
