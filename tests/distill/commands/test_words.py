"""Words that choose the worlds, wherever they stand in a command line."""

import json
from dataclasses import replace

import pytest

from handsight.distill.commands import cli, options
from handsight.distill.commands import options as words
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.sims import EnvConfig
from handsight.sims.scenes import SCENES


def test_a_scene_may_stand_anywhere_and_other_options_change_it():
    chosen, rest = words.take(["--iterations", "3", "--scene=open", "--seed", "1"], words.WORDS)
    assert (chosen, rest) == ({"--scene": "open"}, ["--iterations", "3", "--seed", "1"])
    worlds = words.change(EnvConfig(threads=3), chosen)
    assert worlds == replace(SCENES["open"], threads=3)
    default = TeacherConfig.depth().with_worlds(worlds)
    options_of_user = ["--env.scene.rig.baseline", "0.2"]
    config = options.parse_training(TeacherConfig, options_of_user, "handsight train-teacher depth", default).config
    assert config.env.scene.rig == replace(SCENES["open"].scene.rig, baseline=0.2)
    assert config.policy.depth_max_m == SCENES["open"].scene.rig.depth_max  # or it would not see what the cameras show


def test_a_scene_with_a_wall_survives_command_line_and_config_json(tmp_path):
    config = TeacherConfig.state().with_worlds(SCENES["occluded"])
    parsed = options.parse_training(TeacherConfig, ["--env.scene.wall.height", "0.3"], "handsight", config).config
    assert parsed.env.scene.wall == replace(SCENES["occluded"].scene.wall, height=0.3)
    assert Run.create("teacher-state", parsed, tmp_path).config(TeacherConfig) == parsed


def test_a_run_from_before_there_were_walls_is_read_as_wrist(tmp_path):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    facts = json.loads((run.path / "config.json").read_text())
    del facts["config"]["env"]["scene"]["wall"]
    (run.path / "config.json").write_text(json.dumps(facts))
    assert run.config(TeacherConfig) == TeacherConfig.state()


@pytest.mark.parametrize("line", ["train-teacher state --scene", "check-env --scene --num-envs 2"])
def test_a_scene_without_a_name_is_explained(line, capsys):
    assert cli.main(line.split()) == 2
    assert "--scene: expected a value" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["train-teacher depth --scene ocluded", "check-env --scene ocluded", "bench --scene ocluded"]
)
def test_an_unknown_scene_is_explained(line, capsys):
    assert cli.main(line.split()) == 2
    assert (
        "unknown scene 'ocluded' (did you mean occluded?); available: wrist, open, occluded" in capsys.readouterr().err
    )
