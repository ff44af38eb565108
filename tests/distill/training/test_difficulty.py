"""The level of randomisation: what it changes, when it moves, and that it is saved."""

from dataclasses import replace

import pytest
import torch

from handsight.distill.runs import checkpoint
from handsight.distill.runs.run import Run
from handsight.distill.training import train_teacher
from handsight.distill.training.difficulty import Difficulty, DifficultyConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims import EnvConfig, make
from handsight.sims.env_config import EXACT_DEPTH, GraspConfig, Randomization, between

CONFIG = DifficultyConfig(automatic=True, promote=0.75, demote=0.4, episodes=100)


def moved(*ended, level=2, levels=3, config=CONFIG):
    difficulty = Difficulty(config, level, levels)
    for wins, count in ended:
        difficulty.update({"edge": (wins, count), "wide": (0, 1000)})
    return difficulty


def test_every_range_moves_in_equal_steps_to_the_hardest():
    task = GraspConfig(levels=4, hardest=Randomization(mass=(0.04, 0.6), latency=(0, 2), depth=EXACT_DEPTH, blur=1.0))
    half = task.ranges(2)
    assert half.mass == pytest.approx((0.06, 0.4)) and half.blur == 0.5 and half.latency == (0, 1)
    assert half.depth.dropout == pytest.approx(0.005) and half.depth.shadows  # a switch waits for the last level
    assert task.ranges(0) is task.randomization and task.ranges(4) == task.hardest
    assert between((0.0, 1.0), (1.0, 3.0), 0.25) == (0.25, 1.5)


def test_success_at_the_edge_moves_the_level_and_nothing_else_does():
    assert moved((75, 100)).level == 3 and moved((74, 100)).level == 2
    assert moved((40, 100)).level == 2 and moved((39, 100)).level == 1
    assert moved((99, 99)).level == 2  # one more is needed
    assert moved((60, 60), (0, 40)).level == 2  # .6 of 100, which are then forgotten:
    assert moved((60, 60), (0, 40), (100, 100)).level == 3
    assert moved((100, 100), (100, 100)).level == 3 and moved((0, 100), (0, 100), (0, 100)).level == 0
    assert moved((100, 100), config=replace(CONFIG, automatic=False)).level == 2


def test_a_level_that_is_none_is_refused_before_anything_begins():
    with pytest.raises(HandsightError, match=r"level 11 of randomisation: expected 0\.\.10"):
        EnvConfig().at_level(11)
    with pytest.raises(HandsightError, match=r"expected demote < promote, found demote=0\.8, promote=0\.75"):
        DifficultyConfig(demote=0.8)
    with pytest.raises(HandsightError, match=r"difficulty\.automatic .* expected no sims"):
        TeacherConfig(difficulty=CONFIG, sims="cpu*2")


def test_a_training_saves_its_level_and_goes_on_bit_for_bit(tmp_path):
    """Every episode counts as one to be promoted by, so that the level rises while the run is cut in two."""
    easy = DifficultyConfig(automatic=True, promote=0.02, demote=0.01, episodes=1)
    task = GraspConfig(episode_steps=3, reset_mix={"near": 1.0})
    config = TeacherConfig(
        env=EnvConfig(task=task, threads=1), difficulty=easy, num_envs=4, rollout_steps=4, iterations=3,
        validate_every=0, ppo=replace(TeacherConfig().ppo, minibatches=2),
    )  # fmt: skip
    down = replace(config, env=EnvConfig(task=replace(task, level=5), threads=1))
    whole = train_teacher.train_teacher(down, run_root=tmp_path / "whole")
    part = train_teacher.train_teacher(replace(down, iterations=2), run_root=tmp_path / "part")
    train_teacher.train_teacher(resume=part.path, iterations=3)
    levels = [[row["level"] for row in Run.open(run.path).metrics() if "level" in row] for run in (whole, part)]
    assert levels[0] == levels[1] and levels[0][-1] < 5.0  # nobody succeeds in three steps
    one, other = (checkpoint.load(checkpoint.latest(run.checkpoints, checkpoint.PERIODIC)) for run in (whole, part))
    assert one["difficulty"] == other["difficulty"]
    for name, value in one["policy"]["weights"].items():
        assert value.equal(other["policy"]["weights"][name]), name
    for name, value in one["worlds"]["env"]["params"].items():
        assert value.equal(other["worlds"]["env"]["params"][name]), name
    assert {"gravity", "joint_friction", "latency"} <= set(one["worlds"]["env"]["params"])


def test_episodes_are_at_the_edge_that_began_at_the_present_level():
    env = make(EnvConfig(task=GraspConfig(episode_steps=2), threads=1), ("proprio",), 2)
    env.reset(0)
    told = []
    for level in (0, 1, 1, 1, 2, 2, 2):  # episodes open with the third and the sixth step
        env.set_level(level)
        told.append(env.step(torch.zeros(2, 6)).log["edge"].tolist())
    assert told == [[True] * 2, [False] * 2, [True] * 2, [True] * 2, [False] * 2, [True] * 2, [True] * 2]
    env.close()
