"""Policies from checkpoints, and what is said when they do not fit."""

import copy
from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict

from handsight.distill.commands.arguments import EvaluateArgs, VideoArgs
from handsight.distill.commands.evaluate import run_evaluate
from handsight.distill.commands.video import run_video
from handsight.distill.report.candidates import load_candidate
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import (
    PolicyError,
    SignatureError,
    check_signature,
    find_checkpoint,
    load_policy,
    obs_spec,
    policy_tree,
    restrict,
)
from handsight.distill.runs.run import Run
from handsight.sims import EnvConfig
from handsight.sims.tasks.signature import as_today
from handsight.teachers.actor_critic import ActorCritic, ActorCriticConfig

SIGNATURE = {
    "task": "grasp",
    "action_space": "palm4+closure2",
    "control_dt": 0.08,
    "rig": {"baseline_m": 0.06, "left": {"fov_deg": 45.0}},
    "obs": {
        "state": {"shape": [6], "dtype": "float32", "parts": {"object_from_palm": 3, "object_size": 3}},
        "proprio": {"shape": [2], "dtype": "float32", "parts": {"palm_position": 2}},
        "depth": {"shape": [1, 32, 32], "dtype": "int16", "parts": {}},
    },
}
CONFIG = ActorCriticConfig(actor_keys=("depth", "proprio"), hidden=(16,), auxiliary=("object_from_palm",))


@pytest.fixture
def saved(tmp_path):
    """A depth teacher with random weights in a run folder."""
    torch.manual_seed(0)
    policy = ActorCritic(CONFIG, obs_spec(SIGNATURE), action_dim=6).eval()
    run = Run.create("teacher-depth", EnvConfig(), tmp_path)
    tree = policy_tree(policy, CONFIG, 6, SIGNATURE, EnvConfig(threads=1), policy.train_keys)
    checkpoint.save(run.checkpoints / "best.ckpt", tree)
    return policy, run, tree


@pytest.mark.parametrize("inside", [".", "checkpoints/best.ckpt"])
def test_loaded_policy_acts_as_the_saved_one(saved, inside):
    policy, run, _ = saved
    loaded = load_policy(run.path / inside)
    obs = TensorDict(
        {"depth": torch.randint(0, 900, (4, 1, 32, 32), dtype=torch.int16), "proprio": torch.randn(4, 2)}, [4]
    )
    mean, std, _ = policy(obs, policy.initial_hidden(4))
    mean_again, std_again, _ = loaded.policy(obs, loaded.policy.initial_hidden(4))
    assert mean.equal(mean_again) and std.equal(std_again)
    assert not loaded.policy.training
    assert loaded.kind == "ActorCritic"
    assert loaded.env_config == EnvConfig()  # how many threads is for this machine to say
    assert loaded.run is not None and loaded.run.path == run.path
    assert loaded.run.name == "teacher-depth"


def test_signature_holds_what_the_policy_reads_only(saved):
    assert set(load_policy(saved[1].path).signature["obs"]) == {"depth", "proprio"}


def test_copied_checkpoint_needs_no_run(saved, tmp_path):
    _, run, _ = saved
    run.checkpoints.joinpath("best.ckpt").rename(tmp_path / "mine.ckpt")
    assert load_policy(tmp_path / "mine.ckpt").run is None


def test_run_without_a_best_gives_its_newest(saved):
    _, run, tree = saved
    checkpoint.remove(run.checkpoints / "best.ckpt")
    for name in ("iteration_9.ckpt", "iteration_10.ckpt"):
        checkpoint.save(run.checkpoints / name, tree)
    assert load_policy(run.path).path.name == "iteration_10.ckpt"


def test_what_other_ranks_save_is_never_taken_for_a_policy(saved):
    """They save where their environments stand, under names that come after the first rank's."""
    _, run, tree = saved
    checkpoint.remove(run.checkpoints / "best.ckpt")
    checkpoint.save(run.checkpoints / "iteration_000005.ckpt", tree)
    for iteration in (5, 6):
        checkpoint.save(run.checkpoints / f"rank_1_iteration_{iteration:06d}.ckpt", {"worlds": {}})
    assert load_policy(run.path).path == run.checkpoints / "iteration_000005.ckpt"
    checkpoint.remove(run.checkpoints / "iteration_000005.ckpt")
    with pytest.raises(checkpoint.CheckpointError, match=r"no complete checkpoint iteration_.* rank_1_iter"):
        load_policy(run.path)


def test_a_policy_of_the_gpu_engine_is_tried_on_a_cpu_in_the_cpu_engines_worlds_and_it_is_said(saved, caplog):
    _, run, tree = saved
    stored = {**tree, "env_config": {**tree["env_config"], "engine": "mujoco_warp"}}
    checkpoint.save(run.checkpoints / "best.ckpt", stored)
    loaded = load_policy(run.path)
    with caplog.at_level("WARNING", "handsight"):
        here = loaded.tried_on("cpu")
    assert here.env_config == replace(loaded.env_config, engine="mujoco") and here.policy is loaded.policy
    (said,) = [line for line in caplog.messages if "mujoco_warp" in line]
    assert str(run.path) in said and "PGS in float64 instead of Newton in float32" in said and "--device cuda:0" in said
    assert loaded.tried_on("cuda:0") is loaded and loaded.env_config.engine == "mujoco_warp"
    assert here.tried_on("cpu") is here


def test_checkpoint_without_a_policy_is_named(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", {"optimizer": {}})
    with pytest.raises(PolicyError, match="holds no policy: expected policy, signature, env_config, found optimizer"):
        load_policy(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda entry: entry.update(type="Oracle"), "expected a policy ActorCritic or StereoStudent, found 'Oracle'"),
        (lambda entry: entry["config"].update(recurrent="rnn"), "recurrent: .* found 'rnn'"),
        (lambda entry: entry["config"].update(hidden=(8,)), r"expected \[8, .*, found \[16, "),
        (lambda entry: entry["weights"].pop("head.mean.bias"), r"head\.mean\.bias: expected \[6\], found nothing"),
        (lambda entry: entry["weights"].update(ghost=torch.ones(2)), r"ghost: expected nothing, found \[2\]"),
    ],
)
def test_policy_that_cannot_be_built_says_why(saved, tmp_path, damage, message):
    tree = copy.deepcopy(saved[2])
    damage(tree["policy"])
    checkpoint.save(tmp_path / "a.ckpt", tree)
    with pytest.raises(PolicyError, match=message):
        load_policy(tmp_path / "a.ckpt")


def _changed(*path_and_value):
    *path, last, value = path_and_value
    signature = node = copy.deepcopy(SIGNATURE)
    for key in path:
        node = node[key]
    node[last] = value
    return signature


@pytest.mark.parametrize(
    ("actual", "line"),
    [
        (_changed("task", "reach"), 'task: expected "grasp", found "reach"'),
        (_changed("action_space", "palm6+synergy5"), 'action_space: expected "palm4.closure2", found "palm6.synergy5"'),
        (_changed("control_dt", 0.1), "control_dt: expected 0.08, found 0.1"),
        (_changed("rig", "left", "fov_deg", 60.0), "rig.left.fov_deg: expected 45.0, found 60.0"),
        (
            _changed("obs", "depth", "shape", [1, 48, 48]),
            r"obs.depth.shape: expected \[1, 32, 32\], found \[1, 48, 48\]",
        ),
        (_changed("obs", "depth", "dtype", "float32"), 'obs.depth.dtype: expected "int16", found "float32"'),
        (restrict(SIGNATURE, ["state"]), r"obs.depth: expected \[1, 32, 32\] int16, found no .* available: state"),
        (
            _changed("obs", "state", "parts", {"object_from_palm": 3, "object_mass": 3}),
            "obs.state.parts.object_size: expected 3, found nothing\n"
            "  obs.state.parts.object_mass: expected nothing, found 3",
        ),
        (
            _changed("obs", "state", "parts", {"object_size": 3, "object_from_palm": 3}),
            "obs.state.parts: expected in the order object_from_palm, object_size, found object_size, object_from_palm",
        ),
    ],
)
def test_each_difference_is_a_line(actual, line):
    with pytest.raises(SignatureError, match=f"best.ckpt does not fit this environment:\n(.|\n)*  {line}"):
        check_signature(SIGNATURE, actual, "best.ckpt")


def test_all_differences_are_listed_at_once():
    actual = {**as_today(_changed("control_dt", 0.1)), "task": "reach"}
    with pytest.raises(SignatureError) as caught:
        check_signature(SIGNATURE, actual, "best.ckpt")
    assert len(str(caught.value).splitlines()) == 3


def test_groups_that_the_policy_does_not_read_may_differ():
    check_signature(restrict(SIGNATURE, ["proprio"]), _changed("obs", "depth", "shape", [1, 64, 64]), "best.ckpt")


def test_camera_rig_matters_only_to_those_who_look():
    other = _changed("rig", "left", "fov_deg", 60.0)
    check_signature(restrict(SIGNATURE, ["state", "proprio"]), other, "best.ckpt")
    with pytest.raises(SignatureError, match="fov_deg"):
        check_signature(restrict(SIGNATURE, ["depth"]), other, "best.ckpt")


def test_tuples_and_lists_are_the_same_after_json():
    check_signature(SIGNATURE, _changed("obs", "depth", "shape", (1, 32, 32)), "best.ckpt")


def test_a_policy_of_another_version_of_the_environments_is_told_of(saved, caplog):
    policy, run, _ = saved
    load_policy(run.path)
    assert "learnt in environments of version 1, today's are of version 2" in caplog.text
    caplog.clear()
    today = policy_tree(policy, CONFIG, 6, SIGNATURE | {"version": 2}, EnvConfig(threads=1), policy.train_keys)
    checkpoint.save(run.checkpoints / "today.ckpt", today)
    load_policy(run.checkpoints / "today.ckpt")
    assert not caplog.text


@pytest.mark.parametrize("thing", ["robot", "objects"])
def test_whoever_tries_a_policy_is_told_that_a_name_means_another_thing_here(thing, tmp_path):
    tree = checkpoint.load(find_checkpoint("zoo:state"))
    tree["signature"] = {**tree["signature"], thing: {**tree["signature"][thing], "digest": "of-another"}}
    path = tmp_path / "iteration_000001.ckpt"
    checkpoint.save(path, tree)
    found = rf'learnt with another of that name:\n  {thing}\.digest: expected "of-another", found "'
    tries = [
        lambda: run_evaluate(EvaluateArgs(path, episodes=1)), lambda: run_video(VideoArgs(path)),
        lambda: load_candidate(path),
    ]  # fmt: skip
    for attempt in tries:
        with pytest.raises(SignatureError, match=found):
            attempt()
