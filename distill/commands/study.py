"""`handsight study FILE`: train, match and evaluate a matrix of teachers and students, and keep what was found; and
`handsight report`: what was found as one page to read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import HandsightError
from ...files import owned
from ..report.findings import study_headline
from ..report.illustrate import illustrate_study
from ..report.report import write_study_report
from ..report.study_results import Study
from ..runs.progress import tell
from ..study.collect import collect
from ..study.progress import shown
from ..study.runner import PROGRAM, Progress, Runner
from ..study.slurm import Cluster
from ..study.spec import read_study
from ..study.training import StudyError
from ..study.work import Task, Work
from .arguments import ReportArgs, StudyArgs

RESULTS = "results"
"""Folder in the study's own for what is small enough to be committed."""
_log = logging.getLogger(__name__)


def study(args: StudyArgs, program: Sequence[str] = PROGRAM, pause: float = 1.0) -> Study:
    """What `handsight study` does: get the cells done, collect what was found, save it.

    Raises:
        StudyError: the file, or what lies in its folder, is not what it should be.
        HandsightError: cells failed; the others were done, and all results are saved.
        Interrupted: Ctrl-C; started again it goes on.
    """
    spec = read_study(args.file, args.out)
    spec = replace(spec, jobs=args.jobs if isinstance(args.jobs, int) else spec.jobs)
    work, progress = Work(spec), None
    cluster = Cluster(spec.out / "slurm", args.slurm) if args.jobs == "slurm" and not args.collect else None
    if not args.collect:
        runner = Runner(work, program=program, pause=pause, cluster=cluster)
        with owned(spec.out, StudyError), shown(work) as runner.show:
            progress = runner.run()
    elif not spec.out.is_dir():
        raise HandsightError(f"study {args.file}: expected its folder {spec.out}, found none: nothing was trained yet")
    found = collect(work, {} if progress is None else failures(progress)).save(spec.out / RESULTS)
    if args.report and any(one.teacher for comparison in found.comparisons.values() for one in comparison.policies):
        illustrate_study(found, spec.out / RESULTS, spec.out)
        write_study_report(found, spec.out / RESULTS)
    _log.info("%s\nResults: %s", account(found), spec.out / RESULTS)
    if progress is not None and progress.failed:
        raise HandsightError("\n\n".join(f"{task.name} failed:\n{text}" for task, text in progress.failed.items()))
    return found


def failures(progress: Progress[Task]) -> dict[str, str]:
    """What went wrong, by the key of the cell."""
    return {task.training.key: f"{task.verb}: {text}" for task, text in progress.failed.items()}


def account(found: Study) -> str:
    """A line for each kind of cell of each scene."""
    lines = []
    for scene in dict.fromkeys(cell.scene for cell in found.cells):
        for name in dict.fromkeys(cell.cell for cell in found.cells if cell.scene == scene):
            cells = [cell for cell in found.cells if (cell.scene, cell.cell) == (scene, name)]
            each = [policy.evaluation.success_at_end.mean() for policy in found.of_cell(scene, name)]
            success = ", ".join(f"{one:.3f}" for one in each)
            done = sum(cell.state == "finished" for cell in cells)
            lines.append(f"{scene} {name}: {done} of {len(cells)} trained; success at end {success or '-'}")
    hours = found.cost["training_seconds"] / 3600
    return "\n".join([*lines, f"{found.cost['trainings']} trainings, {hours:.1f} h of learning in all"])


def run_report(args: ReportArgs) -> Path:
    """What `handsight report` does: film if there is what to film, write the report, say where."""
    study = Study.load(args.results)
    if args.runs is not None:
        illustrate_study(study, args.results, args.runs, device=args.device)
    path = write_study_report(study, args.results)
    tell(f"{study_headline(study)}\nOpen {path}")
    return path
