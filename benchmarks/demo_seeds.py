"""What several seeds of the demo say together: `python benchmarks/demo_seeds.py`.

Reads comparison.json of benchmarks/results/demo*, one whole chain of teachers and students each, and writes
benchmarks/results/demo_seeds.md: means with Student's t-intervals over the seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handsight.distill.evaluation.statistics import Interval, t_interval

RESULTS = Path(__file__).parent / "results"
STATE, DEPTH = "state → stereo", "depth → stereo"
VIEWS = ("in view", "out of view")


def read(path: Path) -> dict[str, Any]:
    """A comparison's policies by role and gaps by student. A warm start is the same role under its older name, too."""
    found = json.loads(path.read_text())
    plain = lambda role: role.removesuffix(", warm start")  # noqa: E731
    return {
        "seed": found["policies"][0]["seed"],
        "policies": {plain(policy["role"]): policy["summary"] for policy in found["policies"]},
        "gaps": {plain(gap["student"]): gap for gap in found["gaps"]},
    }


def success(chains: list[dict[str, Any]], role: str) -> list[Interval]:
    """success_at_end over seeds: all resets, then by view at reset."""
    summaries = [chain["policies"][role] for chain in chains]
    outcomes = [summaries, *([summary["by_view_at_reset"][view] for summary in summaries] for view in VIEWS)]
    return [t_interval([outcome["success_at_end"]["value"] for outcome in group]) for group in outcomes]


def main() -> None:
    """Write the table."""
    chains = sorted((read(path) for path in RESULTS.glob("demo*/comparison.json")), key=lambda chain: chain["seed"])
    heads = ("policy", "success at end", *(f"{view} at reset" for view in VIEWS), "retention")
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for role in chains[0]["policies"]:
        name = f"{role}, warm start" if role.startswith("depth") else role
        of_gaps = [chain["gaps"][role]["retention"]["value"] for chain in chains if role in chain["gaps"]]
        cells = [name, *map(str, success(chains, role)), str(t_interval(of_gaps)) if of_gaps else ""]
        lines.append("| " + " | ".join(cells) + " |")
    lost = [chain["gaps"][STATE]["success"]["value"] - chain["gaps"][DEPTH]["success"]["value"] for chain in chains]
    seeds = ", ".join(str(chain["seed"]) for chain in chains)
    each = ", ".join(f"{value:.3f}" for value in lost)
    extra = f"Extra loss of the state chain (its student's loss minus the depth chain's): {t_interval(lost)}"
    lines += [
        "",
        f"Seeds {seeds}, each a whole chain of teacher and student; means with Student's t-intervals (95 %) over them.",
        "",
        f"{extra}; by seed {each}.",
        "",
    ]
    (RESULTS / "demo_seeds.md").write_text("\n".join(lines))
    print((RESULTS / "demo_seeds.md").read_text())


if __name__ == "__main__":
    main()
