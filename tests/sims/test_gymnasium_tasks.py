import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import vector

from handsight import sims
from handsight.errors import HandsightError
from handsight.sims.env_config import TASKS, EnvConfig
from handsight.sims.gymnasium import TaskEnv
from handsight.sims.registration import IDS


def test_every_task_of_ours_is_registered():
    assert list(TASKS) == list(IDS)
    assert {"handsight/Grasp-v0", "handsight/Carry-v0"} <= set(gymnasium.registry)


@pytest.mark.parametrize("task", TASKS)
def test_gymnasium_s_checker_finds_nothing_in_any_task(task):
    env = gymnasium.make(IDS[task], render_mode="rgb_array")
    assert env.unwrapped.envs.env.signature["task"] == task
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    told = {str(one.message) for one in told}
    assert len(told) == 2 and all("infinity" in one for one in told), told  # metres and radians have no bounds
    env.close()


def test_one_environment_lives_through_what_the_batch_does():
    env = gymnasium.make("handsight/Grasp-v0", observe=("state", "depth"))
    batch = sims.make(EnvConfig(), ("state", "depth"), 1)
    (obs, _), expected = env.reset(seed=5), batch.reset(5)
    rewards, ends = [], []
    for action in np.random.default_rng(0).uniform(-1, 1, (36, env.action_space.shape[0])).astype(np.float32):
        assert all(np.array_equal(obs[name], expected[name][0].numpy()) for name in ("state", "depth"))
        obs, reward, terminated, truncated, info = env.step(action)
        step = batch.step(torch.from_numpy(action)[None])
        expected = step.obs
        rewards.append((reward, step.reward.item()))
        ends.append((terminated, truncated))
        assert info["valid"] and info["lift"] == step.log["lift"].item()
    assert rewards == [(one, one) for one, _ in rewards]
    assert ends == [(False, False)] * 35 + [(False, True)]
    assert env.reset(seed=5)[0]["state"].tolist() == batch.reset(5)["state"][0].tolist()
    env.close()


def test_a_world_that_diverges_is_truncated_at_its_last_observation():
    env = gymnasium.make("handsight/Grasp-v0").unwrapped
    env.reset(seed=0)
    before, *_ = env.step(env.action_space.sample())
    engine = env.envs.env.engine
    simulate, engine.step = engine.step, lambda ctrl, active: torch.ones_like(simulate(ctrl, active))
    after, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (reward, terminated, truncated, info["valid"]) == (0.0, False, True, False)
    assert np.array_equal(before["state"], after["state"]) and before["state"] is not after["state"]
    env.close()


def test_a_picture_and_its_rate():
    env = gymnasium.make("handsight/Grasp-v0", render_mode="rgb_array")
    env.unwrapped.render_size = 48, 64
    env.reset(seed=0)
    image = env.render()
    assert (image.shape, image.dtype, env.metadata["render_fps"]) == ((48, 64, 3), np.uint8, 12.5)
    assert image.std() > 10
    assert gymnasium.make("handsight/Grasp-v0").unwrapped.render() is None
    with pytest.raises(HandsightError, match="render_mode 'human'"):
        TaskEnv("grasp", render_mode="human")
    with pytest.raises(HandsightError, match="no options; found"):
        env.unwrapped.reset(options={"x": 1})
    env.close()


def test_the_configuration_is_taken_and_its_task_is_the_one_named():
    config = EnvConfig(task=TASKS["grasp"](episode_steps=7))
    env = gymnasium.make("handsight/Grasp-v0", config=config)
    assert env.unwrapped.envs.env.episode_steps == 7
    carries = gymnasium.make("handsight/Carry-v0", observe=("proprio",), config=config)
    assert set(carries.observation_space) == {"proprio", "command"}


@pytest.mark.parametrize(
    "wrap",
    [
        vector.RecordEpisodeStatistics,
        lambda env: vector.NormalizeObservation(vector.FlattenObservation(env)),
        vector.NormalizeReward,
        vector.DictInfoToList,
        lambda env: vector.ClipReward(env, -1.0, 1.0),
        vector.ClipAction,
        lambda env: vector.RescaleAction(env, -2.0, 2.0),
    ],
)
def test_gymnasium_s_vector_wrappers_take_our_environments(wrap):
    config = EnvConfig(task=TASKS["grasp"](episode_steps=4))
    env = gymnasium.make_vec("handsight/Grasp-v0", num_envs=3, vectorization_mode="vector_entry_point", config=config)
    env = wrap(env)
    env.reset(seed=0)
    seen = []
    for _ in range(6):
        obs, reward, _, truncated, info = env.step(env.action_space.sample())
        assert len(reward) == 3 and np.isfinite(np.asarray(reward)).all()
        seen.append((info, np.asarray(truncated)))
    assert seen[3][1].all() and not seen[4][1].any()
    if isinstance(env, vector.RecordEpisodeStatistics):
        assert seen[3][0]["episode"]["l"].tolist() == [4, 4, 4]
    if isinstance(env, vector.NormalizeObservation):
        assert obs.shape == (3, 140)
    env.close()
