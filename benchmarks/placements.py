"""The same training with its worlds in different places, in one run: on the learner's device, in several simulators on
that device, and on the CPU's cores.

    python benchmarks/placements.py --device cuda:0 --sight depth --out results.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from handsight.distill.commands import options, presets
from handsight.distill.runs.provenance import provenance
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.sims.env_config import RemoteConfig


def placements(config: TeacherConfig, device: str, simulators: int) -> dict[str, TeacherConfig]:
    """What is compared, by name."""
    cpu = replace(config.env, engine="mujoco")
    return {
        "one process": config,
        f"{simulators} simulators on {device}": replace(config, sims=f"{device}*{simulators}"),
        f"CPU physics, learner on {device}": replace(config, env=cpu),
    }


def measure(config: TeacherConfig, iterations: int) -> dict[str, float]:
    """Medians over iterations, after one that warms up."""
    training = TeacherTraining.start(config)
    training.iterate()
    rows, start = [], time.perf_counter()
    for _ in range(iterations):
        rows.append(training.iterate())
    seconds = time.perf_counter() - start
    training.close()
    names = ("seconds/collect", "seconds/update", "remote/bytes_per_step", "remote/seconds_transfer")
    medians = {name: statistics.median(row[name] for row in rows) for name in names if name in rows[0]}
    memory = torch.cuda.max_memory_allocated(config.device) if config.device != "cpu" else 0
    steps = iterations * config.num_envs * config.rollout_steps
    return medians | {"steps_per_second": steps / seconds, "learner_bytes": float(memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--sight", choices=["state", "depth"], default="depth")
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--image", default="64x64")
    parser.add_argument("--simulators", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    base = presets.teacher(args.sight, "gpu", options.Worlds(image=args.image))
    config = replace(
        base, num_envs=args.worlds, device=args.device, validate_every=0,
        ppo=replace(base.ppo, aux_warmup_iterations=0),
        remote=RemoteConfig(spares=0, step_timeout=120.0, build_timeout=300.0),
    )  # fmt: skip
    found: dict[str, Any] = {}
    for name, one in placements(config, args.device, args.simulators).items():
        found[name] = measure(one, args.iterations)
        print(f"{name}: {found[name]['steps_per_second']:,.0f} steps/s", flush=True)
    facts = {"sight": args.sight, "worlds": args.worlds, "image": args.image, "placements": found}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(facts | {"provenance": provenance()}, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
