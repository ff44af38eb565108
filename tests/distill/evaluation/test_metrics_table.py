"""Every metric that is logged stands in docs/metrics.md."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.evaluation.evaluate import evaluate_in
from handsight.distill.training.curriculum import CurriculumConfig
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.train_student import train_student
from handsight.distill.training.train_teacher import train_teacher
from handsight.distill.training.warm_start import WarmStartConfig
from handsight.students import StudentConfig
from handsight.teachers import ActorCriticConfig, PPOConfig

from ..toy_env import Scripted, ToyEnv

TABLE = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text()
NAMES = {name for cell in re.findall(r"^\| (`.*?) \|", TABLE, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)}
TEACHER = TeacherConfig(
    policy=ActorCriticConfig(hidden=(8,), auxiliary=("object_from_palm",)),
    ppo=PPOConfig(epochs=1, minibatches=1),
    curriculum=CurriculumConfig(start={"near": 1.0}, goal={"near": 0.5, "wide": 0.5}, gate="near"),
    warm=WarmStartConfig(iterations=1, gradient_steps=1, minibatch=16),
    num_envs=8,
    rollout_steps=10,
    iterations=2,
    validate_every=2,
    validation_episodes=8,
)


def documented(name: str) -> bool:
    """A name of the table, where <...> stands for any word."""
    return any(re.fullmatch(re.sub(r"<[^>]+>", r"[\\w-]+", re.escape(known)), name) for known in NAMES)


@pytest.fixture
def runs(tmp_path, toy_sims):
    teacher = train_teacher(TEACHER, run_root=tmp_path)
    warm = train_teacher(replace(TEACHER, warm_start=teacher.path), run_root=tmp_path)
    student = StudentConfig(image_features=8, proprio_features=8, memory_size=8, hidden=8)
    dagger = DaggerConfig(gradient_steps=1, batch_sequences=4)
    pupil = StudentRunConfig(teacher.path, student, control=True, dagger=dagger, num_envs=8, iterations=3)
    return [teacher, warm, train_student(pupil, run_root=tmp_path)]


def test_every_logged_metric_is_documented(runs):
    logged = {name for run in runs for row in run.metrics() for name in row}
    assert {"success_at_end", "warm_start", "warm_start_error", "validation/return", "success/near"} <= logged
    assert sorted(name for name in logged if not documented(name)) == []


def test_every_column_and_figure_of_an_evaluation_is_documented():
    evaluation = evaluate_in(ToyEnv(("state", "proprio", "depth"), 4), Scripted("state"), episodes=4)
    figures = {*evaluation.summary(), *evaluation.summary()["visibility"]} - {"visibility", "episodes", "seconds"}
    plain = {"episode_return", "kind", "reset_kind"}  # the rows' own facts
    columns = {name for name, _ in evaluation.columns()} - plain
    assert sorted(name for name in figures | columns if f"`{name}`" not in TABLE) == []


def test_a_name_that_is_not_in_the_table_is_found():
    assert documented("reward/lift")
    assert documented("success/wide")
    assert not documented("reward")
    assert not documented("loss/policy2")
