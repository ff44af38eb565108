"""Scene, task, robot, objects and level are chosen in the same words wherever there are worlds."""

import json
from dataclasses import fields, replace

import pytest

from handsight.distill.commands import cli
from handsight.distill.commands.arguments import (
    BenchArgs,
    CapacityArgs,
    CheckEnvArgs,
    CompareArgs,
    DemoConfig,
    EvaluateArgs,
    RecordArgs,
    VideoArgs,
)
from handsight.distill.commands.compare import compare
from handsight.distill.commands.demo import STATE, Stages, demo
from handsight.distill.commands.evaluate import run_evaluate, tried
from handsight.distill.commands.footprint import FootprintConfig, teacher
from handsight.distill.commands.record import record
from handsight.distill.evaluation.chosen import Chosen
from handsight.distill.runs.policy_io import SignatureError, load_policy
from handsight.distill.study.spec import StudyConfig
from handsight.distill.study.training import StudyError, Training
from handsight.errors import HandsightError
from handsight.ranges import from_tree
from handsight.sims import EnvConfig

WORDS = ["--scene", "occluded", "--objects", "procedural", "--objects-split", "held_out", "--level", "3"]
POLICIES = {
    EvaluateArgs: ["zoo:state"], VideoArgs: ["zoo:state"], CompareArgs: ["zoo:state"],
    RecordArgs: ["--policy", "zoo:state"], CapacityArgs: [], DemoConfig: [],
}  # fmt: skip


@pytest.mark.parametrize("command", POLICIES, ids=lambda command: command.__name__)
def test_commands_of_policies_take_them_in_the_same_words(command):
    found = cli.read(command, [*POLICIES[command], *WORDS], "x").chosen
    assert found == {"scene": "occluded", "objects": "procedural", "objects_split": "held_out", "level": 3}
    assert {one.name for one in fields(Chosen)} == {"scene", "task", "robot", "objects", "objects_split", "level"}


@pytest.mark.parametrize("command", [CheckEnvArgs, BenchArgs])
def test_commands_of_worlds_begin_with_them(command):
    env = cli.read(command, [*WORDS, "--task", "carry"], "x").env
    assert (env.scene.wall is not None, env.scene.objects, env.task.split) == (True, "procedural", "held_out")
    assert (env.task.level, env.task.name) == (3, "carry")


def test_what_is_chosen_is_changed_and_nothing_else():
    env = Chosen(scene="open", task="carry", objects="procedural", objects_split="all", level=2).change(EnvConfig())
    assert (env.scene.rig.mount, env.task.name, env.scene.objects) == ("world", "carry", "procedural")
    assert (env.task.split, env.task.level) == ("all", 2) and Chosen().change(env) == env
    assert [*Chosen(objects_split="all", level=0).words] == ["--objects-split", "all", "--level", "0"]
    for wrong, words in (
        ({"scene": "attic"}, "unknown scene 'attic'"), ({"task": "grab"}, "unknown task 'grab'"),
        ({"robot": "r2d2"}, "robot 'r2d2' is not built in"), ({"level": 99}, r"level 99 .* expected 0\.\.10"),
        ({"robot": "./r2d2.toml"}, r"--robot \./r2d2\.toml: expected a TOML file, found none"),
        ({"objects": "./toys"}, r"--objects \./toys: expected a folder with objects\.json, found none"),
    ):  # fmt: skip
        with pytest.raises(HandsightError, match=words):
            Chosen(**wrong).change(EnvConfig())


def test_a_policy_is_tried_where_it_can_see_and_the_file_says_where(tmp_path):
    loaded = load_policy("zoo:state-objects")
    moved = tried(loaded, Chosen(objects_split="held_out", scene="open", level=1), "cpu").env_config
    assert (moved.task.split, moved.scene.rig.mount, moved.task.level) == ("held_out", "world", 1)
    assert tried(loaded, Chosen(), "cpu").env_config == loaded.env_config
    with pytest.raises(SignatureError, match=r"(?s)zoo:state-objects does not fit.*object_shape"):
        tried(loaded, Chosen(objects="primitives"), "cpu")
    args = EvaluateArgs(loaded.path, episodes=2, num_envs=2, out=tmp_path / "out", objects_split="held_out", level=1)
    run_evaluate(args)
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())["settings"]
    assert (told["objects_split"], told["level"], told["scene"], told["objects"]) == ("held_out", 1, None, None)
    with pytest.raises(HandsightError, match=r"holds another evaluation.*\n  scene: None, not open"):
        run_evaluate(replace(args, scene="open"))


def test_comparisons_and_recordings_go_there(tmp_path):
    where = {"objects_split": "held_out", "level": 1}
    args = CompareArgs(("zoo:state-objects",), episodes=2, num_envs=2, videos=False, report=False, **where)
    found = compare(replace(args, out=tmp_path / "out"))
    assert {name: found.settings[name] for name in where} == where
    args = RecordArgs(policy="zoo:state-objects", episodes=2, num_envs=2, groups=("proprio",), **where)
    record(replace(args, out=tmp_path / "a"))
    with pytest.raises(HandsightError, match=r"(?s)of another recording.*level: expected 2, found 1"):
        record(replace(args, out=tmp_path / "a", level=2, episodes=4))


def test_a_demo_says_them_to_its_teachers_before_anything_begins(tmp_path):
    stages = Stages(tmp_path, DemoConfig(task="carry", objects="procedural", device="cpu"))
    assert stages.command(STATE)[:6] == ["train-teacher", "state", "--task", "carry", "--objects", "procedural"]
    assert "--scene" not in Stages(tmp_path, DemoConfig(device="cpu")).command(STATE)
    with pytest.raises(HandsightError, match="unknown scene 'attic'"):
        demo(DemoConfig(scene="attic", runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_memory_is_measured_of_the_training_that_is_meant():
    found = teacher(FootprintConfig(sight="state", task="carry", objects="procedural", height=16, width=16))
    assert (found.env.task.name, found.env.scene.objects) == ("carry", "procedural")
    assert "command" in found.policy.actor_keys and teacher(FootprintConfig()).env.task.name == "grasp"


def test_a_study_has_scenes_of_several_objects():
    cells = {"state-teacher": 1}
    tree = {"wrist": {"cells": cells}, "toys": {"cells": cells, "scene": "open", "objects": "procedural", "level": 1}}
    study = from_tree(StudyConfig, {"scenes": tree}, error=StudyError)
    assert study.env("wrist") == EnvConfig()
    env = study.config(Training("toys", 0, "state-teacher")).env
    assert (env.scene.objects, env.scene.rig.mount, env.task.level) == ("procedural", "world", 1)
    for wrong in ({"robot": "/tmp/arm.toml"}, {"objects": "../toys"}):
        with pytest.raises(HandsightError, match="as a study holds no path"):
            from_tree(StudyConfig, {"scenes": {"wrist": {"cells": cells, **wrong}}}, error=StudyError)
