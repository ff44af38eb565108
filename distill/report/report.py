"""The report of a study, or of one comparison, which is a study with one scene that has no name: one self-contained
page, and a study's also as Markdown and JSON, from results alone.

Pictures and films of the policies need their checkpoints: `illustrate` makes them beside the results, and whoever
writes the report finds them there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ...files import write, write_json
from ..evaluation.evaluation import FEW
from ..evaluation.statistics import plain
from . import figures, page
from .comparison import Comparison
from .contrasts import MATCHED_WITHIN, Contrast
from .film import DEPTH_RANGE
from .findings import CLAIMS, claim_sentences, facts, headline, study_limits, verdicts
from .illustrate import Illustrations, Picture, set_apart, told_apart
from .page import DASH, MINUS, Cell, Row, Table, data_uri, number
from .page_tables import gap_table, kind_table, matrix_table, object_table, policy_table, run_table, view_told
from .policy_kind import NAMED, STEREO
from .study_results import Budget, Study
from .style import drawn
from .tables import figures_dict

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
    path, shown = write_page(study, folder)
    write_json(folder / "report.json", plain(study_dict(study)))
    write(folder / "report.md", page.render("report.md.j2", shown))
    return path


def write_page(study: Study, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write report.html alone, and its figures once more in the folder figures/ beside it; returns the page's path and
    its `contents`."""
    pictures = draw(study)
    for name, content in pictures.items():
        write(folder / "figures" / f"{name}.svg", content)
    path, shown = folder / "report.html", contents(study, pictures, folder)
    write(path, page.render("report.html.j2", shown))
    return path, shown


def draw(study: Study) -> dict[str, bytes]:
    """SVG of all figures for which there are data, by name."""
    return {name: drawn(figure) for name, figure in figures_of_study(study).items()}


def figures_of_study(study: Study) -> dict[str, Callable[[], Figure]]:
    """What draws each figure for which there are data, by name; those of a scene begin with its name."""
    found = verdicts(study) if study.cells else []
    wanted: dict[str, Callable[[], Figure]] = {}
    if found:
        wanted["verdict"] = partial(figures.verdict_figure, found)
    if named := [one for one in study.contrasts if one.pairs]:
        wanted["contrasts"] = partial(figures.contrast_figure, named)
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
        "seeds": (figures.seeds_figure, main, len(main.kinds) < len(main.policies) and find_spec("rliable")),
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
    """Everything that the templates show. pictures: `draw`."""
    found, comparisons = verdicts(study), study.comparisons
    order = dict.fromkeys([*(one.config.scene for one in found), *comparisons])
    provenance = study.provenance if study.cells else comparisons[""].settings.get("provenance", {})
    configs = {"The study": study.spec} if study.cells else {}
    configs |= {
        f"Configuration: {', '.join(filter(None, [scene, first.name]))}": first.origin.config
        for scene, comparison in comparisons.items()
        for first in (comparison.of_kind(kind)[0] for kind in comparison.kinds)
        if first.origin.config
    }
    configs |= {} if study.cells else {"Settings of the evaluation": comparisons[""].settings}
    return {
        "study": bool(study.cells),
        "title": "What a student loses when its teacher knew what no camera sees"
        if study.cells
        else "What the students lose",
        "policies": sum(len(comparison.policies) for comparison in comparisons.values()),
        "started": provenance.get("started", "")[:10],
        "claims": CLAIMS.values(),
        "judged": claim_sentences(study),
        "contrasts": contrast_table(study),
        "verdicts": [verdict.sentence for verdict in found],
        "headline": [] if study.cells else headline(comparisons[""]),
        "scenes": [_scene(scene, comparisons[scene], folder / scene) for scene in order],
        "figures": {name: data_uri(content, ".svg") for name, content in pictures.items()},
        "depth_range": [f"{millimetres / 1000:g}" for millimetres in DEPTH_RANGE],
        "matches": match_table(study),
        "runs": cell_table(study) if study.cells else run_table(comparisons[""]),
        "limits": study_limits(study),
        "facts": facts(study),
        "configs": {name: json.dumps(tree, indent=2, default=str) for name, tree in configs.items()},
    }


def _scene(scene: str, comparison: Comparison, folder: Path) -> dict[str, Any]:
    """The chapter of one scene."""
    made = Illustrations.load(folder)
    return {
        "name": scene,
        "prefix": _prefix(scene),
        "about": ABOUT.get(scene, ""),
        "view": view_told(comparison),
        "episodes": len(comparison.policies[0].evaluation.length),
        "kinds": kind_table(comparison),
        "seeded": len(comparison.kinds) < len(comparison.policies),
        "matrix": matrix_table(comparison),
        "policies": policy_table(comparison),
        "gaps": gap_table(comparison),
        "runs": run_table(comparison),
        "by_cause": any(comparison.over(kind, "observability_gap") for kind in comparison.kinds),
        "told_apart": _told_apart(comparison),
        "chosen": made.chosen,
        "moments": [_embedded(picture, folder) for picture in made.moments],
        "sheets": [_embedded(picture, folder) for picture in made.sheets],
        "films": [_embedded(picture, folder) for picture in made.films],
        "portraits": [_embedded(picture, folder) for picture in made.objects],
        "objects": object_table(comparison) if len(comparison.hardest) > FEW else None,
    }


def _told_apart(comparison: Comparison) -> str:
    """In how many resets one of two policies fails and the other does not."""
    if len(pair := set_apart(comparison)) < 2:
        return ""
    one, other = pair
    only_other, only_one = (told_apart(a.evaluation, b.evaluation) for a, b in ((one, other), (other, one)))
    return (
        f"In {only_other} of the {len(one.evaluation.length)} resets {one.name} fails and {other.name} ends in "
        f"success; in {only_one} it is the other way round."
    )


def _embedded(picture: Picture, folder: Path) -> dict[str, str]:
    path = folder / picture.file
    return {"caption": picture.caption, "data": data_uri(path.read_bytes(), path.suffix)}


def contrast_table(study: Study) -> Table:
    """The contrasts that the study named before it ran, and what became of them."""
    found = study.contrasts
    primary = next((one for one in found if one.primary), None)
    heads = ("contrast", "part", "loses", "than", "scene", "where", "seeds", "points, Student's t", "one seed left out",
             "p (Holm)", "outcome")  # fmt: skip
    return Table(heads, [Row(one.name, _of_contrast(one, primary)) for one in found])


def _of_contrast(one: Contrast, primary: Contrast | None) -> list[Cell]:
    asked, spread = one.config, one.left_out
    part = "negative control" if asked.control else f"{asked.claim}, primary" if one.primary else str(asked.claim)
    fires = "fires" if one.fires(primary) else "does not fire"
    unmatched = ", not matched" * (asked.matched and not one.equal_teachers)
    scene = asked.scene + f" {MINUS} {asked.minus}" * bool(asked.minus)
    return [
        Cell(part, text=True),
        Cell(asked.loses + ", matched" * asked.matched, text=True),
        Cell(asked.than or DASH, text=True),
        Cell(scene, text=True),
        Cell(asked.where.replace("_", " "), text=True),
        Cell(len(one.seeds)),
        number(one.figure.seeds if one.seeds else None, digits=1, scale=100),
        Cell(f"{100 * spread[0]:.1f} to {100 * spread[1]:.1f}".replace("-", MINUS) if spread else DASH),
        Cell(DASH if one.p != one.p else "< 0.001" if one.p < 0.0005 else f"{one.p:.3f}"),
        Cell((fires if asked.control and one.seeds else one.word) + unmatched, text=True),
    ]


def match_table(study: Study) -> Table:
    """How the stronger teacher of a seed was brought down to the weaker one, and whether it is so on the reported
    resets."""
    reported = [study.reported_difference(m) for m in study.matches]
    rows = [
        Row(f"{m.scene}, seed {m.seed}", [
            Cell(m.stronger, text=True),
            Cell(f"{m.stronger_success:.3f}"),
            Cell(m.weaker, text=True),
            Cell(f"{m.weaker_success:.3f}"),
            Cell(m.chosen.removesuffix(".ckpt"), text=True, code=True),
            Cell(f"{m.candidates[m.chosen]:.3f}"),
            Cell(DASH if apart is None else f"{100 * apart:.1f}".replace("-", MINUS)),
            Cell(DASH if apart is None else "matched" if abs(apart) <= MATCHED_WITHIN else "not matched", text=True),
        ])
        for m, apart in zip(study.matches, reported, strict=True)
    ]  # fmt: skip
    heads = ("scene", "stronger teacher", "at its best", "weaker teacher", "success", "checkpoint taken", "success",
             "points apart, reported resets", "outcome")  # fmt: skip
    return Table(heads, rows)


def cell_table(study: Study) -> Table:
    """What every kind of training cost, and whether its budget is shown to be enough."""
    kinds, rows, budgets = dict.fromkeys((c.scene, c.cell) for c in study.cells), [], study.budgets
    together = {name.removesuffix(": all students"): one for name, one in budgets.items() if "all students" in name}
    for scene, kind in kinds:
        found = [c for c in study.cells if (c.scene, c.cell) == (scene, kind)]
        done = [c for c in found if c.state == "finished"]
        budget = budgets.get(f"{scene}: {kind}")
        cells = [
            Cell(f"{len(done)} of {len(found)}"),
            Cell(f"{sum(c.steps for c in found) / 1e6:.2f} M"),
            Cell(f"{sum(c.seconds for c in found) / 60:.0f} min"),
            *_of_budget(budget),
        ]
        rows.append(Row(f"{scene}: {kind}", cells))
    rows += [Row(f"{scene}: all students", [Cell(DASH)] * 3 + _of_budget(one)) for scene, one in together.items()]
    return Table(("trainings", "finished", "steps", "learning time", "points in half as much again", "budget"), rows)


def _of_budget(budget: Budget | None) -> list[Cell]:
    gain = number(budget and budget.gain, digits=1, scale=100)
    return [gain, Cell(budget.word.split(" by ")[0].split(" (")[0] if budget else DASH, text=True)]


def study_dict(study: Study) -> dict[str, Any]:
    """Every figure of the report, for JSON (through `plain`)."""
    scenes = {scene: figures_dict(comparison) for scene, comparison in study.comparisons.items()}
    return {
        "claims": list(CLAIMS.values()),
        "judged": claim_sentences(study),
        "contrasts": [
            {"name": one.name, "primary": one.primary, "seeds": one.seeds, "figure": one.figure, "p": one.p,
             "without_one_seed": one.left_out, "teachers_apart": one.apart, "outcome": one.word, "asked": one.config}
            for one in study.contrasts
        ],
        "budgets": study.budgets,
        "matched_on_reported_resets": [study.reported_difference(match) for match in study.matches],
        "verdicts": [
            {"scene": v.config.scene, "depth_students": NAMED[str(v.config.than)].label, "verdict": v.verdict,
             "sentence": v.sentence, "extra_loss": v.figure, "chains": v.students}
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
