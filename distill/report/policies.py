"""A policy that is to be compared: loaded, with what its checkpoint and its run tell of where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import explained, read_json
from ..evaluation.statistics import plain
from ..runs import checkpoint, zoo
from ..runs.policy_io import LoadedPolicy, load_policy
from ..runs.run import CONFIG


@dataclass(frozen=True)
class Contestant:
    """A policy that is to be compared."""

    loaded: LoadedPolicy
    origin: Origin
    sight: str
    """`roles.sight_of` its configuration."""
    role: str
    """What it is called beside its seed, from the checkpoints alone; see `roles`."""
    teacher: Path | None = None
    """Checkpoint of the student's teacher; None for a teacher."""
    teacher_digest: str | None = None
    """sha256 of that checkpoint's manifest when the student learnt from it."""
    driver: Path | None = None
    """Checkpoint of the student on whose states a control student was fitted; None if it drove itself."""
    driver_digest: str | None = None
    """sha256 of its manifest at that time."""


def load_contestant(path: Path, device: str = "cpu") -> Contestant:
    """A policy with what its checkpoint and run tell about where it comes from."""
    loaded = load_policy(path, device=device)
    with explained(loaded.path):
        return _contestant(loaded, checkpoint.load(loaded.path))


def _contestant(loaded: LoadedPolicy, tree: dict[str, Any]) -> Contestant:
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
        return Contestant(loaded, origin, sight, teacher_role(sight, bool(origin.warm_started_from)))
    teacher = zoo.resolve(tree["teacher"]["path"])
    taught, warm = "unknown", False
    if teacher.is_dir():
        known = checkpoint.load(teacher)
        taught, warm = sight_of(known["policy"]["config"]), bool(known.get("warm_started_from"))
    role, driver = student_role(taught, sight, warm), tree.get("driver", {})
    where = Path(driver["path"]) if driver else None
    return Contestant(loaded, origin, sight, role, teacher, tree["teacher"]["sha256"], where, driver.get("sha256"))


def from_here(tree: Any) -> Any:
    """The tree with paths below the working directory made relative to it: a report is read on other machines."""
    if isinstance(tree, dict):
        return {key: from_here(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [from_here(value) for value in tree]
    return tree.removeprefix(f"{Path.cwd()}/") if isinstance(tree, str) else tree


WIRING = ("task", "action_space", "control_dt", "rig")
"""Parts of the signature in which policies that are compared must agree."""
COMPARED = ("seed", "teacher", "teacher.path", "warm_start", "control", "driver", "data", "student.sight")
"""What chains of teacher and student are compared by: leaves of a run's configuration that may differ."""
ELSEWHERE = ("env", "device", "sims", "remote", "keep_checkpoints", "memory_budget_gib")
"""Parts of a run's configuration that are looked at by themselves, or do not change what is learnt."""


def check_alike(contestants: Sequence[Contestant]) -> list[str]:
    """Notes on what differs beside what is being compared: training environments, budgets, settings.

    Raises:
        HandsightError: task, action space, camera rig or control rate differ; says in what.
    """
    first = contestants[0]
    for other in contestants[1:]:
        signatures = [flat({key: c.loaded.signature.get(key) for key in WIRING}) for c in (first, other)]
        wrong = differences(*signatures)
        if wrong:
            head = f"compare: {other.loaded.path} and {first.loaded.path} cannot be compared; they differ in"
            raise HandsightError("\n  ".join([head, *wrong]))
    return [*_unlike_worlds(contestants), *_unlike_trainings(contestants)]


def refuse_unlike(contestants: Sequence[Contestant], what: str) -> None:
    """Raise HandsightError, which says in what, if anything differs that is not what a study compares.

    Args:
        contestants: all policies of a scene.
        what: is to be compared, for the message.
    """
    notes = check_alike(contestants)
    if notes:
        raise HandsightError("\n  ".join([f"{what} differ in more than what is compared:", *notes]))


def _unlike_worlds(contestants: Sequence[Contestant]) -> list[str]:
    first, notes = contestants[0], []
    for other in contestants[1:]:
        apart = differences(*(flat(plain(asdict(c.loaded.env_config))) for c in (first, other)))
        if apart:
            notes.append(
                f"{other.loaded.path} was trained in another environment than the one in which all are evaluated "
                f"(that of {first.loaded.path}): {'; '.join(apart)}."
            )
    return notes


def _unlike_trainings(contestants: Sequence[Contestant]) -> list[str]:
    """Students among each other, and teachers of one role: whoever had more to learn from may do better for that."""
    firsts: dict[str, Contestant] = {}
    notes = []
    for contestant in contestants:
        if not contestant.origin.config:
            continue
        first = firsts.setdefault("students" if is_student(contestant.role) else contestant.role, contestant)
        apart = differences(*(_settings(c) for c in (first, contestant)))
        if apart:
            notes.append(
                f"{contestant.loaded.path} was trained otherwise than {first.loaded.path}: {'; '.join(apart)} "
                "(the second's first)."
            )
    return notes


def _settings(contestant: Contestant) -> dict[str, Any]:
    """A training's configuration without what is compared."""
    kept = {key: value for key, value in contestant.origin.config.items() if key not in ELSEWHERE}
    return {name: leaf for name, leaf in flat(kept).items() if name not in COMPARED}


def flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested dicts by dotted name."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {key: leaf for part, sub in tree.items() for key, leaf in flat(sub, f"{name}.{part}".strip(".")).items()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """A line for each leaf in which two flat dicts differ."""
    names = dict.fromkeys([*one, *other])
    return [f"{n}: {one.get(n)!r} and {other.get(n)!r}" for n in names if plain(one.get(n)) != plain(other.get(n))]


ARROW, WARM = " → ", ", warm start"
"""WARM ends the role of a teacher that imitated another one before it learnt by itself, and of those it taught."""
CONTROL, LEFT = "control", "left eye"
TEACHERS = ("state", "depth" + WARM, "depth")
"""Rows of the gap matrix; the last one learnt from scratch, end to end."""
STUDENTS = (CONTROL, "depth", "stereo", LEFT)
"""Columns of the gap matrix."""


def sight_of(policy_config: Mapping[str, Any]) -> str:
    """What a policy of this configuration sees beside proprioception: "state", "depth", "stereo", "left eye".

    A student that is given both eyes and fuses only the left one sees with its left eye.
    """
    if "sight" in policy_config:
        left = policy_config["sight"] == "left" or policy_config["fusion"] == "left"
        return LEFT if left and policy_config["sight"] in ("stereo", "left") else policy_config["sight"]
    return next((key for key in policy_config["actor_keys"] if key != "proprio"), "proprio")


def teacher_role(sight: str, warm: bool) -> str:
    """e.g. "state teacher", "depth teacher, warm start"."""
    return f"{sight} teacher{WARM if warm else ''}"


def student_role(taught: str, sight: str, warm: bool) -> str:
    """e.g. "state → stereo", "depth → left eye, warm start"; a student that sees what its teacher sees is its control.

    taught: the teacher's sight; warm: that teacher imitated another one first.
    """
    return f"{taught}{ARROW}{CONTROL if sight == taught else sight}{WARM if warm else ''}"


def is_student(role: str) -> bool:
    """Whether the role is that of a student."""
    return ARROW in role


def cell_of(role: str) -> tuple[str, str]:
    """(teacher, student) of a student's role: its row and column in the gap matrix, e.g. ("depth, warm start",
    "stereo")."""
    taught, student = role.removesuffix(WARM).split(ARROW)
    return taught + (WARM if role.endswith(WARM) else ""), student


def role_of_cell(teacher: str, student: str) -> str:
    """The role that stands in a cell of the gap matrix.

    A depth student of a depth teacher sees what its teacher sees: both columns show the same policies, its control.
    """
    return student_role(
        teacher.removesuffix(WARM), teacher.removesuffix(WARM) if student == CONTROL else student, WARM in teacher
    )


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
    """Of the training."""
    config: dict[str, Any] = field(default_factory=dict)
    """The run's configuration."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Commit, versions, hardware, command line."""
    metrics: tuple[dict[str, float], ...] = ()
    """What was logged in training, row by row."""
    warm_started_from: str | None = None
    """Teacher that a teacher imitated before it learnt by itself."""

    @property
    def seconds(self) -> float | None:
        """Wall time of the training: `seconds` if it was logged (cumulative), else the sum over all `seconds/...`."""
        cumulative = [row["seconds"] for row in self.metrics if "seconds" in row]
        parts = [value for row in self.metrics for name, value in row.items() if name.startswith("seconds/")]
        return cumulative[-1] if cumulative else sum(parts) if parts else None


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
            if (teacher / checkpoint.MANIFEST).is_file() and checkpoint.digest(teacher) == wanted:
                contestants.append(load_contestant(teacher, device))
                known.add(contestants[-1].origin.digest)
            else:
                notes.append(f"The teacher of {contestant.origin.checkpoint} is not at {teacher} any more: no gap.")
        contestants.append(contestant)
    return contestants, notes
