"""`handsight report`: a study as one page to read."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ..report.findings import study_headline
from ..report.illustrate import illustrate_study
from ..report.report import write_study_report
from ..report.study_results import Study
from .arguments import ReportArgs


def run_report(args: ReportArgs) -> Path:
    """What `handsight report` does: film if there is what to film, write the report, say where."""
    study = Study.load(args.results)
    if args.runs is not None:
        illustrate_study(study, args.results, args.runs, device=args.device)
    path = write_study_report(study, args.results)
    Console().print(f"{study_headline(study)}\nOpen {path}")
    return path
