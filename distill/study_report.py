"""The report of a study: one self-contained page, the same as Markdown and JSON, from committed results alone.

Pictures and films of the policies need their checkpoints: `illustrate` makes them beside the results, and whoever
writes the report finds them there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from matplotlib.figure import Figure
from rich.console import Console

from . import page
from .comparison import Comparison
from .figures import drawn, kinds_figure, learning_figure, success_figure, unexplained_figure, visibility_figure
from .gallery import told_apart
from .illustrations import Illustrations, Picture, illustrate
from .intervals import Interval, plain
from .page import data_uri
from .report import gap_table, hardware_facts, policy_table, run_table
from .roles import cell_of, is_student
from .study_cells import MATCHED
from .study_figures import ablation_figure, decomposition_figure, matrix_figure, sigma_figure, verdict_figure
from .study_findings import CLAIM, study_headline, study_limits, verdicts
from .study_results import Study
from .study_tables import cell_table, cost_sentence, match_table, role_table, study_dict, study_markdown
from .video import DEPTH_RANGE

TITLE = "What a student loses when its teacher knew what no camera sees"
ROOM = 6
"""Kinds of policy that a figure with a colour for each can show."""
ABOUT = {
    "wrist": "The stereo pair sits on the palm and its view is narrow: whoever wants to see must look.",
    "occluded": "The pair stands beside the table, and a bin wall before it hides a part of the workspace.",
    "open": "The pair stands beside the table and sees everything: a control, in which the gap should be small.",
}
"""What the scenes are for."""


@dataclass(frozen=True)
class ReportArgs:
    """Write the report of a study from its results: report.html, report.md, report.json and figures/."""

    results: Annotated[Path, tyro.conf.Positional]
    """Folder with study.json, as `handsight study` leaves it."""
    runs: Path | None = None
    """The study's folder of runs: with it the policies are filmed anew, from their checkpoints."""
    device: str = "cpu"
    """Where they are filmed."""


def run_report(args: ReportArgs) -> Path:
    """What `handsight report` does: film if there is what to film, write the report, say where."""
    study = Study.load(args.results)
    if args.runs is not None:
        illustrate(study, args.results, args.runs, device=args.device)
    path = write_study_report(study, args.results)
    Console().print(f"{study_headline(study)}\nOpen {path}")
    return path


def write_study_report(study: Study, folder: Path) -> Path:
    """Write report.html, report.md, report.json and the figures (figures/*.svg) into the folder of the study's
    results; returns the path of report.html.

    What `illustrate` left in that folder becomes part of the page.
    """
    pictures = draw(study)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        (folder / "figures" / name).write_bytes(content)
    (folder / "report.json").write_text(json.dumps(plain(study_dict(study)), indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(study_markdown(study, list(pictures)), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page.render("study.html.j2", contents(study, pictures, folder)), encoding="utf-8")
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
