"""How many worlds fit on G devices, when each simulates and learns, and when some simulate for the others."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from ...errors import HandsightError
from ...files import explained, read_json, write_json
from ..report.style import WIDTH
from ..runs.progress import stage
from ..runs.provenance import provenance
from .footprint import Footprint, FootprintConfig, measure

GIB = 2**30


@dataclass(frozen=True)
class CapacityArgs:
    """Measure the memory of a world, and print how many of them fit on several devices."""

    devices: int = 4
    """G: devices, of a CPU: processes with a memory of their own."""
    memory_gib: float | None = None
    """M: memory of each, GiB; None: an equal share of this machine's."""
    sight: Literal["state", "depth"] = "depth"
    """What the teacher sees."""
    height: int = 120
    """Height of an image, pixels."""
    width: int = 160
    """Width of an image, pixels."""
    rollout_steps: int = 16
    """T of the training that the table is for."""
    minibatch_rows: int | None = None
    """Rows of a minibatch, whatever the number of worlds; None: the T * N / 4 that the trainings here take."""
    rows_of: Literal["learner", "training"] = "learner"
    """Whether each learner has `minibatch_rows`, or all of them share these."""
    samples: tuple[int, int] = (32, 160)
    """Numbers of worlds at which memory is measured."""
    device: str = "cpu"
    """What is measured: "cpu" or, with nothing else on it, "cuda:0"."""
    measured: Path | None = None
    """JSON file of an earlier run: its measurements are taken, and none are made."""
    check: bool = False
    """Also find the real maximum of both modes by bisection under `check_cap_gib`, at T = 4, and compare."""
    check_cap_gib: float = 2.5
    """Memory of each process in the check, GiB."""
    out: Path | None = None
    """JSON file for all figures."""


@dataclass(frozen=True)
class Line:
    """bytes(N) = fixed + per_world * N."""

    fixed: float
    per_world: float

    def most(self, memory: float) -> float:
        """Worlds that fit into so many bytes."""
        return max(0.0, (memory - self.fixed) / self.per_world)


@dataclass(frozen=True)
class Costs:
    """Memory of the three kinds of process, in bytes, at the rollout length that was measured."""

    together: Line
    """The process that simulates and learns."""
    learner: Line
    """The process that only learns."""
    simulator: Line
    """The process that only simulates."""


@dataclass(frozen=True)
class Split:
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
    memory = args.memory_gib * GIB if args.memory_gib else _machine() / args.devices
    earlier = None
    if args.measured:
        args, earlier = _earlier(args, args.measured)
    base = FootprintConfig("split", 0, args.sight, args.height, args.width, device=args.device)
    jobs = 4 * (earlier is None) + 2 * args.check
    with stage("capacity", jobs, "measurements") as progress:
        measured = earlier or _measure(args, base, progress.advance)
        costs = fit(args.samples, measured["together"], measured["split"])
        checks = _check(args, base, costs, progress.advance) if args.check else {}
    row = row_bytes(base)
    costs_of = partial(at_length, costs, base, args, row)
    splits = best_first(costs_of, args.devices, memory)
    facts = replace(costs_of(), together=costs_of(args.devices).together)
    _show(args, memory, facts, splits, checks)
    result = {
        "settings": asdict(args) | {"out": None, "measured": None}, "memory": memory, "row_bytes": row,
        "measured": {mode: [asdict(one) for one in found] for mode, found in measured.items()},
        "costs": asdict(costs), "costs_at_length": asdict(facts), "splits": [asdict(split) for split in splits],
        "check": checks, "provenance": provenance(),
    }  # fmt: skip
    if args.out:
        write_json(args.out, result, default=str)
    return result


def _measure(args: CapacityArgs, base: FootprintConfig, advance: Any) -> dict[str, list[Footprint]]:
    """Both modes at both numbers of worlds."""
    measured: dict[str, list[Footprint]] = {"together": [], "split": []}
    for mode, found in measured.items():
        for worlds in args.samples:
            one = measure(replace(base, mode=mode, num_envs=worlds))  # type: ignore[arg-type]
            assert one is not None
            found.append(one)
            advance()
    return measured


def _earlier(args: CapacityArgs, file: Path) -> tuple[CapacityArgs, dict[str, list[Footprint]]]:
    """What an earlier run measured, and the arguments with which a table of it makes sense."""
    if not file.is_file():
        raise HandsightError(f"capacity: no measurements in {file}; expected a JSON file that an earlier --out wrote")
    with explained(file):
        found = read_json(file)
        same = {name: found["settings"][name] for name in ("sight", "height", "width", "device")}
        measured = {mode: [Footprint(**one) for one in ones] for mode, ones in found["measured"].items()}
        return replace(args, samples=tuple(found["settings"]["samples"]), **same), measured


def fit(samples: tuple[int, int], together: list[Footprint], split: list[Footprint]) -> Costs:
    """The lines through two measurements each."""
    few, many = samples

    def line(at_few: int, at_many: int) -> Line:
        per_world = (at_many - at_few) / (many - few)
        return Line(at_few - per_world * few, per_world)

    return Costs(
        line(together[0].learner, together[1].learner),
        line(split[0].learner, split[1].learner),
        line(split[0].simulator, split[1].simulator),
    )


def row_bytes(config: FootprintConfig) -> int:
    """Bytes of one world's step in the rollout buffer."""
    from ..training.memory import row_bytes as of_policy
    from .footprint import teacher

    training = teacher(replace(config, num_envs=1))
    return of_policy(training.env, training.policy.train_keys)


def at_length(costs: Costs, base: FootprintConfig, args: CapacityArgs, row: int, learners: int = 1) -> Costs:
    """The costs for T steps instead of the measured ones: the buffer grows by `row` bytes a step, and the activations
    of a minibatch with the rows in it, unless these are fixed, for each learner or for all `learners`."""
    more_rows = (args.rollout_steps - base.rollout_steps) * row
    activations = max(0.0, costs.learner.per_world - base.rollout_steps * row)
    """Per world: those of a minibatch of rollout_steps / minibatches rows of each, and what gathers observations."""
    longer = args.rollout_steps / base.rollout_steps
    per_row = activations * base.minibatches / base.rollout_steps

    def learner(line: Line) -> Line:
        if args.minibatch_rows is None:
            return Line(line.fixed, line.per_world + more_rows + activations * (longer - 1))
        rows = args.minibatch_rows / (learners if args.rows_of == "training" else 1)
        return Line(line.fixed + per_row * rows, line.per_world + more_rows - activations)

    return Costs(learner(costs.together), learner(costs.learner), costs.simulator)


def best_first(costs_of: Callable[[int], Costs], devices: int, memory: float) -> list[Split]:
    """Every way of using the devices, the one with the most worlds first. costs_of: by the number of learners."""
    together = math.floor(costs_of(devices).together.most(memory))
    ways = [Split(0, devices, devices * together, "simulation and learning together")]
    for simulators in range(1, devices):
        learners = devices - simulators
        costs = costs_of(learners)
        simulated = simulators * math.floor(costs.simulator.most(memory))
        learnt = learners * math.floor(costs.learner.most(memory))
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


def _check(args: CapacityArgs, base: FootprintConfig, costs: Costs, advance: Any) -> dict[str, Any]:
    """The real maxima beside the predicted ones."""
    cap = int(args.check_cap_gib * GIB)
    predicted = {
        "together": costs.together.most(cap),
        "split": min(costs.learner.most(cap), costs.simulator.most(cap)),
    }
    found = {}
    for mode, worlds in predicted.items():
        real = largest(replace(base, mode=mode, cap=cap), math.floor(worlds))  # type: ignore[arg-type]
        error = worlds / real - 1 if real else math.inf
        found[mode] = {"cap": cap, "predicted": math.floor(worlds), "found": real, "error": error}
        advance()
    return found


def _batch(args: CapacityArgs) -> str:
    if args.minibatch_rows is None:
        return "minibatches of T N / 4 rows"
    whose = "each learner" if args.rows_of == "learner" else "the training"
    return f"minibatches of {args.minibatch_rows:,} rows of {whose}"


def _machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _show(args: CapacityArgs, memory: float, costs: Costs, splits: list[Split], checks: dict[str, Any]) -> None:
    console, base = Console(), next(way.worlds for way in splits if way.simulators == 0)
    image = f"{args.width} x {args.height}" if args.sight == "depth" else "no image"
    lines = Table(
        "process",
        "fixed, MiB",
        "per world, KiB",
        title=f"{args.sight}, {image}, T = {args.rollout_steps}, {_batch(args)}",
    )
    for name, line in asdict(costs).items():
        lines.add_row(name, f"{line['fixed'] / 2**20:,.0f}", f"{line['per_world'] / 2**10:,.0f}")
    console.print(lines)
    table = Table("simulators + learners", "worlds", "of data parallelism", "full first",
                  title=f"{args.devices} devices of {memory / GIB:.1f} GiB")  # fmt: skip
    for way in splits:
        name = f"{way.simulators} + {way.learners}" if way.simulators else "data parallelism"
        table.add_row(name, f"{way.worlds:,}", f"{way.worlds / base:.2f}" if base else "-", way.limit)
    console.print(table)
    for mode, check in checks.items():
        console.print(f"check, {mode}: predicted {check['predicted']}, found {check['found']} ({check['error']:+.0%})")


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
