"""Command lines, runs and studies that mean nothing: one line says which field, and what was expected."""

import json

import pytest

from handsight.distill.commands import cli
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig

STATE = ["train-teacher", "state"]
STUDENT = ["train-student", "--teacher", "zoo:state"]
RECORD = ["record", "--policy", "zoo:state"]
LINES = [
    # what sees nothing
    (STUDENT, "--student.memory-size 0", r"StudentConfig.memory_size: expected a whole number in 1..16,384, found 0"),
    (STUDENT, "--student.hidden 0", "StudentConfig.hidden"),
    (STATE, "--policy.hidden 0", r"ActorCriticConfig.hidden: expected one or more values, each .*, found (0,)"),
    (STATE, "--policy.observation-clip 0", "ActorCriticConfig.observation_clip"),
    # what is no number of its kind
    (STATE, "--ppo.clip -0.2", "PPOConfig.clip: expected a number in 0.001..10, found -0.2"),
    (STATE, "--ppo.gamma 1.5", "PPOConfig.gamma: expected a number in 0..1, found 1.5"),
    (STATE, "--ppo.gamma nan", "PPOConfig.gamma: expected a number in 0..1, found nan"),
    (STATE, "--env.scene.timestep 0", "SceneConfig.timestep"),
    (STATE, "--env.task.randomization.mass -0.2 -0.1", "Randomization.mass: expected 2 values"),
    (STUDENT, "--dagger.beta-start 2", "DaggerConfig.beta_start"),
    (RECORD, "--valid-share 1.5", "RecordArgs.valid_share"),
    # what ended in tracebacks
    (STATE, "--policy.min-std 0", "ActorCriticConfig.min_std"),
    (STATE, "--ppo.minibatches 0", "PPOConfig.minibatches"),
    (STATE, "--policy.hidden", "ActorCriticConfig.hidden: expected one or more values, each .*, found ()"),
    (STUDENT, "--dagger.batch-sequences 0", "DaggerConfig.batch_sequences"),
    (STUDENT, "--offline.workers -1", "OfflineConfig.workers"),
    (STUDENT, "--student.heads 0", "StudentConfig.heads"),
    (STATE, "--env.scene.substeps 0", "SceneConfig.substeps"),
    (STATE, "--keep-checkpoints -1", "TeacherConfig.keep_checkpoints"),
    (["train-teacher", "depth"], "--warm.iterations 0", "WarmStartConfig.iterations"),
    (["train-teacher", "depth"], "--ppo.epochs 0", "PPOConfig.epochs"),
    # what does nothing
    (STATE, "--iterations 0", "TeacherConfig.iterations"),
    (STATE, "--rollout-steps 0", "TeacherConfig.rollout_steps"),
    (STATE, "--checkpoint-every 0", "TeacherConfig.checkpoint_every"),
    (STUDENT, "--iterations 0", "StudentRunConfig.iterations"),
    (STUDENT, "--dagger.gradient-steps 0", "DaggerConfig.gradient_steps"),
    (["video", "zoo:depth"], "--speed 0", "VideoArgs.speed: expected a number in 0.1..10, found 0.0"),
    (STATE, "--num-envs 1 --rollout-steps 2 --ppo.minibatches 4", "expected at most 2"),
    # whose resets are another's
    (STATE, "--seed 1000000", "TeacherConfig.seed: expected a whole number in 0..499,999, found 1000000"),
    (["evaluate", "zoo:state"], "--seed 3", "EvaluateArgs.seed: expected a whole number in 1,000,000..1,900,000"),
    (RECORD, "--seed 1000", "RecordArgs.seed"),
    # what no machine has
    (STATE, "--env.threads 1000000", "EnvConfig.threads"),
    (STATE, "--policy.hidden 1000000", "ActorCriticConfig.hidden"),
    (STATE, "--memory-budget-gib inf", "TeacherConfig.memory_budget_gib"),
]


@pytest.mark.parametrize(("command", "options", "message"), LINES, ids=[f"{c[0]} {o}" for c, o, _ in LINES])
def test_a_mistake_is_one_line_before_anything_is_loaded(command, options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, *options.split()]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"handsight {command[0]}: ")
    for part in message.split(".*"):
        assert part in said
    assert not any(tmp_path.iterdir())


def damaged(change):
    """A run's config.json, changed."""
    facts = {"type": "TeacherConfig", "config": {}} | change
    return json.dumps(facts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a JSON object, found a list"),
        ("[" * 100_000, "expected a JSON file"),
        ("\0" * 500, "expected a JSON file"),
        ("", "expected a JSON file"),
        (damaged({"config": []}), "expected a type and a config"),
        (damaged({"config": {"num_envs": 0}}), "TeacherConfig.num_envs: expected a whole number in 1..1,000,000,000"),
        (damaged({"config": {"num_envs": "many"}}), "num_envs: Input should be a valid integer"),
        (damaged({"config": {"num_envs": 2**70, "seed": "a"}}), "seed: Input should be a valid integer"),
        (
            damaged({"config": {"memory_budget_gib": float("inf")}}),
            "TeacherConfig.memory_budget_gib: expected",
        ),
        (damaged({"config": {"policy": {"hidden": [10**6]}}}), "ActorCriticConfig.hidden: expected one or more values"),
        (
            damaged({"config": {"env": {"scene": {"timestep": float("nan")}}}}),
            "SceneConfig.timestep: expected",
        ),
        (damaged({"config": {"env": {"threads": 10**6}}}), "EnvConfig.threads: expected a whole number in 1..1,024"),
        (damaged({"config": {"sight": "sound"}}), "sight: Input should be 'state' or 'depth', found 'sound'"),
        (damaged({"config": {"ppo": None}}), "ppo: Input should be a dictionary"),
    ],
    ids=lambda text: text[:60],
)
def test_a_damaged_configuration_of_a_run_is_one_line(text, message, tmp_path, capsys):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    (run.path / "config.json").write_text(text)
    assert cli.main(["train-teacher", "--resume", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "config.json" in said and message in said
