"""What was measured of placements, to look at: memory and worlds by use of the devices, and what overlap costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from .curves import WIDTH

MIB, GIB = 2**20, 2**30
PROCESSES = {
    "together": ("simulates and learns", "#b5490f"),
    "learner": ("only learns", "#0a5a94"),
    "simulator": ("only simulates", "#009e73"),
}
"""Names and colours of the three kinds of process in `capacity.Costs`."""


def placement_figure(result: Mapping[str, Any]) -> Figure:
    """Memory of each kind of process against its worlds, and the worlds that fit by way of using the devices.

    result: what `capacity` returned or wrote.
    """
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    lines, bars = figure.subplots(1, 2)
    memory, splits = result["memory"], sorted(result["splits"], key=lambda split: split["simulators"])
    most = max(split["worlds"] for split in splits)
    worlds = np.linspace(0, most, 50)
    for name, (label, shade) in PROCESSES.items():
        line = result["costs_at_length"][name]
        lines.plot(worlds, (line["fixed"] + line["per_world"] * worlds) / GIB, color=shade, label=label)
    lines.axhline(memory / GIB, color="#1d1d1f", linewidth=0.9, linestyle="--")
    where = {"xytext": (-2, -3), "textcoords": "offset points", "ha": "right", "va": "top", "fontsize": 8}
    lines.annotate("memory of a device", (most, memory / GIB), **where)
    lines.set(
        title="Memory of one process", xlabel="its worlds", ylabel="GiB", xlim=(0, None), ylim=(0, 1.6 * memory / GIB)
    )
    lines.legend(loc="lower right", fontsize=8)
    names = [f"{s['simulators']} + {s['learners']}" if s["simulators"] else "together" for s in splits]
    shades = ["#b5490f" if not split["simulators"] else "#0a5a94" for split in splits]
    drawn = bars.bar(names, [split["worlds"] for split in splits], 0.6, color=shades)
    bars.margins(y=0.12)
    bars.bar_label(drawn, fmt="{:,.0f}", padding=2, fontsize=8)
    bars.set(title=f"Worlds that fit on {result['settings']['devices']} devices", xlabel="simulators + learners")
    return figure


def placement_table(results: Mapping[str, Any]) -> Table:
    """What remote simulators and overlap cost. results: of benchmarks/results/disaggregated.json."""
    step, overlap = results["overhead"], results["overlap"]
    here, there = (1000 * step["seconds_per_step"][where] for where in ("in_process", "remote"))
    transfer = 1000 * step["traffic"]["remote/seconds_transfer"]
    megabytes = step["traffic"]["remote/bytes_per_step"] / MIB
    table = Table("measured", "", title=f"{step['provenance']['hardware']['cpu']}, {_cores(step)} cores")
    worlds = f"{step['simulators']} x {step['worlds_each']} worlds, {step['pixels']} x {step['pixels']} depth"
    table.add_row(f"step in one process ({worlds})", f"{here:.0f} ms")
    table.add_row("the same worlds in simulators of their own", f"{there:.0f} ms ({there / here - 1:+.0%})")
    table.add_row("of it, moving observations", f"{transfer:.1f} ms for {megabytes:.1f} MiB")
    table.add_row("iteration of PPO in turns", f"{overlap['in_turns']['iteration']:.1f} s")
    table.add_row("with one update of lag", f"{overlap['lag']['iteration']:.1f} s")
    return table


def _cores(part: Mapping[str, Any]) -> int:
    return part["provenance"]["hardware"]["cores"]
