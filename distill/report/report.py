"""One self-contained HTML file: figures, tables and films of a comparison, and what they do not show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...files import write
from . import page
from .comparison import Comparison
from .figures import colour, drawn, kinds_figure, learning_figure, success_figure, unexplained_figure, visibility_figure
from .film import DEPTH_RANGE, Film, contact_sheet, file_name
from .findings import headline, limits
from .gaps import Gap
from .page import DASH, cell, data_uri, number, row, share
from .results import Entry

SPEED = 0.5
"""Playing speed of the films in a report."""
POLICY_HEADS = (
    "policy", "success at end", "success once", "in view at reset", "out of view", "steps in view", "return", "lost",
)  # fmt: skip
GAP_HEADS = (
    "student", "teacher", "success gap", "in view at reset", "out of view", "retention", "unexplained variance",
)  # fmt: skip


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
    for name, content in pictures.items():
        write(folder / name, content)
    told = contents(comparison, pictures, films, path.parent / "videos")
    write(path, page.render("report.html.j2", told))
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
        "policies": policy_table(comparison),
        "gaps": gap_table(comparison),
        "seeds": seed_table(comparison),
        "figures": {Path(name).stem: data_uri(content, Path(name).suffix) for name, content in pictures.items()},
        "depth_near": f"{near / 1000:g}",
        "depth_far": f"{far / 1000:g}",
        "sheets": [
            {"name": sheet_name(name), "caption": _sheet_caption(name, film)}
            for name, film in students_of(films).items()
        ],
        "films": [_film(comparison.entry(name), film, videos) for name, film in films.items()],
        "limits": limits(comparison),
        "runs": run_table(comparison),
        "facts": machine_facts(comparison),
        "configs": [
            {"name": f"Configuration: {entry.name}", "text": json.dumps(entry.origin.config, indent=2)}
            for entry in comparison.entries
            if entry.origin.config
        ]
        + [{"name": "Settings of the evaluation", "text": json.dumps(comparison.settings, indent=2)}],
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


def students_of(films: Mapping[str, Film]) -> dict[str, Film]:
    """Those films in which a student acts."""
    return {name: film for name, film in films.items() if "→" in name}


def sheet_name(name: str) -> str:
    """Name of a contact sheet among the figures."""
    return f"sees-{file_name(name)}"


def policy_table(comparison: Comparison) -> dict[str, Any]:
    """How well each policy does, and how much it sees."""
    rows = [row(e.name, policy_cells(e), colour(comparison, e.role)) for e in comparison.entries]
    return page.table(POLICY_HEADS, rows)


def policy_cells(entry: Entry) -> list[dict[str, Any]]:
    """Cells of one row of the table of policies."""
    summary = entry.summary
    views, seen = summary.get("by_view_at_reset", {}), summary.get("visibility", {})
    return [
        share(summary["success_at_end"]),
        share(summary["success_once"]),
        *(share(views.get(view, {}).get("success_at_end")) for view in ("in view", "out of view")),
        share(seen.get("steps_in_view")),
        number(summary["return"]),
        cell(summary["aborted"]),
    ]


def gap_table(comparison: Comparison) -> dict[str, Any]:
    """What each student lost against its teacher."""
    roles = {entry.name: entry.role for entry in comparison.entries}
    rows = [row(gap.student, gap_cells(gap), colour(comparison, roles[gap.student])) for gap in comparison.gaps]
    return page.table(GAP_HEADS, rows)


def gap_cells(gap: Gap) -> list[dict[str, Any]]:
    """Cells of one row of the table of gaps."""
    by_view = [gap.success_by_view.get(view) for view in ("in view", "out of view")]
    figures = [gap.success, *by_view, gap.retention, gap.unexplained]
    return [cell(gap.teacher, text=True), *(number(figure, digits=3) for figure in figures)]


def seed_table(comparison: Comparison) -> dict[str, Any]:
    """Figures over seeds; no rows if every role has one seed."""
    rows = []
    for role, figures in comparison.over_seeds.items():
        cells = [number(figures.get(key), digits=3) for key in ("success_at_end", "success_gap", "retention")]
        rows.append(row(role, [cell(figures["seeds"]), *cells], colour(comparison, role)))
    several = any(figures["seeds"] > 1 for figures in comparison.over_seeds.values())
    return page.table(("role", "seeds", "success at end", "success gap", "retention"), rows if several else [])


def run_table(comparison: Comparison) -> dict[str, Any]:
    """What was run: one row per policy; peak memory only where it was logged."""
    memories = [_peak_memory(entry) for entry in comparison.entries]
    known = any(memory is not None for memory in memories)
    heads = ["policy", "seed", "training steps", "learning time", *(["peak memory"] * known), "commit", "checkpoint"]
    rows = []
    for entry, memory in zip(comparison.entries, memories, strict=True):
        peak = [cell(DASH if memory is None else f"{memory:.1f} GiB")] * known
        first, last = _run_cells(entry)
        rows.append(row(entry.name, [*first, *peak, *last], colour(comparison, entry.role)))
    return page.table(heads, rows)


def _peak_memory(entry: Entry) -> float | None:
    return max((metrics["memory_gib"] for metrics in entry.origin.metrics if "memory_gib" in metrics), default=None)


def _run_cells(entry: Entry) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cells before and after that of the memory."""
    origin = entry.origin
    steps = max((metrics["step"] for metrics in origin.metrics), default=None)
    git = origin.meta.get("git") or {}
    commit = git.get("commit", DASH)[:10] + (" + changes" if git.get("dirty") else "")
    return [
        cell(DASH if origin.seed is None else origin.seed),
        cell(DASH if steps is None else f"{steps / 1e6:.2f} M"),
        cell(DASH if origin.seconds is None else f"{origin.seconds / 60:.1f} min"),
    ], [
        cell(commit, text=True, code=True),
        cell(f"{Path(origin.checkpoint).name} {origin.digest[:8]}", text=True, code=True),
    ]


def machine_facts(comparison: Comparison) -> list[str]:
    """Sentences on the machine and the evaluation itself."""
    steps = sum(entry.evaluation.env_steps for entry in comparison.entries)
    seconds = sum(entry.evaluation.seconds for entry in comparison.entries)
    return [
        "Learning time: rollouts and gradient steps, without validations and start-up.",
        f"The evaluation took {steps:,} environment steps in {seconds:.0f} s, rendering included. Resets: "
        f"seed {comparison.settings.get('seed')}, {comparison.settings.get('num_envs')} worlds to a round, kind "
        f"{comparison.settings.get('reset_kind') or 'mixed'}.",
        *hardware_facts(comparison.settings.get("provenance", {})),
    ]


def hardware_facts(provenance: Mapping[str, Any]) -> list[str]:
    """Sentences on a process's machine and packages."""
    hardware, versions, facts = provenance.get("hardware", {}), provenance.get("versions", {}), []
    if hardware:
        accelerators = ", ".join(hardware.get("gpus", [])) or "none"
        facts.append(
            f"Machine: {hardware.get('cpu')}, {hardware.get('cores')} cores, {hardware.get('memory_gib')} GiB memory; "
            f"accelerators: {accelerators}."
        )
    if versions:
        facts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    return facts


def _sheet_caption(name: str, film: Film) -> str:
    outcome = film.caption(len(film.success) - 1, 0).replace("   ", ", ")
    return f"{name}: both eyes, and what a depth teacher would see. {outcome[0].upper()}{outcome[1:]}."


def _film(entry: Entry, film: Film, videos: Path) -> dict[str, str]:
    good, count = int((film.success[-1] & ~film.lost).sum()), film.success.shape[1]
    return {
        "caption": f"{entry.name}: resets 0 to {count - 1}, {good} of {count} end in success; played at {SPEED:g}x.",
        "data": data_uri((videos / f"{file_name(entry.role)}.mp4").read_bytes(), ".mp4"),
    }
