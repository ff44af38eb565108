"""Steps a second with `procedural` beside `primitives`, in turns in one process, of random actions:
`python benchmarks/objects.py [--num-envs 256] [--steps 40] [--rounds 3] [--json FILE]`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from handsight.sims import EnvConfig, make
from handsight.sims.env_config import SceneConfig

SETS = ("primitives", "procedural")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for group in ("state", "depth"):
        worlds = {name: make(EnvConfig(scene=SceneConfig(objects=name)), (group,), args.num_envs) for name in SETS}
        rates: dict[str, list[float]] = {name: [] for name in SETS}
        for turn in range(args.rounds):
            for name, env in worlds.items():
                env.reset(turn)
                draw = torch.Generator().manual_seed(turn)
                actions = torch.rand(args.steps, args.num_envs, env.action_dim, generator=draw) * 2 - 1
                start = time.process_time()  # of all threads: what others do on the machine does not count
                for action in actions:
                    env.step(action)
                rates[name].append(args.steps * args.num_envs / (time.process_time() - start))
        for env in worlds.values():
            env.close()
        found[group] = {name: statistics.median(values) for name, values in rates.items()}
        found[group]["share"] = found[group]["procedural"] / found[group]["primitives"]
        print(group, {name: round(value, 3) for name, value in found[group].items()}, "steps a second of CPU time")
    if args.json:
        args.json.write_text(json.dumps({"num_envs": args.num_envs, "steps": args.steps, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
