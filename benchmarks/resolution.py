"""What larger images are worth: a depth teacher, and students of it and of zoo:state, at each size.

    python benchmarks/resolution.py [--pixels 32 48 64 96] [--seeds 0]

Teachers have the budget of `train-teacher depth --warm-start zoo:state`, students that of `train-student`, all are
evaluated on the same 512 held-out resets. Rows go to benchmarks/results/resolution as they are made, with a table,
resolution.md; runs to --runs. A row that is there is not made again; an interrupted run is gone on with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from student_tables import RESULTS, distil, interval, keep, kept

from handsight.distill.commands.presets import Worlds, student, teacher
from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.runs.run import runs_under
from handsight.distill.training.train_teacher import train_teacher

TABLE, SIZES = "resolution", [32, 48, 64, 96]
ZOO = Path("zoo:state")
ZOO_DEPTH, ZOO_PIXELS = Path("zoo:depth"), 32
"""The depth teacher of seed 0 and this size: trained just so from zoo:state."""
KINDS = ("depth teacher", "state to stereo", "depth to stereo")
BUFFER_GIB = 6.0
"""Of every student, so that none forgets its first sequences: 16 iterations at 96 x 96 take 4 GiB."""


def depth_teacher(pixels: int, seed: int, runs: Path) -> Path:
    """Train one from a warm start, or go on, or find the finished one."""
    if (pixels, seed) == (ZOO_PIXELS, 0):
        return ZOO_DEPTH
    begun = runs_under(runs)
    if begun:
        return train_teacher(resume=begun[-1]).path
    config = teacher("depth", warm_start=ZOO, chosen=Worlds(image=f"{pixels}x{pixels}"))
    return train_teacher(replace(config, seed=seed), run_root=runs).path


def teacher_row(path: Path, episodes: int) -> dict[str, Any]:
    """What a depth teacher reached, in the words of `student_tables.distil`."""
    loaded = load_policy(path)
    summary = evaluate(loaded.policy, loaded.env_config, episodes=episodes, reset_kind="wide").summary()
    views = {view: part["success_at_end"]["value"] for view, part in summary.get("by_view_at_reset", {}).items()}
    return {"success_at_end": summary["success_at_end"], "by_view_at_reset": views}


def make(kind: str, pixels: int, seed: int, runs: Path, episodes: int) -> None:
    """One row, unless it is there."""
    name, part = f"{kind}, {pixels} x {pixels}", f"seed{seed}"
    if kept(TABLE, name, part) is not None:
        return
    start, where = time.process_time(), runs / f"{kind.replace(' ', '-')}-{pixels}-{seed}"
    if kind == "depth teacher":
        row = teacher_row(depth_teacher(pixels, seed, where), episodes)
    else:
        of_depth = runs / f"depth-teacher-{pixels}-{seed}"
        source = depth_teacher(pixels, seed, of_depth) if kind == "depth to stereo" else ZOO
        config = student(teacher=source, chosen=Worlds(image=f"{pixels}x{pixels}"))
        config = replace(config, seed=seed, dagger=replace(config.dagger, buffer_gib=BUFFER_GIB))
        row = distil(config, where, episodes)
    keep(TABLE, name, part, row | {"cpu_seconds": round(time.process_time() - start, 1)})


def write_table() -> None:
    """resolution.md from the rows that there are."""
    lines = ["| policy | pixels | seed | success at end | in view | out of view | CPU minutes |", "|" + " --- |" * 7]
    for kind in KINDS:
        for pixels in SIZES:
            for seed in range(10):
                row: Mapping[str, Any] | None = kept(TABLE, f"{kind}, {pixels} x {pixels}", f"seed{seed}")
                if row:
                    views = " | ".join(f"{value:.3f}" for value in row["by_view_at_reset"].values())
                    cost = f"{row['cpu_seconds'] / 60:.1f}"
                    lines.append(
                        f"| {kind} | {pixels} | {seed} | {interval(row['success_at_end'])} | {views} | {cost} |"
                    )
    (RESULTS / TABLE / "resolution.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Make every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--runs", type=Path, default=Path("runs/resolution"))
    parser.add_argument("--episodes", type=int, default=512, help="held-out resets of an evaluation")
    args = parser.parse_args()
    for seed in args.seeds:
        for pixels in args.pixels:
            for kind in [kind for kind in KINDS if kind in args.kinds]:
                make(kind, pixels, seed, args.runs, args.episodes)
                write_table()


if __name__ == "__main__":
    main()
