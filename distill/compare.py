"""Teachers and students on the same held-out resets: who succeeds, what was lost on the way, and what each one sees."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from .. import sims
from ..errors import HandsightError
from . import checkpoint, zoo
from .comparison import WARM, Comparison, Entry, Origin, unique_names
from .evaluate import HELD_OUT_SEED, evaluate, summary_table
from .evaluation import Evaluation
from .intervals import plain
from .observability import Disagreement, disagreement
from .policy_loading import LoadedPolicy, load_policy
from .progress import Stage, stage
from .provenance import provenance, versions
from .report import write_report
from .run import CONFIG
from .video import Film, file_name, make_film, write_video

WIRING = ("task", "action_space", "control_dt", "rig")
"""Parts of the signature in which policies that are compared must agree."""
FILMED = 4
"""Resets in each video."""


@dataclass(frozen=True)
class CompareArgs:
    """Evaluate policies on the same held-out resets, and write a report."""

    policies: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders or checkpoints: teachers and students, in the order of the report. A student's teacher is added."""
    episodes: int = 512
    """Resets to start from, one episode each."""
    seed: int = HELD_OUT_SEED
    """Of the resets."""
    num_envs: int = 256
    """Worlds stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset that every episode starts from; None takes the mix of the environment's configuration."""
    videos: bool = True
    """Film the first resets with every policy."""
    out: Path | None = None
    """Folder for comparison.{json,csv,md}, report.html and videos/; runs/comparison/<date> if not given."""
    device: str = "cpu"
    """Where the policies and the environment run."""


@dataclass(frozen=True)
class Contestant:
    """A policy that is to be compared."""

    loaded: LoadedPolicy
    origin: Origin
    sight: str
    role: str
    teacher: Path | None = None
    """Checkpoint of the student's teacher; None for a teacher."""
    teacher_digest: str | None = None
    """sha256 of that checkpoint's manifest when the student learnt from it."""


def compare(args: CompareArgs) -> Comparison:
    """What `handsight compare` does: evaluate (or reuse what stands in the run folders), save, film, report."""
    if not args.policies:
        raise HandsightError("compare: expected run folders or checkpoints of the policies to compare, found none")
    out = args.out or Path("runs") / "comparison" / time.strftime("%Y-%m-%d_%H-%M-%S")
    contestants, notes = gather(args.policies, args.device)
    notes += check_alike(contestants)
    entries = evaluate_all(contestants, args, out)
    settings = {**entries[0].evaluation.settings, "provenance": provenance()}
    settings = {key: value for key, value in settings.items() if key not in ("policy", "teacher")}
    settings["rig"] = contestants[0].loaded.signature.get("rig", {})
    comparison = Comparison(tuple(entries), settings, tuple(notes))
    comparison.save(out)
    films = film_all(contestants, entries, args, out) if args.videos else {}
    report = write_report(comparison, out / "report.html", films)
    console = Console()
    console.print(summary_table({entry.name: entry.evaluation for entry in entries}))
    console.print(f"Saved in {out}; open {report}")
    return comparison


def gather(paths: Sequence[Path], device: str = "cpu") -> tuple[list[Contestant], list[str]]:
    """Load the policies, and before each student its teacher if that was not named. Returns them with notes for the
    report."""
    named = list({c.origin.digest: c for c in (load_contestant(Path(path), device) for path in paths)}.values())
    known = {contestant.origin.digest for contestant in named}
    contestants: list[Contestant] = []
    notes: list[str] = []
    for contestant in named:
        teacher, wanted = contestant.teacher, contestant.teacher_digest
        if teacher is not None and wanted not in known:
            if (teacher / checkpoint.MANIFEST).is_file() and digest(teacher) == wanted:
                contestants.append(load_contestant(teacher, device))
                known.add(contestants[-1].origin.digest)
            else:
                notes.append(f"The teacher of {contestant.origin.checkpoint} is not at {teacher} any more: no gap.")
        contestants.append(contestant)
    return contestants, notes


def load_contestant(path: Path, device: str = "cpu") -> Contestant:
    """A policy with what its checkpoint and run tell about where it comes from."""
    loaded = load_policy(path, device=device)
    tree, run = checkpoint.load(loaded.path), loaded.run
    meta = run.meta if run else {}
    origin = Origin(
        checkpoint=from_here(str(loaded.path)),
        digest=digest(loaded.path),
        run=from_here(str(run.path)) if run else None,
        seed=meta.get("seed"),
        config=from_here(json.loads((run.path / CONFIG).read_text())["config"]) if run else {},
        meta=from_here(meta),
        metrics=tuple(run.metrics()) if run else (),
        warm_started_from=from_here(tree.get("warm_started_from")),
    )
    sight = sight_of(tree["policy"]["config"])
    if "teacher" not in tree:
        return Contestant(loaded, origin, sight, f"{sight} teacher{WARM if origin.warm_started_from else ''}")
    teacher = zoo.resolve(tree["teacher"]["path"])
    taught = sight_of(checkpoint.load(teacher)["policy"]["config"]) if teacher.is_dir() else "unknown"
    return Contestant(loaded, origin, sight, f"{taught} → {sight}", teacher, tree["teacher"]["sha256"])


def from_here(tree: Any) -> Any:
    """The tree with paths below the working directory made relative to it: a report is read on other machines."""
    if isinstance(tree, dict):
        return {key: from_here(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [from_here(value) for value in tree]
    return tree.removeprefix(f"{Path.cwd()}/") if isinstance(tree, str) else tree


def sight_of(policy_config: Mapping[str, Any]) -> str:
    """What a policy of this configuration sees beside proprioception, e.g. "state", "depth", "stereo", "left"."""
    if "sight" in policy_config:
        return policy_config["sight"]
    return next((key for key in policy_config["actor_keys"] if key != "proprio"), "proprio")


def digest(path: Path) -> str:
    """sha256 of a checkpoint's manifest, which holds the sums of all its files."""
    return hashlib.sha256((path / checkpoint.MANIFEST).read_bytes()).hexdigest()


def check_alike(contestants: Sequence[Contestant]) -> list[str]:
    """Notes on training environments that differ in what may differ.

    Raises:
        HandsightError: task, action space, camera rig or control rate differ; says in what.
    """
    first, notes = contestants[0], []
    for other in contestants[1:]:
        signatures = [flat({key: c.loaded.signature.get(key) for key in WIRING}) for c in (first, other)]
        wrong = differences(*signatures)
        if wrong:
            head = f"compare: {other.loaded.path} and {first.loaded.path} cannot be compared; they differ in"
            raise HandsightError("\n  ".join([head, *wrong]))
        apart = differences(*(flat(plain(asdict(c.loaded.env_config))) for c in (first, other)))
        if apart:
            notes.append(
                f"{other.loaded.path} was trained in another environment than the one in which all are evaluated "
                f"(that of {first.loaded.path}): {'; '.join(apart)}."
            )
    return notes


def flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested dicts by dotted name."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {key: leaf for part, sub in tree.items() for key, leaf in flat(sub, f"{name}.{part}".strip(".")).items()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """A line for each leaf in which two flat dicts differ."""
    names = dict.fromkeys([*one, *other])
    return [f"{n}: {one.get(n)!r} and {other.get(n)!r}" for n in names if plain(one.get(n)) != plain(other.get(n))]


def evaluate_all(contestants: Sequence[Contestant], args: CompareArgs, out: Path) -> list[Entry]:
    """Evaluate each in the first one's environment, students with their teacher listening."""
    names = unique_names([c.role for c in contestants], [c.origin.seed for c in contestants])
    entries = []
    with stage("Evaluate on the same resets", len(contestants) * args.episodes, unit="episodes") as progress:
        for contestant, name in zip(contestants, names, strict=True):
            taught_by = [i for i, c in enumerate(contestants) if c.origin.digest == contestant.teacher_digest]
            asked = contestants[taught_by[0]] if taught_by else None
            evaluation, both = evaluated(contestant, asked, contestants[0].loaded.env_config, args, out, progress)
            progress.advance(0, success=float(evaluation.success_at_end.mean()))
            entries.append(
                Entry(
                    name=name,
                    role=contestant.role,
                    sight=contestant.sight,
                    evaluation=evaluation,
                    origin=contestant.origin,
                    teacher=names[taught_by[0]] if taught_by else None,
                    disagreement=both,
                )
            )
    return entries


def sources_digest() -> str:
    """Of everything that an evaluation's worlds are made of: our simulator's sources and the packages' versions."""
    sources = sorted(Path(sims.__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    return f"{digest.hexdigest()} {versions()}"


def evaluated(
    contestant: Contestant,
    teacher: Contestant | None,
    env_config: sims.EnvConfig,
    args: CompareArgs,
    out: Path,
    progress: Stage,
) -> tuple[Evaluation, Disagreement | None]:
    """Evaluate, or read what the same evaluation of the same checkpoint left in the run folder."""
    who = {"policy": contestant.origin.digest, "teacher": teacher.origin.digest if teacher else None}
    how = {"episodes": args.episodes, "seed": args.seed, "num_envs": args.num_envs, "reset_kind": args.reset_kind}
    wanted = {**who, **how, "env": plain(asdict(env_config)), "worlds": sources_digest()}
    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    folder = (contestant.loaded.results if contestant.origin.run else out) / "evaluations" / key
    if (folder / "episodes.npz").is_file():
        both = Disagreement.load(folder / "disagreement.npz") if teacher else None
        progress.advance(args.episodes)
        return Evaluation.load(folder), both
    policy, rest = contestant.loaded.policy, {"device": args.device, "advance": progress.advance}
    if teacher is None:
        evaluation, both = evaluate(policy, env_config, **how, **rest), None
    else:
        evaluation, both = disagreement(policy, teacher.loaded.policy, env_config, **how, **rest)
        folder.mkdir(parents=True, exist_ok=True)
        both.save(folder / "disagreement.npz")
    evaluation = replace(evaluation, settings=evaluation.settings | who)
    evaluation.save(folder)
    return evaluation, both


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
