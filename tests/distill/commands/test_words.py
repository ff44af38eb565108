"""Words that choose the worlds, wherever they stand in a command line."""

import json
from dataclasses import replace

import pytest

from handsight.distill.commands import cli
from handsight.distill.commands.options import Worlds
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.sims import EnvConfig
from handsight.sims.env_config import CarryConfig
from handsight.sims.scenes import SCENES


def test_a_scene_may_stand_anywhere_and_other_options_change_it():
    words = ["--iterations", "3", "--scene=open", "--preset", "cpu", "--env.scene.rig.baseline", "0.2"]
    config, *_ = cli.read_training(TeacherConfig, words, "handsight train-teacher depth", "depth")
    assert config.iterations == 3
    assert config.env.scene.rig == replace(SCENES["open"].scene.rig, baseline=0.2)
    assert config.policy.depth_max_m == SCENES["open"].scene.rig.depth_max  # or it would not see what the cameras show
    assert Worlds(scene="open").change(EnvConfig(threads=3)) == replace(SCENES["open"], threads=3)


def test_a_scene_with_a_wall_survives_command_line_and_config_json(tmp_path):
    words = ["--scene", "occluded", "--preset", "cpu", "--env.scene.wall.height", "0.3"]
    parsed, *_ = cli.read_training(TeacherConfig, words, "handsight", "state")
    assert parsed.env.scene.wall == replace(SCENES["occluded"].scene.wall, height=0.3)
    assert Run.create("teacher-state", parsed, tmp_path).config(TeacherConfig) == parsed


def test_a_run_from_before_there_were_walls_is_read_as_wrist(tmp_path):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    facts = json.loads((run.path / "config.json").read_text())
    del facts["config"]["env"]["scene"]["wall"]
    (run.path / "config.json").write_text(json.dumps(facts))
    assert run.config(TeacherConfig) == TeacherConfig.state()


def test_a_task_goes_with_any_scene_and_survives_command_line_and_config_json(tmp_path):
    words = ["--task", "carry", "--scene", "open", "--env.task.goal-z", "0.2", "0.3"]
    parsed, *_ = cli.read_training(TeacherConfig, words, "handsight train-teacher state", "state")
    assert parsed.env.task == CarryConfig(randomization=SCENES["open"].task.randomization, goal_z=(0.2, 0.3))
    assert parsed.policy.actor_keys == ("state", "proprio", "command")
    assert Run.create("teacher-state", parsed, tmp_path).config(TeacherConfig) == parsed
    elsewhere = Worlds(scene="wrist").change(parsed.env)  # the task of a student's teacher stays
    assert isinstance(elsewhere.task, CarryConfig) and elsewhere.task.randomization == EnvConfig().task.randomization


def test_a_run_from_before_there_were_tasks_is_read_as_grasp(tmp_path):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    facts = json.loads((run.path / "config.json").read_text())
    del facts["config"]["env"]["task"]["name"]
    (run.path / "config.json").write_text(json.dumps(facts))
    assert run.config(TeacherConfig) == TeacherConfig.state()


def test_a_task_that_is_none_is_answered_with_the_nearest(capsys):
    assert cli.main(["train-teacher", "state", "--task", "cary"]) == 2
    assert "unknown task 'cary' (did you mean carry?); available: grasp, carry" in "".join(capsys.readouterr())


@pytest.mark.parametrize("line", ["train-teacher state --scene", "check-env --scene --num-envs 2"])
def test_a_scene_without_a_name_is_explained(line, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(line.split())
    assert left.value.code == 2
    assert "--scene" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "line", ["train-teacher depth --scene ocluded", "check-env --scene ocluded", "bench --scene ocluded"]
)
def test_an_unknown_scene_is_explained(line, capsys):
    assert cli.main(line.split()) == 2
    assert (
        "unknown scene 'ocluded' (did you mean occluded?); available: wrist, open, occluded" in capsys.readouterr().err
    )
