"""From the runs and evaluations of a study on the disk to its results."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...errors import HandsightError
from ..report.candidates import each_text, refuse_incomparable, spent
from ..report.comparison import Comparison
from ..report.results import PolicyResult, try_all
from ..report.study_results import STUDENT_CURVE, TEACHER_CURVE, Study, TrainingResult, flatness
from ..runs import stored_config
from ..runs.provenance import provenance
from .training import Training
from .work import Found, Work

Answer = TypeVar("Answer")


def collect(work: Work, failed: Mapping[str, str] | None = None) -> Study:
    """Everything that is finished and evaluated; the rest is named in the states of the trainings and in notes.

    Args:
        work: the study.
        failed: what went wrong, by the key of the training.

    Raises:
        HandsightError: finished trainings differ in more than what is compared.
    """
    failed, spec = failed or {}, work.spec
    comparisons, results, notes = {}, [], []
    for scene in spec.scenes:
        members = [training for training in spec.trainings if training.scene == scene]
        ready = [training for training in members if _is_ready(work, training)]
        names: dict[Training, str] = {}
        if ready:
            comparisons[scene], names = _compare(work, scene, ready)
        results += [_result(work, one, names.get(one), failed.get(one.key)) for one in members]
        missing = [one.key for one in members if one not in ready]
        notes += [f"Not among the results, as not finished: {', '.join(missing)}."] if missing else []
    commits = {_commit(policy) for comparison in comparisons.values() for policy in comparison.policies} - {None}
    if len(commits) > 1:
        notes.append(f"Cells were trained by {len(commits)} commits: {', '.join(sorted(map(str, commits)))}.")
    matched = {(one.scene, one.seed): one for one in spec.trainings if one.kind.matched}.values()
    matches = tuple(match for one in matched if (match := _unless_wrong(work.match_of, one, None)))
    origin = portable(provenance(), spec.out)
    return Study(comparisons, stored_config.dump(spec), tuple(results), matches, origin, tuple(notes))


def _compare(work: Work, scene: str, ready: list[Training]) -> tuple[Comparison, dict[Training, str]]:
    """The comparison of a scene, and the name of each training's policy."""
    found = {training: work.candidates(training) for training in ready}
    by_digest = {one.origin.digest: one for several in reversed(found.values()) for one in several}
    digests = dict.fromkeys(one.origin.digest for several in found.values() for one in several)
    candidates = [by_digest[digest] for digest in digests]
    refuse_incomparable(candidates, f"the policies of scene {scene}")
    policies = try_all(candidates, work.spec.evaluation, work.out)
    facts = policies[0].evaluation.settings
    settings = {
        **{key: facts[key] for key in ("episodes", "num_envs", "reset_kind", "seed", "postures", "env")},
        "scene": scene,
        "rig": candidates[0].loaded.signature.get("rig", {}),
        "provenance": provenance(),
    }
    names = {policy.origin.digest: policy.name for policy in policies}
    comparison = portable(Comparison(tuple(policies), settings), work.out)
    return comparison, {one: names[several[-1].origin.digest] for one, several in found.items()}


def _is_ready(work: Work, training: Training) -> bool:
    """Whether it is evaluated and, if it is a student, its teacher, too: what is not would be evaluated here."""
    teachers = [need for need in training.needs if need.sight is None and training.sight and training.settled]
    if not all(_is_ready(work, need) for need in teachers):
        return False
    return _unless_wrong(work.found, training, Found()).finished and _unless_wrong(work.is_evaluated, training, False)


def _unless_wrong(ask: Callable[[Training], Answer], training: Training, otherwise: Answer) -> Answer:
    """What is asked of a training, or `otherwise` where what lies on the disk is not what is asked for, or where its
    teacher is not there yet."""
    try:
        return ask(training)
    except HandsightError:
        return otherwise


def _result(work: Work, training: Training, policy: str | None, error: str | None) -> TrainingResult:
    found = _unless_wrong(work.found, training, Found())
    rows, meta = (found.run.metrics(), found.run.meta) if found.run else ([], {})
    began = (meta.get("resumed") or [meta])[-1]
    settled = work.settled(training) or training
    return TrainingResult(
        scene=training.scene,
        seed=training.seed,
        cell=settled.name,
        state="failed" if error else "finished" if found.finished else "begun" if found.run else "waiting",
        entry=policy,
        teacher=settled.teacher,
        iterations=int(max((row["iteration"] for row in rows if "iteration" in row), default=0)),
        steps=int(max((row["step"] for row in rows), default=0)),
        seconds=spent(rows) or 0.0,
        cores=began.get("hardware", {}).get("cores"),
        flatness=flatness(rows, STUDENT_CURVE if training.sight else TEACHER_CURVE),
        error=error and portable(error, work.out),
    )


def _commit(policy: PolicyResult) -> str | None:
    git = policy.origin.meta.get("git") or {}
    return git.get("commit", "")[:10] or None


def portable(tree: Any, out: Path) -> Any:
    """The tree with paths told from the study's folder; of other absolute paths only the last part is left."""

    def told(text: str) -> str:
        for root in (f"{out.resolve()}/", f"{out}/"):
            text = text.replace(root, "")
        return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+([\w.@+-]+)", r"\1", text)

    return each_text(tree, told)
