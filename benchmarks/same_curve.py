"""One training in this process beside the same one with simulators elsewhere, from the metrics.csv of both:

    python benchmarks/same_curve.py benchmarks/results/depth_from_scratch benchmarks/results/depth_remote

says how many iterations are equal bit for bit, and how the two do after that; draws curve.svg into the second folder.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from handsight.distill.evaluation.statistics import Interval, wilson

TIMES = ("seconds/", "fps", "remote/", "validation/", "iteration")
"""Columns of which nothing is learnt."""


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a training's metrics, one for each iteration."""
    with (folder / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row.get("return")]


def learnt(row: dict[str, str]) -> dict[str, str]:
    """What was learnt from the rollout and of the episodes in it, as it was written."""
    return {name: value for name, value in row.items() if value and not name.startswith(TIMES)}


def success(many: list[dict[str, str]]) -> Interval:
    """Share of the episodes that ended well."""
    episodes = round(sum(float(row["episodes"]) for row in many))
    won = round(sum(float(row["episodes"]) * float(row["success_at_end"] or 0) for row in many))
    return wilson([True] * won + [False] * (episodes - won))


def compare(here: list[dict[str, str]], there: list[dict[str, str]]) -> dict[str, Any]:
    """Over the iterations that both have."""
    pairs = list(zip(here, there, strict=False))
    equal = next((i for i, (a, b) in enumerate(pairs) if learnt(a) != learnt(b)), len(pairs))
    lost = [i for i, (_, b) in enumerate(pairs) if float(b.get("remote/replaced") or 0)]
    last = slice(max(equal, len(pairs) - 10), len(pairs))
    return {
        "iterations": len(pairs), "equal_bit_for_bit": equal, "simulators_lost_in": [i + 1 for i in lost],
        "lost_rows": sum(float(b.get("remote/lost_rows") or 0) for _, b in pairs),
        "success_at_end_of_the_last_ten": {
            name: asdict(success([pair[k] for pair in pairs[last]])) for k, name in enumerate(("in_process", "remote"))
        },
    }  # fmt: skip


def draw(here: list[dict[str, str]], there: list[dict[str, str]], found: dict[str, Any], file: Path) -> None:
    """Success and return of both over the steps."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for ax, name in zip(axes, ("success_at_end", "return"), strict=True):
        for many, label, style in ((here, "in this process", "-"), (there, "on three simulators", "--")):
            points = [(float(row["step"]) / 1e3, float(row[name] or "nan")) for row in many[: found["iterations"]]]
            ax.plot(*zip(*points, strict=True), style, label=label, linewidth=1.4)
        for i in found["simulators_lost_in"]:
            ax.axvline(float(there[i - 1]["step"]) / 1e3, color="0.5", linewidth=0.8, label="kill -9 of a simulator")
        ax.set(xlabel="world-steps, thousands", ylabel=name.replace("_", " "))
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("here", type=Path, help="run folder of the training in this process")
    parser.add_argument("there", type=Path, help="run folder of the one with simulators elsewhere")
    args = parser.parse_args()
    here, there = rows(args.here), rows(args.there)
    found = compare(here, there)
    draw(here, there, found, args.there / "curve.svg")
    (args.there / "comparison.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
