"""How many worlds fit on G devices, when each simulates and learns, and when some simulate for the others."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ...errors import HandsightError
from ...files import explained, read_json, write_json
from ..report.style import WIDTH
from ..runs.progress import Table, stage, tell
from ..runs.provenance import provenance
from ..training.memory import row_bytes
from .arguments import CapacityArgs
from .footprint import MINIBATCHES, ROLLOUT_STEPS, Footprint, FootprintConfig, Measured, measure, teacher

GIB = 2**30
MODES = ("together", "split")


@dataclass(frozen=True)
class Line:
    """bytes(N) = fixed + per_world * N."""

    fixed: float
    per_world: float

    def most(self, memory: float) -> float:
        """Worlds that fit into so many bytes."""
        return max(0.0, (memory - self.fixed) / self.per_world)


Costs = Mapping[str, Line]
"""Memory of the processes that simulate and learn ("together"), only learn ("learner"), only simulate ("simulator")."""


class Split(NamedTuple):
    """One way of using the devices."""

    simulators: int
    """Devices that only simulate; 0: data parallelism, where all do both."""
    learners: int
    """How many devices learn."""
    worlds: int
    """That fit in all."""
    limit: str
    """What is full first."""


def capacity(args: CapacityArgs) -> dict[str, Any]:
    """What `handsight capacity` does: measure, print a table, write JSON.

    Raises:
        HandsightError: a measurement failed, or `measured` is no file that an earlier run wrote.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    room = args.memory_gib * GIB if args.memory_gib else machine / args.devices
    measured: dict[str, list[Footprint]] = {}
    if args.measured:
        args, measured = _earlier(args, args.measured)
    what = {one.name: getattr(args, one.name) for one in fields(Measured)}
    base = FootprintConfig(**what)
    jobs = 4 * (not measured) + 2 * args.check
    with stage("capacity", jobs, "measurements") as progress:
        measured = measured or {mode: _measure(args, replace(base, mode=mode), progress.advance) for mode in MODES}
        costs = fit(args.samples, measured["together"], measured["split"])
        checks = _check(args, base, costs, progress.advance) if args.check else {}
    training = teacher(base)
    row = row_bytes(training.env, training.policy.train_keys)
    splits = best_first(lambda learners: at_length(costs, args, row, learners), args.devices, room)
    shown = at_length(costs, args, row) | {"together": at_length(costs, args, row, args.devices)["together"]}
    _show(args, room, shown, splits, checks)
    result = {
        "settings": asdict(args) | {"out": None, "measured": None}, "memory": room, "row_bytes": row,
        "measured": {mode: [asdict(one) for one in found] for mode, found in measured.items()},
        "costs": _plain(costs), "costs_at_length": _plain(shown), "splits": [split._asdict() for split in splits],
        "check": checks, "provenance": provenance(),
    }  # fmt: skip
    if args.out:
        write_json(args.out, result, default=str)
    return result


def _plain(costs: Costs) -> dict[str, Any]:
    return {name: asdict(line) for name, line in costs.items()}


def _measure(args: CapacityArgs, config: FootprintConfig, advance: Callable[[], None]) -> list[Footprint]:
    """One mode at both numbers of worlds."""
    found = []
    for worlds in args.samples:
        one = measure(replace(config, num_envs=worlds))
        assert one is not None
        found.append(one)
        advance()
    return found


def _earlier(args: CapacityArgs, file: Path) -> tuple[CapacityArgs, dict[str, list[Footprint]]]:
    """What an earlier run measured, and the arguments with which a table of it makes sense."""
    if not file.is_file():
        raise HandsightError(f"capacity: no measurements in {file}; expected a JSON file that an earlier --out wrote")
    with explained(file):
        found = read_json(file)
        same = {one.name: found["settings"].get(one.name) for one in fields(Measured)}
        measured = {mode: [Footprint(**one) for one in ones] for mode, ones in found["measured"].items()}
        return replace(args, samples=tuple(found["settings"]["samples"]), **same), measured


def fit(samples: tuple[int, int], together: list[Footprint], split: list[Footprint]) -> Costs:
    """The lines through two measurements each."""
    few, many = samples

    def line(at_few: int, at_many: int) -> Line:
        per_world = (at_many - at_few) / (many - few)
        return Line(at_few - per_world * few, per_world)

    return {
        "together": line(*(one.learner for one in together)),
        "learner": line(*(one.learner for one in split)),
        "simulator": line(*(one.simulator for one in split)),
    }


def at_length(costs: Costs, args: CapacityArgs, row: int, learners: int = 1) -> dict[str, Line]:
    """The costs for T steps instead of the measured ones: the buffer grows by `row` bytes a step, and the activations
    of a minibatch with the rows in it, unless these are fixed, for each learner or for all `learners`."""
    more_rows = (args.rollout_steps - ROLLOUT_STEPS) * row
    activations = max(0.0, costs["learner"].per_world - ROLLOUT_STEPS * row)
    """Per world: those of a minibatch of rollout_steps / minibatches rows of each, and what gathers observations."""
    fixed, each = 0.0, activations * (args.rollout_steps / ROLLOUT_STEPS - 1)
    if args.minibatch_rows is not None:
        rows = args.minibatch_rows / (learners if args.rows_of == "training" else 1)
        fixed, each = activations * MINIBATCHES / ROLLOUT_STEPS * rows, -activations
    return {
        name: line if name == "simulator" else Line(line.fixed + fixed, line.per_world + more_rows + each)
        for name, line in costs.items()
    }


def best_first(costs_of: Callable[[int], Costs], devices: int, memory: float) -> list[Split]:
    """Every way of using the devices, the one with the most worlds first. costs_of: by the number of learners."""
    together = math.floor(costs_of(devices)["together"].most(memory))
    ways = [Split(0, devices, devices * together, "simulation and learning together")]
    for simulators in range(1, devices):
        learners = devices - simulators
        costs = costs_of(learners)
        simulated = simulators * math.floor(costs["simulator"].most(memory))
        learnt = learners * math.floor(costs["learner"].most(memory))
        limit = "simulators" if simulated < learnt else "learners"
        ways.append(Split(simulators, learners, min(simulated, learnt), limit))
    return sorted(ways, key=lambda way: -way.worlds)


def largest(config: FootprintConfig, guess: int, tolerance: float = 0.03) -> int:
    """Most worlds that really run under the cap, by bisection, to within a share `tolerance`."""
    low, high, trial = 0, 0, max(2, guess)
    while not high or high - low > max(1.0, tolerance * high):
        if measure(replace(config, num_envs=trial)) is not None:
            low = trial
            trial = (low + high) // 2 if high else math.ceil(low * 1.15)
        else:
            high = trial
            trial = (low + high) // 2 if low else math.floor(high * 0.85)
        if trial < 2:
            return low
    return low


def _check(args: CapacityArgs, base: FootprintConfig, costs: Costs, advance: Callable[[], None]) -> dict[str, Any]:
    """The real maxima beside the predicted ones."""
    cap, found = int(args.check_cap_gib * GIB), {}
    for mode, processes in zip(MODES, (["together"], ["learner", "simulator"]), strict=True):
        worlds = min(costs[process].most(cap) for process in processes)
        real = largest(replace(base, mode=mode, cap=cap), math.floor(worlds))
        error = worlds / real - 1 if real else math.inf
        found[mode] = {"cap": cap, "predicted": math.floor(worlds), "found": real, "error": error}
        advance()
    return found


def _batch(args: CapacityArgs) -> str:
    if args.minibatch_rows is None:
        return "minibatches of T N / 4 rows"
    whose = "each learner" if args.rows_of == "learner" else "the training"
    return f"minibatches of {args.minibatch_rows:,} rows of {whose}"


def _show(args: CapacityArgs, memory: float, costs: Costs, splits: list[Split], checks: dict[str, Any]) -> None:
    base = next(way.worlds for way in splits if way.simulators == 0)
    image = f"{args.width} x {args.height}" if args.sight == "depth" else "no image"
    lines = Table(
        "process",
        "fixed, MiB",
        "per world, KiB",
        title=f"{args.sight}, {image}, T = {args.rollout_steps}, {_batch(args)}",
    )
    for name, line in costs.items():
        lines.add_row(name, f"{line.fixed / 2**20:,.0f}", f"{line.per_world / 2**10:,.0f}")
    table = Table("simulators + learners", "worlds", "of data parallelism", "full first",
                  title=f"{args.devices} devices of {memory / GIB:.1f} GiB")  # fmt: skip
    for way in splits:
        name = f"{way.simulators} + {way.learners}" if way.simulators else "data parallelism"
        table.add_row(name, f"{way.worlds:,}", f"{way.worlds / base:.2f}" if base else "-", way.limit)
    tell(lines, table)
    for mode, check in checks.items():
        tell(f"check, {mode}: predicted {check['predicted']}, found {check['found']} ({check['error']:+.0%})")


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
    megabytes = step["traffic"]["remote/bytes_per_step"] / 2**20
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
