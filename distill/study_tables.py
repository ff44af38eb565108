"""The tables of a study's report, and the whole of it as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import page
from .comparison import Comparison
from .entry import Entry
from .figures import colour
from .intervals import Interval, t_interval, wilson
from .over_seeds import Seeded
from .page import DASH, cell, number, row, share
from .roles import STUDENTS, TEACHERS
from .strata import IN_VIEW, OUT_OF_VIEW
from .study_findings import CLAIM, over_chains, study_limits, verdicts
from .study_results import Study

ROLE_HEADS = (
    "policy", "seeds", "success at end", "in view at reset", "out of view", "steps in view", "success gap", "retention",
)  # fmt: skip


def role_table(comparison: Comparison) -> dict[str, Any]:
    """One row for each kind of policy: over resets if it has one seed, else the mean with Student's t over seeds."""
    rows = []
    for role in comparison.roles:
        entries, figures = comparison.of_role(role), comparison.over_seeds[role]
        names = ("success_gap", "retention") if len(entries) > 1 else ("success_gap_bootstrap", "retention_bootstrap")
        shares = (_over(entries, None), _over(entries, IN_VIEW), _over(entries, OUT_OF_VIEW), _steps_in_view(entries))
        measured = [*map(share, shares), *(number(figures.get(name), digits=3) for name in names)]
        if len(entries) == 2:
            measured = [one | {"bounds": ""} for one in measured]  # two seeds give a t-interval that hides everything
        cells = [cell(len(entries)), *measured]
        rows.append(row(role, cells, colour(comparison, role)))
    return page.table(ROLE_HEADS, rows)


def _over(entries: Sequence[Entry], view: str | None) -> Interval | None:
    """success_at_end among all resets, or those with this view at the beginning."""
    each = []
    for entry in entries:
        if view and not entry.evaluation.seen:
            return None
        seen = entry.evaluation.in_view_at_reset
        chosen = slice(None) if view is None else seen if view == IN_VIEW else ~seen
        each.append(wilson(entry.evaluation.success_at_end[chosen]))
    return each[0] if len(each) == 1 else t_interval([figure.value for figure in each])


def _steps_in_view(entries: Sequence[Entry]) -> Interval | None:
    if not all(entry.evaluation.seen for entry in entries):
        return None
    each = [Interval(**entry.summary["visibility"]["steps_in_view"]) for entry in entries]
    return each[0] if len(each) == 1 else t_interval([figure.value for figure in each])


def match_table(study: Study) -> dict[str, Any]:
    """How the stronger teacher of a seed was brought down to the weaker one."""
    rows = [
        row(f"{m.scene}, seed {m.seed}", [
            cell(m.stronger, text=True),
            cell(f"{m.stronger_success:.3f}"),
            cell(m.weaker, text=True),
            cell(f"{m.weaker_success:.3f}"),
            cell(m.chosen.removesuffix(".ckpt"), text=True, code=True),
            cell(f"{m.candidates[m.chosen]:.3f}"),
        ])
        for m in study.matches
    ]  # fmt: skip
    heads = ("scene", "stronger teacher", "at its best", "weaker teacher", "success", "checkpoint taken", "success")
    return page.table(heads, rows)


def cell_table(study: Study) -> dict[str, Any]:
    """What every kind of cell cost, and whether it had come to rest when its budget ended."""
    kinds, rows = dict.fromkeys((c.scene, c.cell) for c in study.cells), []
    for scene, kind in kinds:
        found = [c for c in study.cells if (c.scene, c.cell) == (scene, kind)]
        done = [c for c in found if c.state == "finished"]
        flat = [c.flatness for c in done if c.flatness is not None]
        gains = t_interval([f.gain.value for f in flat]) if len(flat) > 1 else flat[0].gain if flat else None
        cells = [
            cell(f"{len(done)} of {len(found)}"),
            cell(f"{sum(c.steps for c in found) / 1e6:.2f} M"),
            cell(f"{sum(c.seconds for c in found) / 60:.0f} min"),
            number(gains, digits=3),
            cell(f"{sum(f.flat for f in flat)} of {len(flat)}" if flat else DASH),
        ]
        rows.append(row(f"{scene}: {kind}", cells))
    return page.table(("trainings", "finished", "steps", "learning time", "gain in a third more", "flat"), rows)


def cost_sentence(study: Study) -> str:
    """What all of it took."""
    cost = study.cost
    return (
        f"{cost['trainings']} trainings learnt from {cost['training_steps'] / 1e6:.1f} million environment steps in "
        f"{cost['training_seconds'] / 3600:.1f} hours of single processes; {cost['evaluations']} evaluations took "
        f"{cost['evaluation_steps'] / 1e6:.1f} million steps and {cost['evaluation_seconds'] / 3600:.1f} hours. "
        "Several ran side by side, so the whole took less."
    )


def study_dict(study: Study) -> dict[str, Any]:
    """Every figure of the report, for JSON (through `intervals.plain`)."""
    return {
        "claim": CLAIM,
        "verdicts": [
            {"scene": v.scene, "depth_students": v.loss.depth_role, "verdict": v.word, "sentence": v.sentence,
             "extra_loss": v.loss.figure, "chains": v.loss.chains}
            for v in verdicts(study)
        ],
        "scenes": {scene: _scene_dict(comparison) for scene, comparison in study.comparisons.items()},
        "matches": study.matches,
        "cells": study.cells,
        "cost": study.cost,
        "limits": study_limits(study),
        "spec": study.spec,
        "provenance": study.provenance,
    }  # fmt: skip


def _scene_dict(comparison: Comparison) -> dict[str, Any]:
    return {
        "over_seeds": comparison.over_seeds,
        "matrix": comparison.matrix,
        "gaps": comparison.gaps,
        "decompositions": comparison.decompositions,
        "ablations": comparison.ablations,
    }


def study_markdown(study: Study, pictures: Sequence[str]) -> str:
    """The report as Markdown; pictures: names of files in figures/."""
    found = verdicts(study)
    lines = ["# What a student loses when its teacher knew what no camera sees", "", f"**Claim.** {CLAIM}", ""]
    lines += [f"**Verdict.** {found[0].sentence}", ""] if found else []
    lines += [f"- {verdict.sentence}" for verdict in found[1:]] + [""] * (len(found) > 1)
    lines += _pictures(pictures, "verdict")
    for scene, comparison in study.comparisons.items():
        lines += [f"## {scene}", "", *_markdown(role_table(comparison)), "", *_markdown(matrix_table(comparison)), ""]
        lines += _pictures(pictures, f"{scene}-")
    if study.matches:
        lines += ["## Matched teachers", "", *_markdown(match_table(study)), ""]
    lines += ["## What this cannot show", "", *(f"- {limit}" for limit in study_limits(study)), ""]
    lines += ["## What was run", "", cost_sentence(study), "", *_markdown(cell_table(study)), ""]
    return "\n".join(lines)


def matrix_table(comparison: Comparison) -> dict[str, Any]:
    """The gap matrix in numbers: success, retention and unexplained variance of every teacher's students."""
    rows = []
    for teacher in TEACHERS:
        for student in STUDENTS:
            found = comparison.matrix[teacher][student]
            if found is not None:
                figures = (
                    found.success,
                    found.success_gap,
                    found.retention,
                    found.unexplained,
                    found.observability_gap,
                )
                rows.append(row(f"{teacher} → {student}", [cell(len(found.chains)), *map(_seeded, figures)]))
    heads = ("teacher → student", "seeds", "success", "success gap", "retention", "unexplained", "observability gap")
    return page.table(heads, rows)


def _seeded(figure: Seeded | None) -> dict[str, Any]:
    return number(over_chains(figure) if figure else None, digits=3)


def _markdown(content: dict[str, Any]) -> list[str]:
    """A table of `page` as lines of Markdown."""
    lines = ["| " + " | ".join(content["heads"]) + " |", "| --- " * len(content["heads"]) + "|"]
    for one in content["rows"]:
        cells = [
            c["value"] + (f" [{c['bounds'].replace(f' {DASH} ', ', ')}]" if c["bounds"] else "") for c in one["cells"]
        ]
        lines.append("| " + " | ".join([one["name"], *cells]) + " |")
    return lines


def _pictures(names: Sequence[str], start: str) -> list[str]:
    chosen = [name for name in names if name.startswith(start)]
    return [line for name in chosen for line in (f"![{name.removesuffix('.svg')}](figures/{name})", "")]
