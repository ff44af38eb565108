"""Environment steps per CPU second of this tree and of another revision of it, in turn, in one call.

    python benchmarks/against.py REVISION [--rounds 3] [--num-envs 128]

The other tree is unpacked beside and imported with the same libraries. Random actions, one thread; each figure is of a
process of its own, as start-up is not what is measured. Adds to benchmarks/results/against.json by revision.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "against.json"
KINDS = {"state": ("state", "proprio"), "depth": ("state", "proprio", "depth"), "stereo": ("proprio", "stereo")}
MEASURE = """
import json, sys, time
import torch
torch.set_num_threads(1)
from handsight import sims
groups, num_envs = sys.argv[1].split(","), int(sys.argv[2])
env = sims.make(sims.EnvConfig(threads=1), groups, num_envs)
env.reset(0)
env.stagger()
draws = torch.Generator().manual_seed(0)
actions = 2 * torch.rand(3 * env.episode_steps, num_envs, env.action_dim, generator=draws) - 1
for action in actions[: env.episode_steps]:
    env.step(action)
start = time.process_time()
for action in actions[env.episode_steps :]:
    env.step(action)
spent = time.process_time() - start
env.close()
print(json.dumps(2 * env.episode_steps * num_envs / spent))
"""


def rate(tree: Path, kind: str, num_envs: int) -> float:
    """Steps per CPU second of `num_envs` environments of the package `handsight` that lies in the folder `tree`."""
    quiet = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    words = [sys.executable, "-c", MEASURE, ",".join(KINDS[kind]), str(num_envs)]
    done = subprocess.run(words, env=quiet, capture_output=True, text=True, check=True, cwd=tree)
    return json.loads(done.stdout.splitlines()[-1])


def commit(revision: str) -> str:
    """The hash of a revision, in short."""
    return subprocess.run(
        ["git", "rev-parse", "--short", revision], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Measure both trees in turn and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-envs", type=int, default=128)
    options = parser.parse_args()
    from gymnasium_tasks import machine

    with tempfile.TemporaryDirectory() as folder:
        trees = {"this": Path(folder) / "this", "other": Path(folder) / "other"}
        for name, revision in (("this", "HEAD"), ("other", options.revision)):
            (trees[name] / "handsight").mkdir(parents=True)
            packed = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
            subprocess.run(["tar", "x", "-C", str(trees[name] / "handsight")], input=packed, check=True)
        found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in trees} for kind in KINDS}
        for _ in range(options.rounds):
            for kind, rates in found.items():
                for name, tree in trees.items():
                    rates[name].append(round(rate(tree, kind, options.num_envs)))
                    print(kind, name, rates[name][-1], flush=True)
    row = {"this": commit("HEAD"), "num_envs": options.num_envs, "machine": machine(), "steps_per_cpu_second": found}
    row["ratio"] = {k: round(statistics.median(v["this"]) / statistics.median(v["other"]), 3) for k, v in found.items()}
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(rows | {commit(options.revision): row}, indent=1) + "\n")
    print(row["ratio"])


if __name__ == "__main__":
    main()
