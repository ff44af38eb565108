"""The report of a study, or of one comparison, which is a study with one scene that has no name: one self-contained
page, and a study's also as Markdown and JSON, from results alone.

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
from ..evaluation.statistics import plain
from . import figures, page
from .comparison import Comparison
from .figures import drawn
from .film import DEPTH_RANGE
from .findings import CLAIM, headline, limits, study_limits, verdicts
from .gallery import told_apart
from .illustrate import Illustrations, Picture
from .page import data_uri
from .page_tables import (
    cell_table,
    cost_sentence,
    gap_table,
    hardware_facts,
    kind_table,
    machine_facts,
    match_table,
    matrix_table,
    policy_table,
    run_table,
)
from .policy_kind import STEREO
from .study_results import Study
from .tables import figures_dict

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
    path, pictures = write_page(study, folder)
    write_json(folder / "report.json", plain(study_dict(study)))
    write(folder / "report.md", study_markdown(study, list(pictures)))
    return path


def write_page(study: Study, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """Write report.html alone, and its figures once more in the folder figures/ beside it; returns both."""
    pictures = draw(study)
    for name, content in pictures.items():
        write(folder / "figures" / name, content)
    path = folder / "report.html"
    write(path, page.render("report.html.j2", contents(study, pictures, folder)))
    return path, pictures


def draw(study: Study) -> dict[str, bytes]:
    """File names and contents of all figures for which there are data."""
    return {f"{name}.svg": drawn(figure) for name, figure in figures_of_study(study).items()}


def figures_of_study(study: Study) -> dict[str, Callable[[], Figure]]:
    """What draws each figure for which there are data, by name; those of a scene begin with its name."""
    found = verdicts(study) if study.cells else []
    wanted: dict[str, Callable[[], Figure]] = {}
    if found:
        wanted["verdict"] = partial(figures.verdict_figure, found)
    for scene, comparison in study.comparisons.items():
        wanted |= {f"{_prefix(scene)}{name}": figure for name, figure in _of_scene(comparison).items()}
    return wanted


def _prefix(scene: str) -> str:
    """What the names of a scene's figures begin with."""
    return f"{scene}-" if scene else ""


def _of_scene(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """Figures of one scene: the matrix, what was lost and the ablations of all policies, the rest of the main ones."""
    main = main_policies(comparison)
    students = [policy for policy in main.policies if policy.kind.is_student]
    wanted = {
        "success": (figures.success_figure, main, True),
        "kinds": (figures.kinds_figure, main, True),
        "matrix": (figures.matrix_figure, comparison, any(kind.is_student for kind in comparison.kinds)),
        "decomposition": (figures.decomposition_figure, comparison, any(p.teacher for p in comparison.policies)),
        "unexplained": (figures.unexplained_figure, main, any(policy.disagreement for policy in students)),
        "sigma": (figures.sigma_figure, main, any(_varies(main, policy.name) for policy in students)),
        "ablations": (figures.ablation_figure, comparison, any(policy.ablations for policy in comparison.policies)),
        "learning": (figures.learning_figure, main, any(policy.origin.metrics for policy in main.policies)),
        "visibility": (figures.visibility_figure, main, all(policy.evaluation.seen for policy in main.policies)),
    }
    return {name: partial(figure, whom) for name, (figure, whom, known) in wanted.items() if known}


def _varies(comparison: Comparison, student: str) -> bool:
    """Whether a student is more unsure at some steps than at others; there is nothing to show where σ is a constant."""
    values = [r.value for r in comparison.table if r.policy == student and r.metric.startswith("student_sigma")]
    values = [value for value in values if value == value]
    return bool(values) and max(values) > 1.01 * min(values)


def main_policies(comparison: Comparison) -> Comparison:
    """The teachers and their stereo students alone, unmatched, where there are more kinds of policy than a figure has
    room for."""
    if len(comparison.kinds) <= ROOM:
        return comparison
    main = [policy for policy in comparison.policies if policy.kind.student in (None, STEREO)]
    return replace(comparison, policies=tuple(policy for policy in main if not policy.kind.matched))


def contents(study: Study, pictures: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    policies = sum(len(comparison.policies) for comparison in study.comparisons.values())
    near, far = DEPTH_RANGE
    return {
        "figures": {Path(name).stem: data_uri(content, Path(name).suffix) for name, content in pictures.items()},
        "depth_near": f"{near / 1000:g}",
        "depth_far": f"{far / 1000:g}",
        **(_of_study(study, policies, folder) if study.cells else _of_comparison(study, policies, folder)),
    }


def _of_study(study: Study, policies: int, folder: Path) -> dict[str, Any]:
    found, started = verdicts(study), study.provenance.get("started", "")
    order = dict.fromkeys([*(verdict.scene for verdict in found), *study.comparisons])
    return {
        "title": TITLE,
        "eyebrow": f"Handsight · observability-gap study · {policies} policies · {started[:10]}".strip(" ·"),
        "claim": CLAIM,
        "verdict": {"word": found[0].word, "sentence": found[0].sentence} if found else None,
        "others": [verdict.sentence for verdict in found[1:]],
        "scenes": [_scene(scene, study.comparisons[scene], folder / scene) for scene in order],
        "matches": match_table(study),
        "runs": cell_table(study),
        "limits": study_limits(study),
        "facts": [cost_sentence(study), *hardware_facts(study.provenance)],
        "configs": [_config("The study", study.spec), *_configs(study)],
        "footer": "Written by Handsight. All figures stand in report.json and in the folders of the scenes beside it.",
    }


def _of_comparison(study: Study, policies: int, folder: Path) -> dict[str, Any]:
    (comparison,) = study.comparisons.values()
    started = comparison.settings.get("provenance", {}).get("started", "")
    return {
        "title": "What the students lose",
        "eyebrow": f"Handsight · comparison of {policies} policies · {started[:10]}".strip(" ·"),
        "claim": None,
        "headline": headline(comparison),
        "scenes": [_scene("", comparison, folder)],
        "matches": match_table(study),
        "runs": run_table(comparison),
        "limits": limits(comparison),
        "facts": machine_facts(comparison),
        "configs": [*_configs(study), _config("Settings of the evaluation", comparison.settings)],
        "footer": "Written by Handsight. The figures stand in comparison.json and comparison.csv beside this file.",
    }


def _scene(scene: str, comparison: Comparison, folder: Path) -> dict[str, Any]:
    """The chapter of one scene."""
    made = Illustrations.load(folder)
    return {
        "name": scene,
        "prefix": _prefix(scene),
        "about": ABOUT.get(scene, ""),
        "episodes": len(comparison.policies[0].evaluation.length),
        "kinds": kind_table(comparison) if scene or len(comparison.kinds) < len(comparison.policies) else None,
        "policies": policy_table(comparison),
        "gaps": gap_table(comparison),
        "runs": run_table(comparison),
        "by_cause": any(comparison.over(kind, "observability_gap") for kind in comparison.kinds),
        "told_apart": _told_apart(comparison),
        "moments": [_embedded(picture, folder) for picture in made.moments],
        "sheets": [_embedded(picture, folder) for picture in made.sheets],
        "films": [_embedded(picture, folder) for picture in made.films],
    }


def _told_apart(comparison: Comparison) -> str:
    """In how many resets one student of the headline's first pair fails and the other does not."""
    losses = comparison.extra_losses()
    if not losses:
        return ""
    state, depth = (comparison.policy(name) for name in losses[0].pairs[0])
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
    """The configuration of the first policy of each kind in each scene."""
    return [
        _config(f"Configuration: {', '.join(filter(None, [scene, first.name]))}", first.origin.config)
        for scene, comparison in study.comparisons.items()
        for first in (comparison.of_kind(kind)[0] for kind in comparison.kinds)
        if first.origin.config
    ]


def _config(name: str, tree: Any) -> dict[str, str]:
    return {"name": name, "text": json.dumps(tree, indent=2, default=str)}


def study_dict(study: Study) -> dict[str, Any]:
    """Every figure of the report, for JSON (through `plain`)."""
    scenes = {scene: figures_dict(comparison) for scene, comparison in study.comparisons.items()}
    return {
        "claim": CLAIM,
        "verdicts": [
            {"scene": v.scene, "depth_students": v.loss.against.label, "verdict": v.word, "sentence": v.sentence,
             "extra_loss": v.loss.figure, "chains": v.loss.pairs}
            for v in verdicts(study)
        ],
        "scenes": {scene: {"matrix": found.pop("gap_matrix"), **found} for scene, found in scenes.items()},
        "matches": study.matches,
        "cells": study.cells,
        "cost": study.cost,
        "limits": study_limits(study),
        "spec": study.spec,
        "provenance": study.provenance,
    }  # fmt: skip


def study_markdown(study: Study, pictures: Sequence[str]) -> str:
    """The report as Markdown; pictures: names of files in figures/."""
    found = verdicts(study)
    lines = [f"# {TITLE}", "", f"**Claim.** {CLAIM}", ""]
    lines += [f"**Verdict.** {found[0].sentence}", ""] if found else []
    lines += [f"- {verdict.sentence}" for verdict in found[1:]] + [""] * (len(found) > 1)
    lines += _pictures(pictures, "verdict")
    for scene, comparison in study.comparisons.items():
        tables = [line for table in (kind_table, matrix_table) for line in (*page.markdown(table(comparison)), "")]
        lines += [f"## {scene}", "", *tables, *_pictures(pictures, f"{scene}-")]
    if study.matches:
        lines += ["## Matched teachers", "", *page.markdown(match_table(study)), ""]
    lines += ["## What this cannot show", "", *(f"- {limit}" for limit in study_limits(study)), ""]
    lines += ["## What was run", "", cost_sentence(study), "", *page.markdown(cell_table(study)), ""]
    return "\n".join(lines)


def _pictures(names: Sequence[str], start: str) -> list[str]:
    chosen = [name for name in names if name.startswith(start)]
    return [line for name in chosen for line in (f"![{name.removesuffix('.svg')}](figures/{name})", "")]
