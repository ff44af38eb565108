"""The report for owners of Isaac Gym: what it says of the tests' fake, and that it finds what is wrong."""

import sys

import numpy as np
import pytest

from handsight.distill.commands import check_env as checks
from handsight.distill.commands.check_env import check_isaac
from handsight.distill.commands.cli import main
from handsight.sims import CameraRig, EnvConfig, GraspConfig
from handsight.sims.checker import ContractError
from handsight.sims.env_config import IsaacConfig, SceneConfig
from handsight.sims.isaacgym import engine as isaac
from handsight.sims.isaacgym import model as isaac_spec
from handsight.sims.robots.kuka_allegro import KUKA_ALLEGRO

SMALL = ("--num-envs", "4", "--env.task.episode-steps", "4")


@pytest.fixture(autouse=True)
def _as_the_fake_can(isaacgym_fake, monkeypatch):
    """It draws the table and a ball in the object's place, but no hand, and its joints have no inertia."""
    monkeypatch.setattr(checks, "PIXELS", 0.6)
    monkeypatch.setattr(checks, "PALM_LAG", 1.0)


def test_check_env_passes_under_python_38_and_says_that_it_was_a_fake(python38, capsys):
    words = ["check-env", "--engine", "isaacgym", "--isaac-python", python38, *SMALL]
    assert main(words) == 0
    report = capsys.readouterr().out
    assert "isaacgym FAKE of the tests: no Isaac Gym, no PhysX and no GPU took part" in report
    assert "worker: python 3.8." in report
    rows = [line.split(" | ") for line in report.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 15 and {row[1] for row in rows} == {"holds", "measured"}


def config():
    scene, task = SceneConfig(rig=CameraRig(height=16, width=16)), GraspConfig(episode_steps=2)
    return EnvConfig(engine="isaacgym", scene=scene, task=task, isaac=IsaacConfig(python=sys.executable))


ELBOW_FIRST = ("arm_1", "arm_4", "arm_3", "arm_2", *KUKA_ALLEGRO.joints[4:])


def _build_spec(*arguments):
    return isaac_spec.build_spec(*arguments) | {"joints": ELBOW_FIRST}


@pytest.mark.parametrize(
    ("module", "name", "value", "broken"),
    [
        (isaac_spec, "ISAAC_CAMERA", np.eye(3), "depth images"),
        (isaac, "build_spec", _build_spec, "positions of joints"),
    ],
    ids=["camera frame", "joint order"],
)
def test_wrong_frames_and_orders_are_found(module, name, value, broken, monkeypatch, capsys):
    monkeypatch.setattr(module, name, value)
    with pytest.raises(ContractError, match=f"checks are broken: .*{broken}"):
        check_isaac(config(), ("state", "depth"), 2)
    assert f"| {broken}" in capsys.readouterr().out


def test_without_the_binary_the_check_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.delenv("HANDSIGHT_ISAAC_PYTHON", raising=False)
    assert main(["check-env", "--engine=isaacgym"]) == 2
    assert "engine 'isaacgym' needs the Python 3.8 that has isaacgym" in capsys.readouterr().err
