"""What the second process of the Isaac Gym engine costs: `python benchmarks/isaac_boundary.py [--isaac-python PATH]`.

Times control steps of the engine with the tests' fake of Isaac Gym and subtracts what the worker itself was busy with,
so that what is left is the boundary: two commands, one copy of targets in, one copy of states and images out. No Isaac
Gym takes part. For comparison, the same bytes copied once inside one process. Writes
benchmarks/results/isaac_boundary.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from handsight.distill.runs.provenance import provenance
from handsight.sims import CameraRig, EnvConfig, make
from handsight.sims.env_config import IsaacConfig, SceneConfig
from handsight.sims.isaacgym.engine import IsaacEngine
from handsight.sims.tasks.grasp import GraspTask

RESULTS = Path(__file__).parent / "results" / "isaac_boundary.json"
FAKE = Path(__file__).resolve().parents[1] / "tests" / "isaacgym_fake"
GROUPS = {"states": ("state", "proprio"), "depth": ("state", "depth"), "stereo": ("proprio", "stereo")}


def measure(python: str, observe: tuple[str, ...], worlds: int, pixels: int, steps: int) -> dict[str, float]:
    """Medians over `steps` control steps: {"boundary_us", "worker_us", "bytes", "mb_per_s", "copy_us"}."""
    config = EnvConfig(
        engine="isaacgym",
        scene=SceneConfig(rig=CameraRig(height=pixels, width=pixels)),
        isaac=IsaacConfig(python=python, timeout=600),
    )
    env = make(config, observe, worlds)
    env.reset(0)
    boundary, worker = time_steps(env, steps)
    crossing = [
        a for name, a in env.engine.worker.arrays.items() if name != "textures" and not name.startswith("reset")
    ]
    size = sum(array.nbytes for array in crossing)
    copy = np.median([time_copy(crossing) for _ in range(steps)])
    env.close()
    figures = {"boundary_us": 1e6 * boundary, "worker_us": 1e6 * worker, "bytes": size}
    return figures | {"mb_per_s": size / boundary / 1e6, "copy_us": 1e6 * float(copy)}


def time_steps(env: GraspTask, steps: int) -> tuple[float, float]:
    """Seconds of one control step outside and inside the worker, medians. The task's own work is not counted."""
    engine, inside = env.engine, 0.0
    assert isinstance(engine, IsaacEngine)
    call = engine.worker.call

    def counted(command, **arguments):
        nonlocal inside
        reply = call(command, **arguments)
        inside += engine.worker.last_seconds
        return reply

    engine.worker.call = counted
    targets = engine.read().joint_pos.clone()
    everyone = torch.ones(env.num_envs, dtype=torch.bool)
    outside, within = [], []
    for _ in range(steps):
        inside, begun = 0.0, time.perf_counter()
        engine.step(targets, everyone)
        engine._settle()  # the held-back physics step, and every array out of shared memory
        outside.append(time.perf_counter() - begun - inside)
        within.append(inside)
    return float(np.median(outside)), float(np.median(within))


def time_copy(arrays: list[np.ndarray]) -> float:
    begun = time.perf_counter()
    for array in arrays:
        array.copy()
    return time.perf_counter() - begun


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--isaac-python", default=sys.executable, help="interpreter of the worker; default: ours")
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--pixels", type=int, default=32, help="height and width of the images")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(FAKE)  # what the worker imports in Isaac Gym's place
    rows = {}
    for name, observe in GROUPS.items():
        rows[name] = measure(options.isaac_python, observe, options.worlds, options.pixels, options.steps)
        text = ", ".join(f"{key} {value:,.0f}" for key, value in rows[name].items())
        print(f"{name}: {text}", flush=True)
    facts = {"worlds": options.worlds, "pixels": options.pixels, "steps": options.steps, "rows": rows}
    facts["load_average"] = os.getloadavg()  # waiting for a core counts as boundary: measure on an idle machine
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(facts | {"provenance": provenance()}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
