"""What Stable-Baselines3 and rsl_rl trained, as runs of ours; and files that were made to do harm."""

import contextlib
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from handsight import sims
from handsight.distill.commands import cli
from handsight.distill.runs.foreign import ForeignError, read_rsl_rl, read_sb3
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.runs.run import Run
from handsight.sims.env_config import EnvConfig

KEYS = ("state", "proprio")
GAUSSIAN = {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.4}}


@pytest.fixture(scope="module")
def seen():
    """256 observations, and the environment that gave them."""
    env = sims.make(EnvConfig(), KEYS, 32)
    obs = [env.reset(5)] + [env.step(torch.rand(32, env.action_dim) * 2 - 1).obs for _ in range(7)]
    env.close()
    return TensorDict({key: torch.cat([one[key] for one in obs]) for key in KEYS}, [256])


def answers(run, obs):
    policy = load_policy(run).policy
    with torch.no_grad():
        mean, std, hidden = policy(obs, policy.initial_hidden(len(obs)))
    assert hidden.shape == (256, 0)
    return mean, std


@pytest.mark.parametrize("kwargs", [{}, {"net_arch": [32, 16], "activation_fn": torch.nn.ELU}])
def test_a_policy_of_sb3_acts_here_as_it_does_there(kwargs, seen, tmp_path):
    sb3 = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed: uv sync --group peers")
    from stable_baselines3.common.vec_env import VecNormalize

    from handsight.sims.adapters.sb3 import SB3VecEnv

    env = VecNormalize(SB3VecEnv(sims.make(EnvConfig(), KEYS, 8)), norm_reward=False)
    model = sb3.PPO("MlpPolicy", env, n_steps=4, batch_size=16, seed=0, device="cpu", policy_kwargs=kwargs)
    model.learn(32)
    model.save(tmp_path / "policy.zip")
    np.savez(tmp_path / "statistics.npz", mean=env.obs_rms.mean, var=env.obs_rms.var)
    words = ["--normalization", str(tmp_path / "statistics.npz"), "--out", str(tmp_path / "run")]
    assert cli.main(["import-policy", "sb3", str(tmp_path / "policy.zip"), *words]) == 0
    env.training = False
    flat = torch.cat([seen[key] for key in KEYS], 1).numpy()
    expected, _ = model.predict(env.normalize_obs(flat), deterministic=True)
    mean, std = answers(tmp_path / "run", seen)
    assert np.abs(mean.clamp(-1, 1).numpy() - expected).max() < 1e-6
    assert np.abs(expected).max() > 0.01
    assert torch.allclose(std[0], model.policy.log_std.detach().exp())
    assert Run.open(tmp_path / "run").meta["name"] == "imported-sb3"
    env.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """rsl_rl's runner after one iteration, and the file that it saved."""
    pytest.importorskip("rsl_rl", reason="rsl_rl is not installed: uv sync --group peers")
    from rsl_rl.runners import OnPolicyRunner

    from handsight.sims.adapters.rsl_rl import RslRlVecEnv

    model = {"class_name": "MLPModel", "hidden_dims": [32, 16], "activation": "elu", "obs_normalization": True}
    config = {
        "num_steps_per_env": 4, "save_interval": 10**9, "obs_groups": {"actor": [*KEYS], "critic": [*KEYS]},
        "actor": model | GAUSSIAN, "critic": dict(model), "algorithm": {"class_name": "PPO", "num_mini_batches": 1},
    }  # fmt: skip
    env = RslRlVecEnv(sims.make(EnvConfig(), KEYS, 8))
    with contextlib.redirect_stdout(io.StringIO()):
        runner = OnPolicyRunner(env, config, log_dir=None, device="cpu")
        runner.learn(2)
    runner.logger.save_model = lambda *words: None
    path = tmp_path_factory.mktemp("rsl_rl") / "model_2.pt"
    runner.save(str(path))
    env.env.close()
    return runner, path


def test_a_policy_of_rsl_rl_acts_here_as_it_does_there(trained, seen, tmp_path):
    runner, path = trained
    assert cli.main(["import-policy", "rsl_rl", str(path), "--out", str(tmp_path / "run")]) == 0
    with torch.no_grad():
        expected = runner.get_inference_policy("cpu")(seen)
    mean, std = answers(tmp_path / "run", seen)
    assert (mean - expected).abs().max() < 1e-6 and expected.abs().max() > 0.01
    assert torch.allclose(std[0], runner.alg.actor.distribution.std_param.detach())
    assert not torch.equal(runner.alg.actor.obs_normalizer._mean, torch.zeros(1, 140))


def test_what_was_imported_is_evaluated_and_teaches(trained, tmp_path, capsys):
    run, words = str(tmp_path / "run"), ["--episodes", "4", "--num-envs", "4"]
    assert cli.main(["import-policy", "rsl_rl", str(trained[1]), "--out", run]) == 0
    assert f"handsight evaluate {run}" in capsys.readouterr().out
    assert cli.main(["evaluate", run, *words]) == 0
    small = ["--num-envs", "2", "--iterations", "1", "--dagger.gradient-steps", "1", "--student.sight", "state"]
    assert cli.main(["train-student", "--teacher", run, *small, "--runs", str(tmp_path)]) == 0
    assert load_policy(next(tmp_path.glob("student-state-from-state/*"))).kind == "StereoStudent"
    assert cli.main(["import-policy", "rsl_rl", str(trained[1]), "--out", run]) == 2
    assert "holds something already: expected a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--observe", "proprio"], "model_2.pt reads 140 numbers; --observe gives 94: proprio 94"),
        (["--activation", "cosine"], "ActorCriticConfig.activation: expected one of elu, gelu"),
        (["--task", "carry"], "model_2.pt reads 140 numbers; --observe gives 144"),
    ],
)
def test_what_does_not_fit_is_said(words, said, trained, tmp_path, capsys):
    assert cli.main(["import-policy", "rsl_rl", str(trained[1]), "--out", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


# -- files that somebody made ----------------------------------------------------------------------------------------


def evil_torch(ran) -> bytes:
    """A torch archive whose pickle would make a file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("x/data.pkl", f"cos\nsystem\n(S'touch {ran}'\ntR.")
        archive.writestr("x/version", "3\n")
        archive.writestr("x/byteorder", "little")
    return made.getvalue()


def sb3_zip(path, policy: bytes, data: str = "{}"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("policy.pth", policy)
        archive.writestr("data", data)
        archive.writestr("pytorch_variables.pth", b"never read")
    return path


def saved(content) -> bytes:
    made = io.BytesIO()
    torch.save(content, made)
    return made.getvalue()


ACTOR = {
    "log_std": torch.zeros(6), "action_net.weight": torch.zeros(6, 8), "action_net.bias": torch.zeros(6),
    "mlp_extractor.policy_net.0.weight": torch.zeros(8, 140), "mlp_extractor.policy_net.0.bias": torch.zeros(8),
}  # fmt: skip
ACTIVATION = {":serialized:": "gANjb3MKc3lzdGVt", "activation_fn": "<class 'torch.nn.modules.activation.ReLU'>"}


def test_no_program_in_a_file_is_run(tmp_path):
    ran = tmp_path / "ran"
    sb3_zip(tmp_path / "a.zip", evil_torch(ran))
    (tmp_path / "a.pt").write_bytes(evil_torch(ran))
    with pytest.raises(ForeignError, match=r"a.zip holds more than weights, none of which is run"):
        read_sb3(tmp_path / "a.zip")
    with pytest.raises(ForeignError, match=r"a.pt holds more than weights, none of which is run"):
        read_rsl_rl(tmp_path / "a.pt")
    assert not ran.exists()
    data = json.dumps({"policy_kwargs": ACTIVATION})  # what is pickled in it is left alone
    found = read_sb3(sb3_zip(tmp_path / "b.zip", saved(ACTOR), data))
    assert found.activation == "relu" and [len(one) for one in found.layers] == [8, 8, 6, 6]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive", "policy.pth|expected the archive"),
        (saved([torch.zeros(1)]), "expected a dict of tensors, found a list"),
        (saved({"log_std": "x"}), "expected a dict of tensors, found a dict"),
        (saved({"actor.mu.weight": torch.zeros(1)}), "expected the MlpPolicy of PPO or A2C, found actor.mu"),
        (saved(ACTOR | {"features_extractor.cnn.0.weight": torch.zeros(1)}), "found features_extractor.cnn"),
    ],
)
def test_other_files_are_named(content, said, tmp_path):
    with pytest.raises(ForeignError, match=said):
        read_sb3(sb3_zip(tmp_path / "a.zip", content))
    (tmp_path / "plain.zip").write_bytes(b"text")
    with pytest.raises(ForeignError, match=r"plain.zip: expected the archive that its library saved"):
        read_sb3(tmp_path / "plain.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(ForeignError, match=r"expected policy.pth and data in it"):
        read_sb3(tmp_path / "empty.zip")


def test_weights_of_other_shapes_and_numbers_that_are_none_are_refused(tmp_path, capsys):
    wide = ACTOR | {"action_net.weight": torch.zeros(5, 8)}
    lost = ACTOR | {"log_std": torch.full((6,), float("nan"))}
    for state, said in ((wide, "head.mean.weight: expected [6, 8], found [5, 8]"), (lost, "expected finite weights")):
        file = sb3_zip(tmp_path / "a.zip", saved(state))
        assert cli.main(["import-policy", "sb3", str(file), "--out", str(tmp_path / said[:4])]) == 2
        assert said in capsys.readouterr().err


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("handsight.distill.runs.foreign.MOST_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("policy.pth", b"\0" * 20_000)
    with pytest.raises(ForeignError, match="expected at most 10,000 bytes, found 20,000"):
        read_sb3(tmp_path / "a.zip")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 20_000)
    with pytest.raises(ForeignError, match="expected at most 10,000 bytes, found 20,000"):
        read_sb3(sb3_zip(tmp_path / "b.zip", inner.getvalue()))
