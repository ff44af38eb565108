"""From the runs and evaluations of a study on the disk to its results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from ...errors import HandsightError
from ..evaluation.evaluation import Evaluation
from ..report.candidates import Candidate, refuse_incomparable
from ..report.comparison import Comparison
from ..report.results import PolicyResult, try_all
from ..report.store import as_stored
from ..report.study_results import STUDENT_CURVE, TEACHER_CURVE, Match, Study, TrainingResult, flatness
from ..runs import stored_config
from ..runs.provenance import provenance
from .cells import Cell
from .spec import StudyConfig
from .work import Found, Work


def collect(work: Work, failed: Mapping[str, str] | None = None) -> Study:
    """Everything that is finished and evaluated; the rest is named in the cells' states and in notes.

    Args:
        work: the study.
        failed: what went wrong, by the key of the cell.

    Raises:
        HandsightError: finished cells differ in more than what is compared.
    """
    failed, spec = failed or {}, work.spec
    comparisons, cells, notes = {}, [], []
    for scene in spec.scenes:
        members = [cell for cell in spec.cells if cell.scene == scene]
        ready = [cell for cell in members if _is_ready(work, cell)]
        names: dict[Cell, str] = {}
        if ready:
            comparisons[scene], names = _compare(work, scene, ready)
        cells += [_result(work, cell, names.get(cell), failed.get(cell.key)) for cell in members]
        missing = [cell.key for cell in members if cell not in ready]
        notes += [f"Not among the results, as not finished: {', '.join(missing)}."] if missing else []
    matches = [match for cell in _matched(spec) if (match := _match_of(work, cell))]
    commits = {_commit(entry) for comparison in comparisons.values() for entry in comparison.policies} - {None}
    notes += [f"Cells were trained by {len(commits)} commits: {', '.join(sorted(map(str, commits)))}."] * (
        len(commits) > 1
    )
    told = stored_config.dump(spec)
    facts = portable(provenance(), spec.out)
    return Study(comparisons, told, tuple(cells), tuple(matches), facts, tuple(notes))


def _compare(work: Work, scene: str, ready: list[Cell]) -> tuple[Comparison, dict[Cell, str]]:
    """The comparison of a scene, and the name of each cell's entry."""
    candidates: dict[str, Candidate] = {}
    digests: dict[Cell, str] = {}
    for cell in ready:
        for candidate, _ in work.candidates(cell):
            known = candidates.get(candidate.origin.digest)
            candidates[candidate.origin.digest] = known or candidate
            digests[cell] = candidate.origin.digest
    members = list(candidates.values())
    refuse_incomparable(members, f"the policies of scene {scene}")
    policies = try_all(members, work.trial, work.out)
    settings = {
        **{key: policies[0].evaluation.settings[key] for key in ("episodes", "num_envs", "reset_kind", "seed", "env")},
        "scene": scene,
        "rig": members[0].loaded.signature.get("rig", {}),
        "provenance": portable(provenance(), work.out),
    }
    names = {cell: next(e.name for e in policies if e.origin.digest == digest) for cell, digest in digests.items()}
    comparison = Comparison(tuple(_portable_entry(entry, work.out) for entry in policies), settings)
    return as_stored(comparison), names


def _is_ready(work: Work, cell: Cell) -> bool:
    """Whether it is evaluated and, if it is a student, its teacher, too: what is not would be evaluated here."""
    if not cell.is_teacher and not cell.matched and not all(_is_ready(work, need) for need in cell.needs):
        return False
    try:
        return _found(work, cell).state == "finished" and work.is_evaluated(cell)
    except HandsightError:
        return False


def _found(work: Work, cell: Cell) -> Found:
    """What lies in a cell's folder; nothing, where its teacher is not there yet."""
    try:
        return work.found(cell)
    except HandsightError:
        return Found("new")


def _result(work: Work, cell: Cell, entry: str | None, error: str | None) -> TrainingResult:
    found = _found(work, cell)
    state: Literal["finished", "begun", "failed", "waiting"] = "waiting"
    if error:
        state = "failed"
    elif found.state != "new":
        state = "finished" if found.state == "finished" else "begun"
    rows = found.run.metrics() if found.run else []
    meta = found.run.meta if found.run else {}
    settled = work.settled(cell) or cell
    return TrainingResult(
        scene=cell.scene,
        seed=cell.seed,
        cell=settled.name,
        state=state,
        entry=entry,
        teacher=settled.teacher,
        iterations=int(max((row["iteration"] for row in rows if "iteration" in row), default=0)),
        steps=int(max((row["step"] for row in rows), default=0)),
        seconds=sum(value for row in rows for name, value in row.items() if name.startswith("seconds/")),
        cores=meta.get("hardware", {}).get("cores"),
        flatness=flatness(rows, TEACHER_CURVE if cell.is_teacher else STUDENT_CURVE),
        error=error and str(portable(error, work.out)),
    )


def _matched(spec: StudyConfig) -> list[Cell]:
    """One matched cell of each seed that has any."""
    return list({(cell.scene, cell.seed): cell for cell in spec.cells if cell.matched}.values())


def _match_of(work: Work, cell: Cell) -> Match | None:
    try:
        return work.match_of(cell)
    except HandsightError:
        return None


def _commit(entry: PolicyResult) -> str | None:
    git = entry.origin.meta.get("git") or {}
    return git.get("commit", "")[:10] or None


def _portable_entry(entry: PolicyResult, out: Path) -> PolicyResult:
    """The entry without a path of this machine."""
    metrics, origin = entry.origin.metrics, {k: v for k, v in asdict(entry.origin).items() if k != "metrics"}
    return replace(
        entry,
        origin=type(entry.origin)(**portable(origin, out), metrics=metrics),
        evaluation=_portable_evaluation(entry.evaluation, out),
        ablations={how: _portable_evaluation(one, out) for how, one in entry.ablations.items()},
    )


def _portable_evaluation(evaluation: Evaluation, out: Path) -> Evaluation:
    return replace(evaluation, settings=portable(evaluation.settings, out))


def portable(tree: Any, out: Path) -> Any:
    """The tree with paths told from the study's folder; of other absolute paths only the last part is left."""
    if isinstance(tree, Mapping):
        return {key: portable(value, out) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [portable(value, out) for value in tree]
    if isinstance(tree, Path):
        return portable(str(tree), out)
    if not isinstance(tree, str):
        return tree
    text = tree
    for root in dict.fromkeys((f"{out.resolve()}/", f"{out}/")):
        text = text.replace(root, "")
    return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+([\w.@+-]+)", r"\1", text)
