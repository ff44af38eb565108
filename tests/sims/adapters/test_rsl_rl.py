import pytest
import torch

from handsight import sims
from handsight.sims.env_config import TASKS, EnvConfig

pytest.importorskip("rsl_rl", reason="rsl_rl is not installed: uv sync --group peers")
from rsl_rl.runners import DistillationRunner, OnPolicyRunner

from handsight.sims.adapters.rsl_rl import RslRlVecEnv

SHORT = EnvConfig(task=TASKS["grasp"](episode_steps=5))
MLP = {"class_name": "MLPModel", "hidden_dims": [16], "activation": "elu", "obs_normalization": True}
GAUSSIAN = {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.5}}


def made(groups=("state", "proprio"), num_envs=4, **how):
    return RslRlVecEnv(sims.make(SHORT, groups, num_envs), **how)


def ppo(steps=8):
    both = ["state", "proprio"]
    algorithm = {
        "class_name": "PPO",
        "num_learning_epochs": 1,
        "num_mini_batches": 1,
        "gamma": 0.5,
        "schedule": "fixed",
    }
    return {
        "num_steps_per_env": steps, "save_interval": 10**9, "obs_groups": {"actor": both, "critic": both},
        "actor": MLP | GAUSSIAN, "critic": dict(MLP), "algorithm": algorithm,
    }  # fmt: skip


def test_ppo_s_storage_holds_transitions_only_and_bootstraps_time_outs():
    torch.manual_seed(0)
    env = made(seed=3)
    runner = OnPolicyRunner(env, ppo(), log_dir=None, device="cpu")
    flags, earned, step = [], [], env.env.step

    def noted(action):
        found = step(action)
        flags.append(found.valid)
        earned.append(found.reward)
        return found

    env.env.step = noted
    runner.learn(1)
    storage = runner.alg.storage
    assert len(flags) == 8 and torch.stack(flags).all()
    assert storage.dones[..., 0].sum(1).tolist() == [0, 0, 0, 0, 4, 0, 0, 0]
    expected = torch.stack(earned)
    expected[4] += 0.5 * storage.values[4, :, 0]
    assert torch.allclose(storage.rewards[..., 0], expected, atol=1e-6)
    env.env.step(torch.zeros(4, 6))  # its rollouts run under inference mode; the environments go on outside it
    env.env.close()


def test_time_outs_and_measurements_of_ended_episodes():
    env = made()
    env.get_observations()
    steps = [env.step(torch.zeros(4, 6)) for _ in range(6)]
    assert [extras["time_outs"].tolist() for *_, extras in steps] == [[0.0] * 4] * 4 + [[1.0] * 4, [0.0] * 4]
    assert [done.tolist() for _, _, done, _ in steps] == [[0] * 4] * 4 + [[1] * 4, [0] * 4]
    assert ["log" in extras for *_, extras in steps] == [False] * 4 + [True, False]
    assert steps[4][3]["log"]["/success"] == 0 and env.episode_length_buf.tolist() == [1] * 4
    env.env.close()


def test_a_runner_spreads_the_clocks():
    env = made()
    OnPolicyRunner(env, ppo(2), log_dir=None, device="cpu").learn(1, init_at_random_ep_len=True)
    assert len(set(env.env._time.tolist())) > 1
    env.env.close()


@pytest.mark.parametrize("image", ["depth", "stereo"])
def test_a_teacher_is_distilled_into_a_network_that_sees_images(image, tmp_path):
    teacher = made()
    trained = OnPolicyRunner(teacher, ppo(2), log_dir=None, device="cpu")
    trained.learn(1)
    trained.logger.save_model = lambda *words: None
    trained.save(str(tmp_path / "teacher.pt"))
    teacher.env.close()
    env = made(("state", "proprio", image), num_envs=2)
    obs = env.get_observations()
    assert obs[image].shape == (2, 6 if image == "stereo" else 1, 32, 32) and obs[image].dtype == torch.float32
    assert obs[image].min() >= 0 and obs[image].max() <= 1
    student = {
        "class_name": "CNNModel", "hidden_dims": [16], "activation": "elu",
        "cnn_cfg": {"output_channels": [4], "kernel_size": 4, "stride": 4, "activation": "elu"},
    }  # fmt: skip
    config = {
        "num_steps_per_env": 6, "save_interval": 10**9,
        "obs_groups": {"student": ["proprio", image], "teacher": ["state", "proprio"]},
        "student": student | GAUSSIAN, "teacher": MLP | GAUSSIAN,
        "algorithm": {"class_name": "Distillation", "gradient_length": 6},
    }  # fmt: skip
    runner = DistillationRunner(env, config, log_dir=None, device="cpu")
    runner.load(str(tmp_path / "teacher.pt"))
    before = torch.cat([p.detach().flatten().clone() for p in runner.alg.student.parameters()])
    runner.learn(1)
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in runner.alg.student.parameters()]))
    env.env.close()
