"""Do more worlds help? The same depth teacher with different numbers of them, at equal numbers of samples.

    python benchmarks/batch_sizes.py runs/gpu/batch_256 runs/gpu/batch_1024 --out benchmarks/results/gpu

reads the newest run in each folder (`benchmarks/train_for.py` makes them; benchmarks/gpu.sh does both), writes
batch_sizes.json and batch_sizes.svg: validation success over samples, and over wall time, whatever they say.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from handsight.distill.runs.provenance import provenance
from handsight.distill.runs.run import Run, runs_under
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError

SUCCESS = "validation/success_at_end"


def curve(run: Run) -> dict[str, Any]:
    """Of one run: samples, seconds of training, and success of each validation."""
    config, rows = run.config(TeacherConfig), run.metrics()
    points, seconds = [], 0.0
    for row in rows:
        seconds += row.get("seconds/collect", 0.0) + row.get("seconds/update", 0.0)
        if SUCCESS in row:
            points.append({"samples": row["step"], "seconds": seconds, "success_at_end": row[SUCCESS]})
    return {
        "worlds": config.num_envs, "samples_per_update": config.num_envs * config.rollout_steps, "seed": config.seed,
        "points": points, "meta": {key: run.meta[key] for key in ("git", "hardware", "versions")},
    }  # fmt: skip


def draw(curves: list[dict[str, Any]]) -> Figure:
    """Success over samples and over minutes."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label, unit in ((left, "samples", "million samples", 1e6), (right, "seconds", "minutes", 60.0)):
        for one in curves:
            x = [point[key] / unit for point in one["points"]]
            y = [point["success_at_end"] for point in one["points"]]
            axes.plot(x, y, marker=".", label=f"{one['worlds']:,} worlds")
        axes.set(xlabel=label, ylim=(0, 1))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("validation success at end")
    figure.axes[0].legend()
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        found = [curve(Run.open((runs_under(folder) or [folder])[-1])) for folder in args.folders]
    except HandsightError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {"curves": sorted(found, key=lambda one: one["worlds"]), "provenance": provenance()}
    (args.out / "batch_sizes.json").write_text(json.dumps(facts, indent=1, default=str) + "\n")
    draw(facts["curves"]).savefig(args.out / "batch_sizes.svg")
    for one in facts["curves"]:
        last = one["points"][-1]["success_at_end"] if one["points"] else float("nan")
        print(f"{one['worlds']:,} worlds: {last:.3f} after {one['points'][-1]['samples'] if one['points'] else 0:,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
