"""Teachers and students on the same held-out resets: who succeeds, what was lost on the way, and what each one sees."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ...errors import HandsightError
from ..evaluation.evaluate import HELD_OUT_SEED
from ..report import tables
from ..report.comparison import Comparison
from ..report.film import Film, file_name, make_film, write_video
from ..report.policies import Contestant, check_alike, gather
from ..report.report import write_report
from ..report.results import Entry, TrialConfig, make_entries
from ..runs.progress import stage
from ..runs.provenance import provenance
from ..study.results import Study
from .evaluate import summary_table

FILMED = 4
"""Resets in each video."""


@dataclass(frozen=True)
class CompareArgs:
    """Evaluate policies on the same held-out resets, and write a report."""

    policies: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run folders or checkpoints: teachers and students, in the order of the report. A student's teacher is added."""
    study: Path | None = None
    """TOML file of a study, which is run instead: `handsight study` has its options."""
    episodes: int = 512
    """Resets to start from, one episode each."""
    seed: int = HELD_OUT_SEED
    """Of the resets."""
    num_envs: int = 256
    """Worlds stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset that every episode starts from; None takes the mix of the environment's configuration."""
    ablations: bool = False
    """Also try each policy that has eyes with its images shuffled between worlds, frozen, and black: four to five times
    the time."""
    videos: bool = True
    """Film the first resets with every policy."""
    out: Path | None = None
    """Folder for comparison.{json,csv,md}, report.html and videos/; runs/comparison/<date> if not given."""
    device: str = "cpu"
    """Where the policies and the environment run."""

    @property
    def trial(self) -> TrialConfig:
        """How every policy is tried."""
        return TrialConfig(
            self.episodes, self.seed, self.num_envs, self.reset_kind, ablations=self.ablations, device=self.device
        )


def run_compare(args: CompareArgs) -> Comparison | Study:
    """What `handsight compare` does: `compare`, or with `study` run that study, whose file says all else."""
    if args.study is None:
        return compare(args)
    from .study import StudyArgs, study

    if args != CompareArgs(study=args.study, out=args.out):
        raise HandsightError("compare --study: what is compared, and how, stands in its file; expected only --out")
    return study(StudyArgs(args.study, out=args.out))


def compare(args: CompareArgs) -> Comparison:
    """Evaluate (or reuse what stands in the run folders), save, film, report."""
    if not args.policies:
        raise HandsightError("compare: expected run folders or checkpoints of the policies to compare, found none")
    out = args.out or Path("runs") / "comparison" / time.strftime("%Y-%m-%d_%H-%M-%S")
    contestants, notes = gather(args.policies, args.device)
    notes += check_alike(contestants)
    entries = make_entries(contestants, args.trial, out)
    settings = {**entries[0].evaluation.settings, "provenance": provenance()}
    settings = {key: value for key, value in settings.items() if key not in ("policy", "teacher")}
    settings["rig"] = contestants[0].loaded.signature.get("rig", {})
    comparison = Comparison(tuple(entries), settings, tuple(notes))
    tables.save(comparison, out)
    films = film_all(contestants, entries, args, out) if args.videos else {}
    report = write_report(comparison, out / "report.html", films)
    console = Console()
    console.print(summary_table({entry.name: entry.evaluation for entry in entries}))
    console.print(f"Saved in {out}; open {report}")
    return comparison


def film_all(
    contestants: Sequence[Contestant], entries: Sequence[Entry], args: CompareArgs, out: Path
) -> dict[str, Film]:
    """Film the first resets with the first policy of each role, and write the videos. Returns the films by name."""
    films: dict[str, Film] = {}
    first = {entry.role: (entry, c) for c, entry in reversed(list(zip(contestants, entries, strict=True)))}
    with stage("Film", len(first), unit="policies") as progress:
        for entry, contestant in reversed(first.values()):
            films[entry.name] = make_film(
                contestant.loaded.policy,
                contestants[0].loaded.env_config,
                FILMED,
                args.seed,
                args.reset_kind,
                args.device,
            )
            write_video(out / "videos" / f"{file_name(entry.role)}.mp4", films[entry.name], title=entry.name)
            progress.advance(1)
    return films
