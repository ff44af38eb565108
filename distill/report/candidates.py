"""A policy that is to be compared, with what its checkpoint and its run tell of where it comes from; and whether
several of them can be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets.reader import leaves
from ...errors import HandsightError
from ...files import explained, read_json
from ...sims.tasks.signature import as_today
from ..evaluation.statistics import plain
from ..runs import checkpoint, zoo
from ..runs.policy_io import LoadedPolicy, found_again, load_policy
from ..runs.run import CONFIG
from .policy_kind import PolicyKind, sight_of


@dataclass(frozen=True)
class Origin:
    """Where a policy comes from, as far as its run folder tells."""

    checkpoint: str
    """Path of the checkpoint that was evaluated."""
    digest: str
    """sha256 of its manifest."""
    run: str | None = None
    """Path of the run folder."""
    seed: int | None = None
    """Seed of the training."""
    config: dict[str, Any] = field(default_factory=dict)
    """Configuration of the run, as its config.json has it."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Commit, versions, hardware, command line."""
    metrics: tuple[dict[str, float], ...] = ()
    """What was logged in training, row by row."""
    warm_started_from: str | None = None
    """Teacher that a teacher imitated before it learnt by itself."""

    @property
    def seconds(self) -> float | None:
        """Wall time of the training, see `spent`."""
        return spent(self.metrics)


@dataclass(frozen=True)
class Candidate:
    """A policy that is to be compared."""

    loaded: LoadedPolicy
    origin: Origin
    kind: PolicyKind
    """What it is called beside its seed, from the checkpoints alone."""
    teacher: Path | None = None
    """Checkpoint of the student's teacher; None for a teacher."""
    teacher_digest: str | None = None
    """sha256 of that checkpoint's manifest when the student learnt from it."""
    driver: Path | None = None
    """Checkpoint of the behaviour policy on whose states a control student was fitted; None if that was itself."""
    driver_digest: str | None = None
    """sha256 of its manifest at that time."""


def load_candidate(path: Path, device: str = "cpu") -> Candidate:
    """A policy with what its checkpoint and run tell about where it comes from."""
    loaded = load_policy(path, device=device)
    loaded.check_scene(loaded.env_config)
    with explained(loaded.path):
        return _candidate(loaded, checkpoint.load(loaded.path))


def _candidate(loaded: LoadedPolicy, tree: dict[str, Any]) -> Candidate:
    run = loaded.run
    meta = run.meta if run else {}
    origin = Origin(
        checkpoint=from_here(str(loaded.name)),
        digest=checkpoint.digest(loaded.path),
        run=from_here(str(loaded.name if zoo.name_of(loaded.name) else run.path)) if run else None,
        seed=meta.get("seed"),
        config=from_here(read_json(run.path / CONFIG)["config"]) if run else {},
        meta=from_here(meta),
        metrics=tuple(run.metrics()) if run else (),
        warm_started_from=from_here(tree.get("warm_started_from")),
    )
    sight = sight_of(tree["policy"]["config"])
    if "teacher" not in tree:
        return Candidate(loaded, origin, PolicyKind(sight, warm_start=bool(origin.warm_started_from)))
    near = run.path if run else loaded.path
    teacher = found_again(tree["teacher"]["path"], near, tree["teacher"]["sha256"])
    kind = PolicyKind("unknown", sight)
    if teacher.is_dir():
        known = checkpoint.load(teacher)
        kind = PolicyKind(sight_of(known["policy"]["config"]), sight, bool(known.get("warm_started_from")))
    driver = tree.get("driver", {})
    where = found_again(driver["path"], near, driver["sha256"]) if driver else None
    return Candidate(loaded, origin, kind, teacher, tree["teacher"]["sha256"], where, driver.get("sha256"))


def from_here(tree: Any) -> Any:
    """The tree with paths below the working directory made relative to it: a report is read on other machines."""
    return each_text(tree, lambda text: text.removeprefix(f"{Path.cwd()}/"))


def each_text(tree: Any, change: Callable[[str], str]) -> Any:
    """The tree of dicts, lists and frozen dataclasses with each text and path in it changed; arrays stay as they
    are."""
    match tree:
        case str() | Path():
            return change(str(tree))
        case Mapping():
            return {key: each_text(value, change) for key, value in tree.items()}
        case list() | tuple():
            return type(tree)(each_text(value, change) for value in tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{one.name: each_text(getattr(tree, one.name), change) for one in fields(tree)})
    return tree


def spent(rows: Sequence[Mapping[str, float]]) -> float | None:
    """Seconds of collecting and learning: `seconds` if it was logged (cumulative), else the sum over all
    `seconds/...`; None if nothing was. rows: as in metrics.csv."""
    cumulative = [row["seconds"] for row in rows if "seconds" in row]
    parts = [value for row in rows for name, value in row.items() if name.startswith("seconds/")]
    return cumulative[-1] if cumulative else sum(parts) if parts else None


def gather(paths: Sequence[Path], device: str = "cpu") -> tuple[list[Candidate], list[str]]:
    """Load the policies, and before each student its teacher if that was not named. Returns them with notes for the
    report."""
    named = list({c.origin.digest: c for c in (load_candidate(Path(path), device) for path in paths)}.values())
    known = {candidate.origin.digest for candidate in named}
    candidates: list[Candidate] = []
    notes: list[str] = []
    for candidate in named:
        teacher, wanted = candidate.teacher, candidate.teacher_digest
        if teacher is not None and wanted not in known:
            if (teacher / checkpoint.MANIFEST).is_file() and checkpoint.digest(teacher) == wanted:
                candidates.append(load_candidate(teacher, device))
                known.add(candidates[-1].origin.digest)
            else:
                notes.append(f"The teacher of {candidate.origin.checkpoint} is not at {teacher} any more: no gap.")
        candidates.append(candidate)
    return candidates, notes


WIRING = ("version", "task", "action_space", "control_dt", "rig")
"""Parts of the signature in which policies that are compared must agree."""
COMPARED = ("seed", "teacher", "teacher.path", "warm_start", "control", "driver", "data", "student.sight")
"""What teacher-student pairs are compared by: leaves of a run's configuration that may differ."""
ELSEWHERE = ("env", "device", "sims", "remote", "keep_checkpoints", "memory_budget_gib")
"""Parts of a run's configuration that are looked at by themselves, or do not change what is learnt."""


def comparability(candidates: Sequence[Candidate]) -> list[str]:
    """Notes on what differs beside what is being compared: training environments, budgets, settings.

    Raises:
        HandsightError: task, action space, camera rig or control rate differ; says in what.
    """
    first = candidates[0]
    for other in candidates[1:]:
        signatures = [leaves({key: as_today(c.loaded.signature).get(key) for key in WIRING}) for c in (first, other)]
        wrong = differences(*signatures)
        if wrong:
            head = f"compare: {other.loaded.path} and {first.loaded.path} cannot be compared; they differ in"
            raise HandsightError("\n  ".join([head, *wrong]))
    return [*_other_environments(candidates), *_other_trainings(candidates)]


def refuse_incomparable(candidates: Sequence[Candidate], what: str) -> None:
    """Make sure that nothing differs but what a study compares.

    Args:
        candidates: all policies of a scene.
        what: is to be compared, for the message.

    Raises:
        HandsightError: something else differs; says in what.
    """
    notes = comparability(candidates)
    if notes:
        raise HandsightError("\n  ".join([f"{what} differ in more than what is compared:", *notes]))


def _other_environments(candidates: Sequence[Candidate]) -> list[str]:
    first, notes = candidates[0], []
    for other in candidates[1:]:
        apart = differences(*(leaves(plain(asdict(c.loaded.env_config))) for c in (first, other)))
        if apart:
            notes.append(
                f"{other.loaded.path} was trained in another environment than the one in which all are evaluated "
                f"(that of {first.loaded.path}): {'; '.join(apart)}."
            )
    return notes


def _other_trainings(candidates: Sequence[Candidate]) -> list[str]:
    """Students among each other, and teachers of one kind: whoever had more to learn from may do better for that."""
    firsts: dict[Any, Candidate] = {}
    notes = []
    for candidate in candidates:
        if not candidate.origin.config:
            continue
        first = firsts.setdefault("students" if candidate.kind.is_student else candidate.kind, candidate)
        apart = differences(*(_settings(c) for c in (first, candidate)))
        if apart:
            notes.append(
                f"{candidate.loaded.path} was trained otherwise than {first.loaded.path}: {'; '.join(apart)} "
                "(the second's first)."
            )
    return notes


def _settings(candidate: Candidate) -> dict[str, Any]:
    """A training's configuration without what is compared."""
    kept = {key: value for key, value in candidate.origin.config.items() if key not in ELSEWHERE}
    return {name: leaf for name, leaf in leaves(kept).items() if name not in COMPARED}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """A line for each leaf in which two flat dicts differ."""
    names = dict.fromkeys([*one, *other])
    return [f"{n}: {one.get(n)!r} and {other.get(n)!r}" for n in names if plain(one.get(n)) != plain(other.get(n))]
