"""One policy succeeds as often on Warp's physics as on MuJoCo's."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.evaluation.statistics import wilson
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.train_teacher import train_teacher

EPISODES = int(os.environ.get("HANDSIGHT_EPISODES", "128"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """$HANDSIGHT_TEACHER, a run folder or a checkpoint; or a state teacher that is trained for some minutes."""
    path = os.environ.get("HANDSIGHT_TEACHER")
    if path is None:
        config = replace(TeacherConfig.state(), iterations=60, validate_every=0)
        path = train_teacher(config, run_root=tmp_path_factory.mktemp("runs")).path
    return load_policy(Path(path))


@pytest.mark.slow
def test_success_rates_agree_within_their_intervals(teacher):
    rates = {}
    for engine in ("mujoco", "mujoco_warp"):
        config = replace(teacher.env_config, engine=engine)
        result = evaluate(teacher.policy, config, episodes=EPISODES, num_envs=64, reset_kind="wide")
        assert not result.aborted.any()
        rates[engine] = wilson(result.success_at_end)
    print({engine: str(rate) for engine, rate in rates.items()})
    (low_a, high_a), (low_b, high_b) = ((rate.low, rate.high) for rate in rates.values())
    assert low_a <= high_b and low_b <= high_a, rates
