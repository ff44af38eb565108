"""From candidates to the results of a comparison: each is evaluated on the same resets, students with their teacher
asked beside them, and everything that was evaluated before is read from the run folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ... import plugins, sims
from ...errors import HandsightError
from ...files import is_writable
from ...policies.policy import Policy
from ...sims.machine import without_machine
from ..evaluation.ablation import AblatedPolicy, kinds_of
from ..evaluation.disagreement import Disagreement, disagreement
from ..evaluation.evaluate import evaluate
from ..evaluation.evaluation import ARRAYS, Evaluation
from ..evaluation.statistics import plain
from ..evaluation.trial import TrialConfig
from ..runs import checkpoint
from ..runs.policy_io import LoadedPolicy, load_policy, origin_of
from ..runs.progress import stage
from ..runs.provenance import provenance, sources_digest
from .candidates import Candidate, Origin
from .policy_kind import PolicyKind


def ablations_of(kind: PolicyKind, trial: TrialConfig) -> tuple[str, ...]:
    """The ablations that are tried with policies of this kind."""
    return kinds_of(kind.sight) if trial.ablations else ()


@dataclass(frozen=True)
class PolicyResult:
    """All that was found out about one policy of a comparison."""

    name: str
    """Unique: the kind's label, with the training seed where several policies share it."""
    kind: PolicyKind
    """Equal for all training seeds."""
    evaluation: Evaluation
    origin: Origin
    teacher: str | None = None
    """Name of its teacher's result; None for a teacher, and for a student whose teacher is not compared."""
    disagreement: Disagreement | None = None
    """With that teacher, on this policy's own states."""
    ablations: Mapping[str, Evaluation] = field(default_factory=dict)
    """By kind (`ablation.KINDS`): the same policy on the same resets, its images tampered with; empty if not run."""
    ablated_disagreements: Mapping[str, Disagreement] = field(default_factory=dict)
    """With the teacher, which sees what is there, on the states that the ablated student visits."""
    driver: str | None = None
    """Digest of the checkpoint of the student that was the behaviour policy while this one, its control, was fitted."""
    driven: Disagreement | None = None
    """With the teacher on the states of that student, which acted while both were asked."""

    @property
    def success(self) -> float:
        """Share of the episodes that end in success."""
        return float(self.evaluation.success_at_end.mean())

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`Evaluation.summary`, worked out once."""
        return self.evaluation.summary()


@dataclass(frozen=True)
class Trials:
    """Tries policies in one environment; what was tried before is read from where it was kept."""

    config: TrialConfig
    env_config: sims.EnvConfig
    out: Path
    """Folder for what is found out about a policy that lies in no run folder, or in one that cannot be written."""
    advance: Callable[[int], None] = lambda episodes: None
    """Is called with the number of episodes finished."""

    def result(self, candidate: Candidate, teacher: Candidate | None) -> PolicyResult:
        """Evaluate one policy, its disagreement with its teacher (if that is compared), and its ablations.

        Returns:
            a result that is called by its kind, like its teacher; `try_all` tells seeds apart.
        """
        evaluation, both = self.evaluated(candidate, teacher)
        kinds = ablations_of(candidate.kind, self.config)
        ablated = {kind: self.evaluated(candidate, teacher, ablation=kind) for kind in kinds}
        driver = driver_of(candidate, self.config.device) if teacher else None
        return PolicyResult(
            name=candidate.kind.label,
            kind=candidate.kind,
            evaluation=evaluation,
            origin=candidate.origin,
            teacher=teacher.kind.label if teacher else None,
            disagreement=both,
            ablations={kind: found for kind, (found, _) in ablated.items()},
            ablated_disagreements={kind: other for kind, (_, other) in ablated.items() if other is not None},
            driver=candidate.driver_digest,
            driven=self.evaluated(candidate, teacher, driver=driver)[1] if driver else None,
        )

    def evaluated(
        self,
        candidate: Candidate,
        teacher: Candidate | None,
        ablation: str | None = None,
        driver: LoadedPolicy | None = None,
    ) -> tuple[Evaluation, Disagreement | None]:
        """Evaluate, or read what the same evaluation of the same checkpoint left in the run folder (or in `out`).

        With a driver, which acts instead of the candidate, the evaluation is the driver's.
        """
        drives = candidate.driver_digest if driver else None
        who = who_met(candidate.origin.digest, teacher.origin.digest if teacher else None, ablation, drives)
        home = candidate.loaded.results if candidate.origin.run else self.out
        folder = self.folder(home, who)
        if not (is_evaluated(folder) or is_writable(folder)):
            folder = self.folder(self.out, who)
        if is_evaluated(folder):
            self.advance(self.config.episodes)
            return Evaluation.load(folder), Disagreement.load(folder / "disagreement.npz") if teacher else None
        policy: Policy = candidate.loaded.policy
        policy = AblatedPolicy(policy, ablation) if ablation else policy
        how = {**self.config.resets, "device": self.config.device, "advance": self.advance}
        if teacher is None:
            evaluation, both = evaluate(policy, self.env_config, **how), None
        else:
            driving = driver.policy if driver else None
            evaluation, both = disagreement(policy, teacher.loaded.policy, self.env_config, **how, driver=driving)
            both.save(folder / "disagreement.npz")
        evaluation = replace(evaluation, settings=evaluation.settings | who)
        evaluation.save(folder, {"checkpoint": origin_of(candidate.loaded), **provenance()})
        return evaluation, both

    def folder(self, home: Path, who: Mapping[str, Any]) -> Path:
        """Where an evaluation is kept: below the policy's run folder `home`, by who (`who_met`) did what where."""
        columns = [*ARRAYS, *(f.name for f in fields(Disagreement)), *plugins.names("metrics")]
        environment = {
            "env": plain(without_machine(self.env_config, asdict(self.env_config))),
            "sources": sources_digest(),
        }
        wanted = {**who, **self.config.resets, **environment, "columns": columns}
        return home / "evaluations" / hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]


def try_all(candidates: Sequence[Candidate], config: TrialConfig, out: Path) -> list[PolicyResult]:
    """Try each in the first one's environment; what is not kept in a run folder goes to `out`."""
    names = unique_names([c.kind.label for c in candidates], [c.origin.seed for c in candidates])
    results = []
    total = sum(1 + len(ablations_of(c.kind, config)) + bool(c.driver) for c in candidates) * config.episodes
    with stage("Evaluate on the same resets", total, unit="episodes") as progress:
        trials = Trials(config, candidates[0].loaded.env_config, out, progress.advance)
        for candidate, name in zip(candidates, names, strict=True):
            taught_by = [i for i, c in enumerate(candidates) if c.origin.digest == candidate.teacher_digest]
            result = trials.result(candidate, candidates[taught_by[0]] if taught_by else None)
            progress.advance(0, success=float(result.evaluation.success_at_end.mean()))
            results.append(replace(result, name=name, teacher=names[taught_by[0]] if taught_by else None))
    return results


def who_met(
    policy: str, teacher: str | None, ablation: str | None = None, driver: str | None = None
) -> dict[str, str | None]:
    """Who takes part in an evaluation: digests of the checkpoints, and what was done to the images."""
    more = {"ablation": ablation, "driver": driver}
    return {"policy": policy, "teacher": teacher} | {key: value for key, value in more.items() if value}


def driver_of(candidate: Candidate, device: str) -> LoadedPolicy | None:
    """The student on whose states a control student was fitted; None if it was its own behaviour policy.

    Raises:
        HandsightError: it is not where it was any more.
    """
    if candidate.driver is None:
        return None
    known = load_policy(candidate.driver, device)
    if checkpoint.digest(known.path) != candidate.driver_digest:
        what = f"{candidate.loaded.path} was fitted on the states of {candidate.driver}"
        raise HandsightError(f"{what}; expected that checkpoint there, found another one")
    return known


def is_evaluated(folder: Path) -> bool:
    """Whether an evaluation is there, whole: its episodes are written last."""
    return (folder / "episodes.npz").is_file()


def unique_names(labels: Sequence[str], seeds: Sequence[int | None]) -> list[str]:
    """Names of the results: the label of the kind, with the training seed (or a number) where several share it."""
    names = []
    for i, (label, seed) in enumerate(zip(labels, seeds, strict=True)):
        same = [j for j, other in enumerate(labels) if other == label]
        telling = len({seeds[j] for j in same}) == len(same) and seed is not None
        mark = f"seed {seed}" if telling else f"no. {same.index(i) + 1}"
        names.append(f"{label} ({mark})" if len(same) > 1 else label)
    return names
