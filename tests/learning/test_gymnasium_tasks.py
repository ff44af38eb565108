"""PPO on standard tasks, with the settings of benchmarks/gymnasium_tasks.py, which writes the figures down."""

import importlib.util
import runpy
from pathlib import Path

import pytest

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "gymnasium_tasks.py"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["Pendulum-v1", "HalfCheetah-v5"])
def test_it_reaches_the_goal(name, seed):
    if name.startswith("HalfCheetah") and importlib.util.find_spec("imageio") is None:
        pytest.skip("Gymnasium's mujoco tasks import imageio")
    task = BENCHMARK["TASKS"][name]
    assert BENCHMARK["evaluate"](task, BENCHMARK["train"](task, seed), seed) >= task.goal
