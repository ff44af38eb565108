import numpy as np
import pytest
import torch

from handsight import sims
from handsight.errors import HandsightError
from handsight.sims.env_config import TASKS, EnvConfig

sb3 = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed: uv sync --group peers")
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize  # noqa: E402

from handsight.sims.adapters.sb3 import SB3VecEnv  # noqa: E402

SHORT = EnvConfig(task=TASKS["grasp"](episode_steps=5))


def made(groups=("state", "proprio"), num_envs=4, stagger=False):
    return SB3VecEnv(sims.make(SHORT, groups, num_envs), stagger)


def test_ends_by_the_clock_are_bootstrapped_from_their_last_observation():
    env = made()
    env.seed(3)
    env.reset()
    zeros = np.zeros((4, 6), np.float32)
    steps = [env.step(zeros) for _ in range(6)]
    assert [done.tolist() for _, _, done, _ in steps] == [[False] * 4] * 4 + [[True] * 4, [False] * 4]
    twin = sims.make(SHORT, ("state", "proprio"), 4)
    twin.reset(3)
    for _ in range(5):
        step = twin.step(torch.zeros(4, 6))
    opening = twin.step(torch.zeros(4, 6)).obs
    both = lambda obs: torch.cat([obs["state"], obs["proprio"]], 1).numpy()  # noqa: E731
    obs, _, _, infos = steps[4]
    assert np.array_equal(np.stack([info["terminal_observation"] for info in infos]), both(step.obs))
    assert np.array_equal(obs, both(opening))
    assert [info["TimeLimit.truncated"] for info in infos] == [True] * 4
    assert [info["is_success"] for info in infos] == step.log["success"].tolist()
    env.close()
    twin.close()


def test_ppo_s_buffer_holds_transitions_only_and_bootstraps_time_outs():
    """Every row of the buffer is one valid step of the environment; the reward of an end by the clock is raised by
    gamma times the value of the observation that it led to."""
    env = made()
    model = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=16, n_epochs=1, gamma=0.5, seed=0, device="cpu")
    flags, earned, values = [], [], []
    step = env.env.step

    def noted(action):
        found = step(action)
        flags.append(found.valid)
        earned.append(found.reward)
        if found.truncated.any():
            seen = torch.cat([found.obs["state"], found.obs["proprio"]], 1)
            values.append(model.policy.predict_values(seen).flatten().detach())
        return found

    env.env.step = noted
    model.learn(8 * 4)
    assert len(flags) == 8 and torch.stack(flags).all()
    rewards = model.rollout_buffer.rewards
    expected = torch.stack(earned).numpy()
    expected[4] += 0.5 * values[0].numpy()
    assert np.allclose(rewards, expected, atol=1e-5)
    assert model.rollout_buffer.episode_starts.sum(1).tolist() == [4, 0, 0, 0, 0, 4, 0, 0]
    env.close()


def test_images_make_a_dict_that_its_networks_take():
    env = SB3VecEnv(sims.make(EnvConfig(), ("proprio", "depth", "stereo"), 2))
    obs = env.reset()
    assert {name: one.shape for name, one in obs.items()} == {
        "proprio": (2, 94), "depth": (2, 1, 32, 32), "stereo": (2, 6, 32, 32),
    }  # fmt: skip
    assert env.observation_space["stereo"].dtype == np.uint8
    model = sb3.PPO(
        "MultiInputPolicy", made(("proprio", "depth"), 2), n_steps=6, batch_size=12, n_epochs=1, device="cpu"
    )
    model.learn(12)
    assert model.rollout_buffer.observations["depth"].shape == (12, 1, 32, 32)
    env.close()


def test_its_wrappers_and_pictures_work():
    env = VecNormalize(VecMonitor(made(num_envs=2)))
    env.reset()
    for _ in range(5):
        *_, infos = env.step(np.zeros((2, 6), np.float32))
    assert [info["episode"]["l"] for info in infos] == [5, 5]
    assert env.render_mode == "rgb_array" and env.render().shape == (480, 240, 3)
    assert env.get_attr("episode_steps") == [5, 5] and env.get_attr("num_envs", indices=[1]) == [2]
    assert env.env_method("set_reset_mix", {"near": 1.0}) == [None, None]
    assert env.env_is_wrapped(VecMonitor) == [False, False]
    with pytest.raises(HandsightError, match="cannot be set"):
        env.set_attr("num_envs", 3)
    env.close()


def test_an_equal_seed_learns_the_same():
    def learnt():
        env = made(stagger=True)
        model = sb3.PPO("MlpPolicy", env, n_steps=4, batch_size=8, n_epochs=1, seed=1, device="cpu").learn(32)
        env.close()
        return torch.cat([p.flatten() for p in model.policy.parameters()])

    assert torch.equal(learnt(), learnt())
