"""Does automatic difficulty pay? State teachers go on from `zoo:state` with and without it, and are tried at both ends.

    OMP_NUM_THREADS=1 python benchmarks/difficulty.py [--seeds 0 1 2] [--runs runs/difficulty]

Equal steps, equal seeds; then 512 held-out resets each, at level 0 (what trainings have) and at level 10 (the hardest).
What the other arm does with the same further steps is the control: `zoo:state` itself has seen fewer. Adds to
benchmarks/results/difficulty.json, run by run; a run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from handsight.distill.runs.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "difficulty.json"
TRAIN = ["train-teacher", "state", "--warm-start", "zoo:state", "--warm.iterations", "8", "--warm.beta-iterations", "4"]
SIZE = ["--iterations", "75", "--validate-every", "0"]
ARMS = {"automatic": ["--difficulty.automatic", "--difficulty.episodes", "256"], "without": []}
LEVELS = (0, 10)


def handsight(*words: str) -> None:
    """One command in a process of its own."""
    subprocess.run([sys.executable, "-m", "handsight", *words], check=True)


def tried(policy: str, level: int, out: Path) -> dict[str, float]:
    """Success of 512 held-out resets with its 95 % interval."""
    file = out / f"level{level}" / "evaluation.json"
    if not file.is_file():
        handsight("evaluate", policy, "--level", str(level), "--num-envs", "128", "--out", str(file.parent))
    return json.loads(file.read_text())["summary"]["success_at_end"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/difficulty"))
    args = parser.parse_args()
    found = (
        json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"command": [*TRAIN, *SIZE], "arms": ARMS, "runs": []}
    )
    start = {f"level {level}": tried("zoo:state", level, args.runs / "zoo") for level in LEVELS}
    found |= {"zoo:state": start, "provenance": provenance()}
    for seed in args.seeds:
        for arm, words in ARMS.items():
            if any((one["arm"], one["seed"]) == (arm, seed) for one in found["runs"]):
                continue
            place = args.runs / f"{arm}{seed}"
            if not list(place.glob("*/*/checkpoints/iteration_000075.ckpt")):
                handsight(*TRAIN, *SIZE, *words, "--seed", str(seed), "--runs", str(place))
            run = next(place.glob("*/*/checkpoints/iteration_000075.ckpt"))
            row = {"arm": arm, "seed": seed, **{f"level {level}": tried(str(run), level, place) for level in LEVELS}}
            found["runs"].append(row)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(row, flush=True)


if __name__ == "__main__":
    main()
