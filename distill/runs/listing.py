"""`handsight runs`: which runs there are, and what has become of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD

from ...errors import HandsightError
from ...files import is_owned, read_json
from ...ranges import Checked
from . import metrics
from .progress import Table, tell
from .run import CONFIG, META, METRICS, RunError, begun, named, runs_below


@dataclass(frozen=True)
class RunsArgs(Checked):
    """List the runs in a folder: what each trains, how far it is, how well it does."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Where they lie, those in a demo's or a study's folder too."""
    json: bool = False
    """Print a JSON list instead of a table."""


def list_runs(args: RunsArgs) -> list[dict[str, Any]]:
    """What `handsight runs` does; returns what it says of each run, the oldest first.

    Raises:
        RunError: there is no such folder.
    """
    if not args.folder.is_dir():
        raise RunError(f"{args.folder} does not exist: expected a folder of runs; trainings put theirs into runs/")
    found = [facts(run) for run in runs_below(args.folder)]
    if args.json:
        tell(json.dumps(found, indent=1))
        return found
    table = Table("run", box=SIMPLE_HEAD, caption=f"{len(found)} runs in {args.folder}")
    for head in ("began", "stage", "success", "state", "size"):
        table.add_column(head, no_wrap=True)
    for one in found:
        stage = f"{one['iteration']:,}/{one['iterations']:,}" if one["iterations"] else ""
        success = "" if one["success"] is None else f"{one['success']:.3f} {one['measured']}"
        size = f"{one['bytes'] / 2**20:,.1f} MiB"
        table.add_row(one["run"], one["began"][5:16].replace("T", " "), stage, success, one["state"], size)
    tell(table)
    return found


def facts(run: Path) -> dict[str, Any]:
    """JSON-able facts of a run: its folder, `name` (what is trained), `began`, iterations done and meant, `success` and
    where it was `measured` (held-out resets of an evaluation, a validation, or the training itself), its `state`
    (running, finished, stopped or damaged) and `bytes` on the disk."""
    config, rows, broken = {}, [], False
    try:
        config, rows = read_json(run / CONFIG)["config"], metrics.read(run / METRICS)
        read_json(run / META)
    except (HandsightError, OSError, LookupError, TypeError):
        broken = True
    newest = {name: value for row in rows for name, value in row.items()}
    iterations, iteration = config.get("iterations"), int(newest.get("iteration", 0))
    if broken:
        state = "damaged"
    elif iterations is None:  # a demo: what is in it trains
        parts = {facts(part)["state"] for part in runs_below(run) if part != run}
        state = next((one for one in ("running", "stopped", "damaged") if one in parts), "finished")
    else:
        state = "running" if is_owned(run) else "finished" if iteration >= iterations else "stopped"
    success, measured = _success(run, rows, newest)
    size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    return {
        "run": str(run), "name": named(run), "began": begun(run)[0], "iteration": iteration, "iterations": iterations,
        "success": success, "measured": measured, "state": state, "bytes": size,
    }  # fmt: skip


def _success(run: Path, rows: list[dict[str, float]], newest: Mapping[str, float]) -> tuple[float | None, str]:
    """Success at the end of an episode, by the best that is known of it: a share, and where it was measured."""
    for file in (run / "evaluation" / "evaluation.json", run / "evaluation.json"):
        with suppress(HandsightError, OSError, LookupError, TypeError):
            return float(read_json(file)["summary"]["success_at_end"]["value"]), "held-out"
    validated = [row["validation/success_at_end"] for row in rows if "validation/success_at_end" in row]
    if validated:
        return max(validated), "validation"
    return newest.get("success_at_end"), "training"
