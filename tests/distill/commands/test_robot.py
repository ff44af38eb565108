"""A robot on the command line: chosen by its file, drafted from two MJCF files, checked and drawn."""

import tomllib
from pathlib import Path

import pytest

from handsight.distill.commands.arguments import CheckEnvArgs, RobotCheckArgs, RobotInitArgs
from handsight.distill.commands.cli import COMMANDS, UsageError, main, read, read_training
from handsight.distill.commands.robot import robot_check, robot_init, toml
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims.assets import VARIABLE
from handsight.sims.robots.mjcf import load_robot

from ...sims.robots.tiny_robot import write_robot


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """Its TOML file; the environment variable is as before, afterwards."""
    monkeypatch.setenv(VARIABLE, "")
    return write_robot(tmp_path)


def test_the_robot_of_a_file_is_known_by_its_name(tiny):
    args = read(CheckEnvArgs, ["--robot", str(tiny), "--scene", "open"], "handsight check-env")
    assert args.env.scene.robot == "tiny" and args.env.scene.rig.mount == "world"


def test_its_file_says_where_the_wrist_pair_sits(tiny):
    tiny.write_text(tiny.read_text() + "[camera]\nposition = [0.2, 0, 0]\n")
    args = read(CheckEnvArgs, ["--robot", str(tiny), "--image", "16x8"], "handsight check-env")
    assert (args.env.scene.rig.position, args.env.scene.rig.width) == ((0.2, 0, 0), 16)


def test_a_run_holds_its_name_and_takes_its_file_anew(tiny, tmp_path):
    config, *_ = read_training(TeacherConfig, ["--robot", str(tiny)], "handsight train-teacher state", "state")
    run = Run.create("teacher", config, tmp_path / "runs")
    run.close()
    assert "tiny.toml" not in (run.path / "config.json").read_text()
    again, *_ = read_training(TeacherConfig, ["--resume", str(run.path), "--robot", str(tiny)], "handsight", "state")
    assert again.env.scene.robot == "tiny"
    with pytest.raises(UsageError, match="goes on with that run's own configuration: found also --robot kuka_allegro"):
        read_training(TeacherConfig, ["--resume", str(run.path), "--robot", "kuka_allegro"], "handsight", "state")


def test_an_unknown_robot_is_a_mistake_in_one_line(tiny, capsys):
    assert main(["check-env", "--robot", "no_such_robot"]) == 2
    assert "robot 'no_such_robot' is not built in" in capsys.readouterr().err
    assert {"robot init", "robot check"} <= set(COMMANDS)


def test_a_draft_loads(tiny, tmp_path):
    out = robot_init(RobotInitArgs(tmp_path / "arm.xml", tmp_path / "hand.xml", tmp_path / "draft.toml"))
    robot = load_robot(out)
    assert (robot.name, len(robot.arm), [digit.name for digit in robot.digits]) == ("draft", 6, ["long_1", "thumb_1"])


def test_values_of_toml_are_written_as_they_are_read():
    tables = {
        "arm": 'a "b".xml',
        "palm": {"pos": [0.0, 1.5, -2.0]},
        "gains": {"f*": [1.0, 2.0]},
        "digits": [{"name": "x"}],
    }
    assert tomllib.loads(toml(tables)) == tables


@pytest.mark.slow
def test_a_check_says_what_does_not_hold_and_draws_it_all_the_same(tiny, tmp_path):
    """Its two thin fingers lift fewer than half of the cylinders by a script."""
    with pytest.raises(HandsightError, match="a scripted grasp of a cylinder"):
        robot_check(RobotCheckArgs(tiny, tmp_path / "tiny.png"))
    assert (tmp_path / "tiny.png").read_bytes()[:4] == b"\x89PNG"
