"""Teachers and students on the same held-out resets: who succeeds, what was lost on the way, and what each one sees."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ...errors import HandsightError
from ..report import tables
from ..report.candidates import comparability, gather
from ..report.comparison import Comparison
from ..report.illustrate import illustrate
from ..report.report import write_page
from ..report.results import try_all
from ..report.study_results import Study
from ..runs.progress import tell
from ..runs.provenance import provenance
from .arguments import CompareArgs, StudyArgs
from .evaluate import summary_table, tried


def run_compare(args: CompareArgs) -> Comparison | Study:
    """What `handsight compare` does: `compare`, or with `study` run that study, whose file says all else."""
    if args.study is None:
        return compare(args)
    from .study import study

    if args != CompareArgs(study=args.study, out=args.out):
        raise HandsightError("compare --study: what is compared, and how, stands in its file; expected only --out")
    return study(StudyArgs(args.study, out=args.out))


def compare(args: CompareArgs) -> Comparison:
    """Evaluate (or reuse what stands in the run folders), save, film, report.

    Raises:
        HandsightError: nothing to compare, or policies of different tasks, cameras or robots.
    """
    if not args.policies:
        raise HandsightError("compare: expected run folders or checkpoints of the policies to compare, found none")
    out = args.out or Path("runs") / "comparison" / time.strftime("%Y-%m-%d_%H-%M-%S")
    candidates, notes = gather(args.policies, args.device)
    candidates = [replace(one, loaded=tried(one.loaded, args, args.device)) for one in candidates]
    notes += comparability(candidates)
    policies = try_all(candidates, args, out)
    settings = {**policies[0].evaluation.settings, "provenance": provenance(), **args.by_name().chosen}
    settings = {key: value for key, value in settings.items() if key not in ("policy", "teacher")}
    settings["rig"] = candidates[0].loaded.signature.get("rig", {})
    comparison = Comparison(tuple(policies), settings, tuple(notes))
    tables.save(comparison, out)
    if args.videos:
        loaded = {policy.name: one.loaded for policy, one in zip(policies, candidates, strict=True)}
        illustrate(comparison, lambda policy: loaded[policy.name], out, device=args.device)
    report = write_page(Study({"": comparison}, {}, ()), out)[0] if args.report else out / "comparison.md"
    tell(summary_table({one.name: one.evaluation for one in policies}), f"Saved in {out}; open {report}")
    return comparison
