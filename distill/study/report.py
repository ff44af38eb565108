"""The report of a study: one self-contained page, the same as Markdown and JSON, from committed results alone.

Pictures and films of the policies need their checkpoints: `illustrate` makes them beside the results, and whoever
writes the report finds them there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ...files import write, write_json
from ..evaluation.evaluation import IN_VIEW, OUT_OF_VIEW
from ..evaluation.statistics import Interval, Seeded, plain, t_interval, wilson
from ..report import page
from ..report.comparison import Comparison
from ..report.figures import (
    colour,
    drawn,
    kinds_figure,
    learning_figure,
    success_figure,
    unexplained_figure,
    visibility_figure,
)
from ..report.film import DEPTH_RANGE
from ..report.gallery import told_apart
from ..report.gap_figures import ablation_figure, decomposition_figure, matrix_figure, sigma_figure
from ..report.page import DASH, cell, data_uri, number, row, share
from ..report.policies import STUDENTS, TEACHERS, cell_of, is_student
from ..report.report import gap_table, hardware_facts, policy_table, run_table
from ..report.results import Entry
from .cells import MATCHED
from .illustrate import Illustrations, Picture
from .results import Study
from .verdict import CLAIM, over_chains, study_limits, verdict_figure, verdicts

TITLE = "What a student loses when its teacher knew what no camera sees"
ROOM = 6
"""Kinds of policy that a figure with a colour for each can show."""
ABOUT = {
    "wrist": "The stereo pair sits on the palm and its view is narrow: whoever wants to see must look.",
    "occluded": "The pair stands beside the table, and a bin wall before it hides a part of the workspace.",
    "open": "The pair stands beside the table and sees everything: a control, in which the gap should be small.",
}
"""What the scenes are for."""


def write_study_report(study: Study, folder: Path) -> Path:
    """Write report.html, report.md, report.json and the figures (figures/*.svg) into the folder of the study's
    results; returns the path of report.html.

    What `illustrate` left in that folder becomes part of the page.
    """
    pictures = draw(study)
    for name, content in pictures.items():
        write(folder / "figures" / name, content)
    write_json(folder / "report.json", plain(study_dict(study)))
    write(folder / "report.md", study_markdown(study, list(pictures)))
    path = folder / "report.html"
    write(path, page.render("study.html.j2", contents(study, pictures, folder)))
    return path


def draw(study: Study) -> dict[str, bytes]:
    """File names and contents of all figures for which there are data, those of a scene begin with its name."""
    found = verdicts(study)
    figures: dict[str, Callable[[], Figure]] = {"verdict": partial(verdict_figure, found)} if found else {}
    for scene, comparison in study.comparisons.items():
        figures |= {f"{scene}-{name}": figure for name, figure in _of_scene(comparison).items()}
    return {f"{name}.svg": drawn(figure) for name, figure in figures.items()}


def _of_scene(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """Figures of one scene: the matrix, what was lost and the ablations of all policies, the rest of the main ones."""
    main = main_policies(comparison)
    figures = {"success": partial(success_figure, main), "kinds": partial(kinds_figure, main)}
    if any(is_student(role) for role in comparison.roles):
        figures["matrix"] = partial(matrix_figure, comparison)
    if comparison.gaps:
        figures["decomposition"] = partial(decomposition_figure, comparison)
    if any(gap.unexplained for gap in main.gaps):
        figures["unexplained"] = partial(unexplained_figure, main)
    if any(_varies(gap.student_sigma) for gap in main.gaps):
        figures["sigma"] = partial(sigma_figure, main)
    if comparison.ablations:
        figures["ablations"] = partial(ablation_figure, comparison)
    if any(entry.origin.metrics for entry in main.entries):
        figures["learning"] = partial(learning_figure, main)
    if all(entry.evaluation.seen for entry in main.entries):
        figures["visibility"] = partial(visibility_figure, main)
    return figures


def _varies(sigma: Mapping[str, Interval]) -> bool:
    """Whether a student is more unsure at some steps than at others; there is nothing to show where σ is a constant."""
    values = [figure.value for figure in sigma.values() if figure.value == figure.value]
    return bool(values) and max(values) > 1.01 * min(values)


def main_policies(comparison: Comparison) -> Comparison:
    """The teachers and their stereo students alone, unmatched, where there are more kinds of policy than a figure has
    room for."""
    if len(comparison.roles) <= ROOM:
        return comparison
    main = [e for e in comparison.entries if not is_student(e.role) or cell_of(e.role)[1] == "stereo"]
    return replace(comparison, entries=tuple(entry for entry in main if MATCHED not in entry.role))


def contents(study: Study, pictures: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    found, started = verdicts(study), study.provenance.get("started", "")
    order = dict.fromkeys([*(verdict.scene for verdict in found), *study.comparisons])
    policies = sum(len(comparison.entries) for comparison in study.comparisons.values())
    near, far = DEPTH_RANGE
    return {
        "title": TITLE,
        "eyebrow": f"Handsight · observability-gap study · {policies} policies · {started[:10]}".strip(" ·"),
        "claim": CLAIM,
        "verdict": {"word": found[0].word, "sentence": found[0].sentence} if found else None,
        "others": [verdict.sentence for verdict in found[1:]],
        "figures": {Path(name).stem: data_uri(content, Path(name).suffix) for name, content in pictures.items()},
        "scenes": [_scene(scene, study.comparisons[scene], folder / scene) for scene in order],
        "depth_near": f"{near / 1000:g}",
        "depth_far": f"{far / 1000:g}",
        "matches": match_table(study),
        "runs": cell_table(study),
        "limits": study_limits(study),
        "facts": [cost_sentence(study), *hardware_facts(study.provenance)],
        "configs": [{"name": "The study", "text": json.dumps(study.spec, indent=2, default=str)}, *_configs(study)],
        "footer": "Written by Handsight. All figures stand in report.json and in the folders of the scenes beside it.",
    }


def _scene(scene: str, comparison: Comparison, folder: Path) -> dict[str, Any]:
    """The chapter of one scene."""
    made = Illustrations.load(folder)
    return {
        "name": scene,
        "about": ABOUT.get(scene, ""),
        "episodes": len(comparison.entries[0].evaluation.length),
        "roles": role_table(comparison),
        "policies": policy_table(comparison),
        "gaps": gap_table(comparison),
        "runs": run_table(comparison),
        "by_cause": bool(comparison.decompositions),
        "told_apart": _told_apart(comparison),
        "moments": [_embedded(picture, folder) for picture in made.moments],
        "films": [_embedded(picture, folder) for picture in made.films],
    }


def _told_apart(comparison: Comparison) -> str:
    """In how many resets one student of the headline's first pair fails and the other does not."""
    losses = comparison.extra_losses()
    if not losses:
        return ""
    state, depth = (comparison.entry(name) for name in losses[0].chains[0])
    only_depth, only_state = (
        len(told_apart(*pair)) for pair in ((state.evaluation, depth.evaluation), (depth.evaluation, state.evaluation))
    )
    return (
        f"In {only_depth} of the {len(state.evaluation.length)} resets {state.name} fails and {depth.name} ends in "
        f"success; in {only_state} it is the other way round."
    )


def _embedded(picture: Picture, folder: Path) -> dict[str, str]:
    path = folder / picture.file
    return {"caption": picture.caption, "data": data_uri(path.read_bytes(), path.suffix)}


def _configs(study: Study) -> list[dict[str, str]]:
    """The configuration of the first policy of each role in each scene."""
    found = []
    for scene, comparison in study.comparisons.items():
        for entry in (comparison.of_role(role)[0] for role in comparison.roles):
            if entry.origin.config:
                text = json.dumps(entry.origin.config, indent=2, default=str)
                found.append({"name": f"Configuration: {scene}, {entry.name}", "text": text})
    return found


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
