"""`handsight report`: a study as one page to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ..report.findings import study_headline
from ..report.illustrate import illustrate_study
from ..report.report import write_study_report
from ..report.study_results import Study


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
        illustrate_study(study, args.results, args.runs, device=args.device)
    path = write_study_report(study, args.results)
    Console().print(f"{study_headline(study)}\nOpen {path}")
    return path
