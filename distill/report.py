"""One self-contained HTML file: figures, tables and films of a comparison, and what they do not show."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from .chains import Gap
from .comparison import Comparison
from .entry import Entry
from .figures import (
    colour,
    drawn,
    kinds_figure,
    learning_figure,
    success_figure,
    unexplained_figure,
    visibility_figure,
)
from .findings import headline, limits
from .intervals import Interval
from .video import DEPTH_RANGE, Film, contact_sheet, file_name

DASH = "\N{EN DASH}"
SPEED = 0.5
"""Playing speed of the films in a report."""


def write_report(comparison: Comparison, path: Path, films: Mapping[str, Film] | None = None) -> Path:
    """Write report.html, and its pictures once more in the folder figures/ beside it.

    Args:
        comparison: what it tells.
        path: of the file; the films' mp4 are expected in the folder videos/ beside it.
        films: by name of the entry; a contact sheet is drawn of each student's.
    """
    films = films or {}
    pictures = draw(comparison, films)
    folder = path.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    text = resources.files(__spec__.parent).joinpath("report.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text)
    path.write_text(template.render(**contents(comparison, pictures, films, path.parent / "videos")), encoding="utf-8")
    return path


def contents(
    comparison: Comparison, pictures: Mapping[str, bytes], films: Mapping[str, Film], videos: Path
) -> dict[str, Any]:
    """Everything that the template shows."""
    near, far = DEPTH_RANGE
    started = comparison.settings.get("provenance", {}).get("started", "")
    return {
        "title": "What the students lose",
        "eyebrow": f"Handsight · comparison of {len(comparison.entries)} policies · {started[:10]}".strip(" ·"),
        "headline": headline(comparison),
        "episodes": len(comparison.entries[0].evaluation.length),
        "policies": [_row(comparison, entry, policy_cells(entry)) for entry in comparison.entries],
        "gaps": [
            _row(comparison, comparison.entry(gap.student), gap_cells(gap)) | {"teacher": gap.teacher}
            for gap in comparison.gaps
        ],
        "seeds": seed_rows(comparison),
        "figures": {Path(name).stem: data_uri(content, Path(name).suffix) for name, content in pictures.items()},
        "depth_near": f"{near / 1000:g}",
        "depth_far": f"{far / 1000:g}",
        "sheets": [
            {"name": sheet_name(name), "caption": _sheet_caption(name, film)}
            for name, film in students_of(films).items()
        ],
        "films": [_film(comparison.entry(name), film, videos) for name, film in films.items()],
        "limits": limits(comparison),
        "runs": [run_row(comparison, entry) for entry in comparison.entries],
        "facts": machine_facts(comparison),
        "configs": [
            {"name": f"Configuration: {entry.name}", "text": json.dumps(entry.origin.config, indent=2)}
            for entry in comparison.entries
            if entry.origin.config
        ]
        + [{"name": "Settings of the evaluation", "text": json.dumps(comparison.settings, indent=2)}],
        "memory_known": any("memory_gib" in row for entry in comparison.entries for row in entry.origin.metrics),
        "footer": "Written by Handsight. The figures stand in comparison.json and comparison.csv beside this file.",
    }


def draw(comparison: Comparison, films: Mapping[str, Film]) -> dict[str, bytes]:
    """File names and contents of those figures for which there are data, and of the students' contact sheets."""
    figures = {"success": success_figure, "kinds": kinds_figure}
    if any(gap.unexplained for gap in comparison.gaps):
        figures["unexplained"] = unexplained_figure
    if any(entry.origin.metrics for entry in comparison.entries):
        figures["learning"] = learning_figure
    if all(entry.evaluation.seen for entry in comparison.entries):
        figures["visibility"] = visibility_figure
    sheets = {
        f"{sheet_name(name)}.png": drawn(partial(contact_sheet, film), "png")
        for name, film in students_of(films).items()
    }
    return {f"{name}.svg": drawn(partial(figure, comparison)) for name, figure in figures.items()} | sheets


def data_uri(content: bytes, suffix: str) -> str:
    """A file as an address that needs no file. suffix: ".svg", ".png" or ".mp4"."""
    mime = {".svg": "image/svg+xml", ".png": "image/png", ".mp4": "video/mp4"}[suffix]
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def students_of(films: Mapping[str, Film]) -> dict[str, Film]:
    """Those films in which a student acts."""
    return {name: film for name, film in films.items() if "→" in name}


def sheet_name(name: str) -> str:
    """Name of a contact sheet among the figures."""
    return f"sees-{file_name(name)}"


def policy_cells(entry: Entry) -> list[dict[str, str]]:
    """Cells of one row of the table of policies."""
    summary = entry.summary
    views, seen = summary.get("by_view_at_reset", {}), summary.get("visibility", {})
    in_view = [
        _share(views[view]["success_at_end"]) if view in views else _cell(DASH) for view in ("in view", "out of view")
    ]
    return [
        _share(summary["success_at_end"]),
        _share(summary["success_once"]),
        *in_view,
        _share(seen["steps_in_view"]) if seen else _cell(DASH),
        _number(summary["return"]),
        _cell(str(summary["aborted"])),
    ]


def gap_cells(gap: Gap) -> list[dict[str, str]]:
    """Cells of one row of the table of gaps."""
    by_view = [gap.success_by_view.get(view) for view in ("in view", "out of view")]
    figures = [gap.success, *by_view, gap.retention, gap.unexplained]
    return [_number(vars(figure), digits=3) if figure else _cell(DASH) for figure in figures]


def seed_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows of the table over seeds; none if every role has one seed."""
    rows = []
    for role, figures in comparison.over_seeds.items():
        cells = [
            _number(vars(figures[key]), digits=3) if key in figures else _cell(DASH)
            for key in ("success_at_end", "success_gap", "retention")
        ]
        rows.append({"name": role, "colour": colour(comparison, role), "seeds": figures["seeds"], "cells": cells})
    return rows if any(row["seeds"] > 1 for row in rows) else []


def run_row(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    """One row of what was run."""
    origin = entry.origin
    steps = max((row["step"] for row in origin.metrics), default=None)
    memory = max((row["memory_gib"] for row in origin.metrics if "memory_gib" in row), default=None)
    git = origin.meta.get("git") or {}
    return {
        "name": entry.name,
        "colour": colour(comparison, entry.role),
        "seed": DASH if origin.seed is None else origin.seed,
        "steps": DASH if steps is None else f"{steps / 1e6:.2f} M",
        "wall": DASH if origin.seconds is None else f"{origin.seconds / 60:.1f} min",
        "memory": DASH if memory is None else f"{memory:.1f} GiB",
        "commit": git.get("commit", DASH)[:10] + (" + changes" if git.get("dirty") else ""),
        "checkpoint": f"{Path(origin.checkpoint).name} {origin.digest[:8]}",
    }


def machine_facts(comparison: Comparison) -> list[str]:
    """Sentences on the machine and the evaluation itself."""
    provenance = comparison.settings.get("provenance", {})
    hardware, versions = provenance.get("hardware", {}), provenance.get("versions", {})
    steps = sum(entry.evaluation.env_steps for entry in comparison.entries)
    seconds = sum(entry.evaluation.seconds for entry in comparison.entries)
    facts = [
        "Learning time: rollouts and gradient steps, without validations and start-up.",
        f"The evaluation took {steps:,} environment steps in {seconds:.0f} s, rendering included. Resets: "
        f"seed {comparison.settings.get('seed')}, {comparison.settings.get('num_envs')} worlds to a round, kind "
        f"{comparison.settings.get('reset_kind') or 'mixed'}.",
    ]
    if hardware:
        accelerators = ", ".join(hardware.get("gpus", [])) or "none"
        facts.append(
            f"Machine: {hardware.get('cpu')}, {hardware.get('cores')} cores, {hardware.get('memory_gib')} GiB memory; "
            f"accelerators: {accelerators}."
        )
    if versions:
        facts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    return facts


def _row(comparison: Comparison, entry: Entry, cells: Sequence[dict[str, str]]) -> dict[str, Any]:
    return {"name": entry.name, "colour": colour(comparison, entry.role), "cells": cells}


def _cell(value: str, bounds: str = "") -> dict[str, str]:
    return {"value": value, "bounds": bounds}


def _share(figure: Mapping[str, float]) -> dict[str, str]:
    """A share in per cent with its interval."""
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return _cell(f"{value:.1f} %", f"{low:.1f} {DASH} {high:.1f}") if value == value else _cell(DASH)


def _number(figure: Mapping[str, float], digits: int = 2) -> dict[str, str]:
    interval = Interval(figure["value"], figure["low"], figure["high"])
    if interval.value != interval.value:
        return _cell(DASH)
    bounds = f"{interval.low:.{digits}f} {DASH} {interval.high:.{digits}f}" if interval.low == interval.low else ""
    return _cell(f"{interval.value:.{digits}f}", bounds)


def _sheet_caption(name: str, film: Film) -> str:
    outcome = film.caption(len(film.success) - 1, 0).replace("   ", ", ")
    return f"{name}: both eyes, and what a depth teacher would see. {outcome[0].upper()}{outcome[1:]}."


def _film(entry: Entry, film: Film, videos: Path) -> dict[str, str]:
    good, count = int((film.success[-1] & ~film.lost).sum()), film.success.shape[1]
    return {
        "caption": f"{entry.name}: resets 0 to {count - 1}, {good} of {count} end in success; played at {SPEED:g}x.",
        "data": data_uri((videos / f"{file_name(entry.role)}.mp4").read_bytes(), ".mp4"),
    }
