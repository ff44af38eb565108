"""A comparison as JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...files import write, write_json
from ..evaluation.statistics import Interval, Seeded, plain
from .comparison import Comparison, ablation_effects
from .gaps import ALL, Cell, Decomposition, Gap
from .policies import STUDENTS
from .results import Entry


def save(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.csv and comparison.md."""
    write_json(folder / "comparison.json", plain(as_dict(comparison)))
    write(folder / "comparison.csv", as_csv(comparison))
    write(folder / "comparison.md", markdown(comparison))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """All figures, for JSON; curves stay in the runs' own metrics.csv."""
    return {
        "settings": comparison.settings,
        "policies": [describe(entry) for entry in comparison.entries],
        "gaps": comparison.gaps,
        "decompositions": comparison.decompositions,
        "gap_matrix": comparison.matrix,
        "ablations": comparison.ablations,
        "over_seeds": comparison.over_seeds,
        "extra_loss_of_the_state_chain": comparison.extra_losses(),
        "notes": comparison.notes,
    }


def as_csv(comparison: Comparison) -> str:
    """One row per policy; each figure with its bounds in columns of their own."""
    gaps = {gap.student: gap for gap in comparison.gaps}
    parts = {part.student: part for part in comparison.decompositions}
    return table_of([flat_row(entry, gaps.get(entry.name), parts.get(entry.name)) for entry in comparison.entries])


def describe(entry: Entry) -> dict[str, Any]:
    """One policy: where it comes from and the summary of its evaluation."""
    origin = {key: value for key, value in vars(entry.origin).items() if key != "metrics"}
    return {
        "name": entry.name,
        "role": entry.role,
        "sight": entry.sight,
        "teacher": entry.teacher,
        "driver": entry.driver,
        "summary": entry.summary,
        "training_seconds": entry.origin.seconds,
        **origin,
    }


def flat_row(entry: Entry, gap: Gap | None, parts: Decomposition | None) -> dict[str, Any]:
    """One policy in one row: each figure in three columns, its value and its bounds."""
    summary = entry.summary
    row: dict[str, Any] = {"policy": entry.name, "role": entry.role, "teacher": entry.teacher or ""}
    row |= {"seed": entry.origin.seed, "checkpoint": entry.origin.checkpoint, "episodes": summary["episodes"]}
    figures = _of_summary(summary)
    if gap is not None:
        figures |= _of_gap(gap)
    if parts is not None:
        figures |= {
            "optimisation_error": asdict(parts.optimisation),
            "observability_gap": asdict(parts.observability),
            "success_gap, optimisation": asdict(parts.success_optimisation),
            "success_gap, observability": asdict(parts.success_observability),
        }
    for effect in ablation_effects(entry):
        figures[f"success_at_end, {effect.kind}"] = asdict(effect.success)
        if effect.unexplained is not None:
            figures[f"unexplained_action_variance, {effect.kind}"] = asdict(effect.unexplained)
    for name, figure in figures.items():
        row |= {name: figure["value"], f"{name} (low)": figure["low"], f"{name} (high)": figure["high"]}
    return row | {"aborted": summary["aborted"], "training_seconds": entry.origin.seconds}


def _of_summary(summary: dict[str, Any]) -> dict[str, dict[str, float]]:
    figures = {key: summary[key] for key in ("success_at_end", "success_once", "return", "length")}
    for view, outcome in summary.get("by_view_at_reset", {}).items():
        figures[f"success_at_end, {view} at reset"] = outcome["success_at_end"]
    for kind, outcome in summary["by_object_kind"].items():
        figures[f"success_at_end, {kind}"] = outcome["success_at_end"]
    if "visibility" in summary:
        seen = summary["visibility"]
        figures |= {key: seen[key] for key in ("steps_in_view", "pixel_share")}
        figures |= {key: seen["looking"][key] for key in ("found", "steps_until_seen")}
    if "phases" in summary:
        phases = summary["phases"]
        figures |= {f"failed in {phase}": figure for phase, figure in phases["failures"].items()}
        figures["dropped"] = phases["dropped"]
    return figures


def _of_gap(gap: Gap) -> dict[str, dict[str, float]]:
    figures = {"success_gap": gap.success, "retention": gap.retention}
    figures |= {f"success_gap, part {view} at reset": part for view, part in gap.success_part_by_view.items()}
    if gap.unexplained is not None:
        figures["unexplained_action_variance"] = gap.unexplained
        for name, figure in {**gap.unexplained_by_view, **gap.unexplained_by_phase}.items():
            figures[f"unexplained_action_variance, {name}"] = figure
    for who, by_name in {"student_sigma": gap.student_sigma, "teacher_sigma": gap.teacher_sigma}.items():
        for name, figure in by_name.items():
            figures[who if name == ALL else f"{who}, {name}"] = figure
    return {name: asdict(figure) for name, figure in figures.items()}


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV; a column that a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown(comparison: Comparison) -> str:
    """The tables of a README: a row per policy, the gap matrix, the extra loss of the state chain, the ablations."""
    parts = [_policies(comparison), _matrix(comparison), _extra_losses(comparison), _ablations(comparison)]
    return "\n".join(part for part in parts if part)


def success_cells(entry: Entry) -> list[str]:
    """Success at end and once with intervals, then at end in and out of view."""
    views = entry.summary.get("by_view_at_reset", {})
    both = [str(Interval(**entry.summary[key])) for key in ("success_at_end", "success_once")]
    return both + [
        str(Interval(**views[v]["success_at_end"])) if v in views else "" for v in ("in view", "out of view")
    ]


def _policies(comparison: Comparison) -> str:
    head = ["policy", "success at end", "once", "in view at reset", "out of view", "gap to teacher", "retention"]
    gaps = {gap.student: gap for gap in comparison.gaps}
    rows = []
    for entry in comparison.entries:
        gap = gaps.get(entry.name)
        lost = [str(gap.success), str(gap.retention)] if gap else []
        rows.append([entry.name, *success_cells(entry), *lost])
    first = comparison.entries[0].summary
    note = (
        f"{first['episodes']} held-out resets, the same for every policy; 95 % intervals: Wilson for shares, "
        "paired bootstrap over episodes for gaps and retention."
    )
    return _table(head, rows, note)


def _matrix(comparison: Comparison) -> str:
    cells = [cell for row in comparison.matrix.values() for cell in row.values() if cell is not None]
    if not cells:
        return ""
    rows = [
        [teacher, *(_cell(cell) for cell in row.values())]
        for teacher, row in comparison.matrix.items()
        if any(cell is not None for cell in row.values())
    ]
    note = (
        "Gap matrix: success at end; unexplained action variance; observability gap. Means over training seeds, "
        "bootstrap over seeds and resets. A depth teacher's depth student is its control."
    )
    return _table(["teacher \\ student", *STUDENTS], rows, note)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    figures = (cell.success, cell.unexplained, cell.observability_gap)
    seeds = len(cell.chains)
    return "<br>".join(str(f.both) if f else "-" for f in figures) + (f"<br>{seeds} seeds" if seeds > 1 else "")


def _extra_losses(comparison: Comparison) -> str:
    rows = [
        [loss.depth_role, str(len(loss.chains)), str(loss.figure.both), _bounds(loss.figure)]
        for loss in comparison.extra_losses()
    ]
    note = (
        "Extra loss: success gap of the state teacher's stereo students minus that of the depth teacher's, paired by "
        "training seed and by reset."
    )
    head = ["against", "seeds", "bootstrap over seeds and resets", "Student's t over seeds"]
    return _table(head, rows, note) if rows else ""


def _bounds(figure: Seeded) -> str:
    return str(figure.seeds) if len(figure.each) > 1 else "one seed"


def _ablations(comparison: Comparison) -> str:
    rows = [
        [e.policy, e.kind, str(e.success), str(e.lost), str(e.unexplained) if e.unexplained else ""]
        for e in comparison.ablations
    ]
    head = ["policy", "images", "success at end", "lost by it", "unexplained action variance"]
    note = "Ablations: the same policies on the same resets with their images tampered with."
    return _table(head, rows, note) if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    lines += ["| " + " | ".join([*row, *[""] * (len(head) - len(row))]) + " |" for row in rows]
    return "\n".join([*lines, "", note, ""])
