"""Exported policies: real files, real onnxruntime, the real simulator; the policy process holds no torch."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from handsight import sims
from handsight.distill.commands import deploy, export
from handsight.distill.commands.deploy import ControlLoop, DeployArgs, DeployError, PolicyProcess
from handsight.distill.commands.export import TOLERANCE, ExportArgs, closed_loop_difference, write_onnx
from handsight.distill.runs import checkpoint
from handsight.distill.runs.onnx_policy import OnnxPolicy, OnnxPolicyError
from handsight.distill.runs.policy_io import load_policy, policy_tree
from handsight.errors import HandsightError
from handsight.sims import EnvConfig
from handsight.students import BackboneConfig, StereoStudent, StudentConfig
from handsight.teachers import ActorCritic, ActorCriticConfig

SMALL = StudentConfig(image_features=32, proprio_features=16, memory_size=24, hidden=24)
STUDENTS = {
    "gru": SMALL,
    "lstm on the left eye": replace(SMALL, memory="lstm", sight="left"),
    "feed-forward, resized": replace(
        SMALL, memory="none", fusion="concat", backbone=BackboneConfig("test_vit", image_size=48, out_indices=(-1,))
    ),
}


@pytest.fixture(scope="module")
def worlds():
    """Forms of all groups, and the signature."""
    env = sims.make(EnvConfig(), ("state", "proprio", "depth", "stereo"), 1)
    yield env
    env.close()


def saved(folder: Path, worlds, policy, config, groups) -> Path:
    torch.manual_seed(1)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # an untrained head says almost nothing
    tree = policy_tree(policy, config, worlds.action_dim, worlds.signature, EnvConfig(), groups)
    checkpoint.save(folder / "policy.ckpt", tree)
    return folder / "policy.ckpt"


def student(folder: Path, worlds, config: StudentConfig) -> Path:
    policy = StereoStudent(config, worlds.obs_spec, worlds.action_dim)
    torch.manual_seed(2)
    policy.update_normalizers(
        {key: torch.randn(64, *spec.shape) for key, spec in worlds.obs_spec.items()}, torch.ones(64, dtype=torch.bool)
    )
    return saved(folder, worlds, policy, config, policy.obs_keys)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "gru" else pytest.mark.slow) for name in STUDENTS],
)
def exported(request, worlds, tmp_path_factory):
    """A student of each memory, and its file."""
    folder = tmp_path_factory.mktemp("policy")
    path = student(folder, worlds, STUDENTS[request.param])
    write_onnx(load_policy(path), folder / "policy.onnx")
    return load_policy(path), folder / "policy.onnx"


def test_a_hundred_closed_loop_steps_are_those_of_torch(exported):
    assert closed_loop_difference(*exported, steps=100) < TOLERANCE


def test_any_number_of_worlds_in_one_call(exported):
    loaded, path = exported
    policy, draws = OnnxPolicy(path), np.random.default_rng(0)
    for n in (1, 5):
        obs = {
            name: draws.integers(0, 255, (n, *shape)).astype(kind) if kind != np.float32
            else draws.normal(size=(n, *shape)).astype(kind)
            for name, (shape, kind) in policy.inputs.items()
        }  # fmt: skip
        policy.reset()
        hidden = loaded.policy.initial_hidden(n)
        for _ in range(3):  # the memory is carried along
            mean, std = policy.act(obs)
            with torch.no_grad():
                groups = {name: torch.from_numpy(values) for name, values in obs.items()}
                expected, spread, hidden = loaded.policy(groups, hidden)
            assert np.abs(mean - expected.numpy()).max() < TOLERANCE and mean.shape == (n, 6)
            assert np.abs(std - spread.numpy()).max() < TOLERANCE


def test_the_file_says_what_it_is(exported):
    loaded, path = exported
    model = onnx.load(path)
    onnx.checker.check_model(model)
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["handsight"])
    (opset,) = [entry.version for entry in model.opset_import if entry.domain == ""]
    assert facts["opset"] == opset == 20 and {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    assert facts["signature"]["rig"]["intrinsics"] and facts["signature"]["control_dt"] == pytest.approx(0.08)
    assert len(facts["preprocessing"]["mean"]) == 3 and facts["preprocessing"]["size"] == list(
        loaded.policy.backbone.size
    )
    assert facts["hidden"] == loaded.policy.initial_hidden(1).shape[1] and len(facts["origin"]["sha256"]) == 64
    assert [i.name for i in model.graph.input][:2] == list(loaded.policy.obs_keys)


def test_observations_of_another_form_are_refused(exported):
    policy = OnnxPolicy(exported[1])
    with pytest.raises(OnnxPolicyError, match=r"'stereo' is missing; available: proprio"):
        policy.act({"proprio": np.zeros((1, 94), np.float32)})
    with pytest.raises(OnnxPolicyError, match=r"'stereo': expected \(N, \*\(2, 3, 32, 32\)\) uint8, found .*float32"):
        policy.act({"stereo": np.zeros((1, 2, 3, 32, 32), np.float32), "proprio": np.zeros((1, 94), np.float32)})


@pytest.mark.slow
def test_a_depth_teacher_can_be_exported_too(worlds, tmp_path):
    config = ActorCriticConfig(actor_keys=("depth", "proprio"), hidden=(16,), recurrent="gru", recurrent_size=8)
    policy = ActorCritic(config, worlds.obs_spec, worlds.action_dim)
    path = saved(tmp_path, worlds, policy, config, policy.train_keys)
    write_onnx(load_policy(path), tmp_path / "policy.onnx")
    assert closed_loop_difference(load_policy(path), tmp_path / "policy.onnx", steps=40) < TOLERANCE


def test_deploying_runs_in_real_time_with_a_policy_process_without_torch(exported, tmp_path, capsys):
    figures = deploy.deploy(DeployArgs(exported[1], episodes=1, out=tmp_path / "figures.json"))
    assert figures["loaded"] == [] and figures["steps"] == 36
    assert figures["tick_ms"] == pytest.approx(80, rel=0.2)
    assert 0 < figures["compute_ms"]["p50"] <= figures["latency_ms"]["p50"] < 80
    assert json.loads((tmp_path / "figures.json").read_text())["provenance"]["hardware"]["cores"] >= 1
    assert "missed deadlines" in capsys.readouterr().out


class Slow:
    """Answers after a while, as a policy process would."""

    actions, busy = 6, False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def reset(self) -> None:
        pass

    def ask(self, obs) -> None:
        self.busy, self.ready = True, time.perf_counter() + self.seconds

    def answer(self, until: float):
        if self.ready > until:
            time.sleep(max(0.0, until - time.perf_counter()))
            return None
        time.sleep(max(0.0, self.ready - time.perf_counter()))
        self.busy = False
        return np.full(6, 0.5, np.float32), self.seconds


class Idle:
    """Worlds that take no time and keep the actions that they were given."""

    episode_steps = 6

    def reset(self, seed):
        self.actions = []
        return {}

    def step(self, action):
        self.actions.append(float(action[0, 0]))
        over = torch.tensor([len(self.actions) == self.episode_steps])
        no = torch.zeros(1, dtype=torch.bool)
        return type("Step", (), {"obs": {}, "terminated": no, "truncated": over, "first": no, "log": {}})()


@pytest.mark.parametrize(("seconds", "missed", "first_move"), [(0.0, 0, 0), (0.06, 3, 1)])
def test_an_answer_that_is_late_is_counted_and_the_last_action_held(seconds, missed, first_move):
    worlds = Idle()
    loop = ControlLoop(worlds, Slow(seconds), period=0.04)  # type: ignore[arg-type]
    start = time.perf_counter()
    loop.episode(0)
    assert time.perf_counter() - start == pytest.approx(6 * 0.04, abs=0.04)
    assert loop.missed == missed and worlds.actions == [0.0] * first_move + [0.5] * (6 - first_move)


def test_a_process_that_does_not_start_says_why(tmp_path):
    (tmp_path / "policy.onnx").write_bytes(b"not a model")
    with pytest.raises(DeployError, match=r"policy.onnx: the policy process did not start: .*expected a policy from"):
        PolicyProcess(tmp_path / "policy.onnx", 1)


@pytest.mark.slow
def test_the_command_writes_compares_and_says_where(worlds, tmp_path, capsys):
    path = student(tmp_path, worlds, SMALL)
    file = export.export(ExportArgs(path, onnx=True))
    said = capsys.readouterr().out
    assert file == tmp_path / "policy.onnx" and "over 100 closed-loop steps" in said and "opset 20" in said


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1.0])
def test_a_file_that_answers_otherwise_is_refused_and_not_left_behind(wrong, worlds, tmp_path, monkeypatch):
    path = saved(tmp_path, worlds, ActorCritic(ActorCriticConfig(), worlds.obs_spec, worlds.action_dim),
                 ActorCriticConfig(), ("state", "proprio"))  # fmt: skip
    act = OnnxPolicy.act

    def answer(self, obs):
        mean, std = act(self, obs)
        mean[1, 2] += wrong
        return mean, std

    monkeypatch.setattr(OnnxPolicy, "act", answer)
    with pytest.raises(HandsightError, match=r"policy.onnx: actions differ from torch by (nan|inf|1.00e\+00)"):
        export.export(ExportArgs(path, onnx=True, check_steps=3))
    assert [one.name for one in tmp_path.iterdir()] == ["policy.ckpt"]


def test_a_format_must_be_named(tmp_path):
    with pytest.raises(HandsightError, match="available: --onnx"):
        export.export(ExportArgs(tmp_path, onnx=False))


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("handsight.students.export.PARTS", ("onnx", "no_such_package"))
    with pytest.raises(HandsightError, match=r"ONNX needs no_such_package: uv sync --extra export"):
        deploy.deploy(DeployArgs(Path("x")))
