"""From loaded policies to the entries of a comparison: each evaluated on the same resets, students with their teacher
listening, and everything that was evaluated before read from the run folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ... import sims
from ...errors import HandsightError
from ...policies.policy import Policy
from ...sims.machine import without_machine
from ..evaluation.ablation import AblatedPolicy, kinds_of
from ..evaluation.disagreement import Disagreement, disagreement
from ..evaluation.evaluate import HELD_OUT_SEED, evaluate
from ..evaluation.evaluation import ARRAYS, Evaluation
from ..evaluation.statistics import plain
from ..runs import checkpoint
from ..runs.policy_io import LoadedPolicy, load_policy
from ..runs.progress import stage
from ..runs.provenance import versions
from .policies import Contestant, Origin

Found = tuple[Evaluation, Disagreement | None]


@dataclass(frozen=True)
class TrialConfig:
    """How every policy of a comparison is tried."""

    episodes: int = 512
    """Resets to start from, one episode each."""
    seed: int = HELD_OUT_SEED
    """Of the resets."""
    num_envs: int = 256
    """Worlds stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset that every episode starts from; None takes the mix of the environment's configuration."""
    ablations: bool = False
    """Also try each policy that has eyes with its images shuffled, frozen and black."""
    device: str = "cpu"
    """Where the policies and the environment run."""

    @property
    def resets(self) -> dict[str, Any]:
        """What decides which resets are met, as `evaluate` takes it."""
        return {name: getattr(self, name) for name in ("episodes", "seed", "num_envs", "reset_kind")}


def make_entries(contestants: Sequence[Contestant], trial: TrialConfig, out: Path) -> list[Entry]:
    """Try each in the first one's environment; what is not kept in a run folder goes to `out`."""
    names = unique_names([c.role for c in contestants], [c.origin.seed for c in contestants])
    env_config, entries = contestants[0].loaded.env_config, []
    total = sum(1 + len(ablations(c, trial)) + bool(c.driver) for c in contestants) * trial.episodes
    with stage("Evaluate on the same resets", total, unit="episodes") as progress:
        for contestant, name in zip(contestants, names, strict=True):
            taught_by = [i for i, c in enumerate(contestants) if c.origin.digest == contestant.teacher_digest]
            teacher = contestants[taught_by[0]] if taught_by else None
            entry = make_entry(contestant, teacher, env_config, trial, out, progress.advance)
            progress.advance(0, success=float(entry.evaluation.success_at_end.mean()))
            entries.append(replace(entry, name=name, teacher=names[taught_by[0]] if taught_by else None))
    return entries


def make_entry(
    contestant: Contestant,
    teacher: Contestant | None,
    env_config: sims.EnvConfig,
    trial: TrialConfig,
    out: Path,
    advance: Callable[[int], None] = lambda episodes: None,
) -> Entry:
    """All that is found out about one policy: its evaluation, its disagreement with its teacher, its ablations.

    Args:
        contestant: is tried.
        teacher: its own, if it is a student whose teacher is compared.
        env_config: where.
        trial: how.
        out: folder for what is found out about a policy that lies in no run folder.
        advance: called with the number of episodes finished.

    Returns:
        an entry that is called by its role, like its teacher; `make_entries` tells seeds apart.
    """
    kinds = ablations(contestant, trial)
    evaluation, both = evaluated(contestant, teacher, env_config, trial, out, advance)
    ablated = {kind: evaluated(contestant, teacher, env_config, trial, out, advance, kind) for kind in kinds}
    driver = driver_of(contestant, trial.device) if teacher else None
    driven = evaluated(contestant, teacher, env_config, trial, out, advance, driver=driver)[1] if driver else None
    return Entry(
        name=contestant.role,
        role=contestant.role,
        sight=contestant.sight,
        evaluation=evaluation,
        origin=contestant.origin,
        teacher=teacher.role if teacher else None,
        disagreement=both,
        ablations={kind: found for kind, (found, _) in ablated.items()},
        ablated_disagreements={kind: other for kind, (_, other) in ablated.items() if other is not None},
        driver=contestant.driver_digest,
        driven=driven,
    )


def ablations(contestant: Contestant, trial: TrialConfig) -> tuple[str, ...]:
    """Kinds of ablation that are tried with this policy."""
    return kinds_of(contestant.sight) if trial.ablations else ()


def evaluated(
    contestant: Contestant,
    teacher: Contestant | None,
    env_config: sims.EnvConfig,
    trial: TrialConfig,
    out: Path,
    advance: Callable[[int], None] = lambda episodes: None,
    ablation: str | None = None,
    driver: LoadedPolicy | None = None,
) -> Found:
    """Evaluate, or read what the same evaluation of the same checkpoint left in the run folder.

    With a driver, which acts instead of the contestant, the evaluation is the driver's.
    """
    drives = contestant.driver_digest if driver else None
    who = who_met(contestant.origin.digest, teacher.origin.digest if teacher else None, ablation, drives)
    home = contestant.loaded.results if contestant.origin.run else out
    folder = evaluation_folder(home, who, env_config, trial)
    if is_evaluated(folder):
        advance(trial.episodes)
        return Evaluation.load(folder), Disagreement.load(folder / "disagreement.npz") if teacher else None
    policy: Policy = contestant.loaded.policy
    policy = AblatedPolicy(policy, ablation) if ablation else policy
    how = {**trial.resets, "device": trial.device, "advance": advance}
    if teacher is None:
        evaluation, both = evaluate(policy, env_config, **how), None
    else:
        driving = driver.policy if driver else None
        evaluation, both = disagreement(policy, teacher.loaded.policy, env_config, **how, driver=driving)
        folder.mkdir(parents=True, exist_ok=True)
        both.save(folder / "disagreement.npz")
    evaluation = replace(evaluation, settings=evaluation.settings | who)
    evaluation.save(folder)
    return evaluation, both


def who_met(
    policy: str, teacher: str | None, ablation: str | None = None, driver: str | None = None
) -> dict[str, str | None]:
    """Who takes part in an evaluation: digests of the checkpoints, and what was done to the images."""
    more = {"ablation": ablation, "driver": driver}
    return {"policy": policy, "teacher": teacher} | {key: value for key, value in more.items() if value}


def driver_of(contestant: Contestant, device: str) -> LoadedPolicy | None:
    """The student on whose states a control student was fitted; None if it drove itself.

    Raises:
        HandsightError: it is not where it was any more.
    """
    if contestant.driver is None:
        return None
    known = load_policy(contestant.driver, device)
    if checkpoint.digest(known.path) != contestant.driver_digest:
        what = f"{contestant.loaded.path} was fitted on the states of {contestant.driver}"
        raise HandsightError(f"{what}; expected that checkpoint there, found another one")
    return known


def evaluation_folder(home: Path, who: Mapping[str, Any], env_config: sims.EnvConfig, trial: TrialConfig) -> Path:
    """Where an evaluation is kept.

    Args:
        home: run folder of the policy.
        who: see `who_met`.
        env_config: where.
        trial: how.
    """
    return home / "evaluations" / _key(who, env_config, trial)


def is_evaluated(folder: Path) -> bool:
    """Whether an evaluation is there, whole: its episodes are written last."""
    return (folder / "episodes.npz").is_file()


def _key(who: Mapping[str, Any], env_config: sims.EnvConfig, trial: TrialConfig) -> str:
    """Of an evaluation: who did what in which worlds, and which columns were written down."""
    columns = [*ARRAYS, *(f.name for f in fields(Disagreement))]
    wanted = {
        **who,
        **trial.resets,
        "env": plain(without_machine(env_config, asdict(env_config))),
        "worlds": sources_digest(),
        "columns": columns,
    }
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]


def sources_digest() -> str:
    """Of everything that an evaluation's worlds are made of: our simulator's sources and the packages' versions."""
    sources = sorted(Path(sims.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    return f"{digest.hexdigest()} {versions()}"


@dataclass(frozen=True)
class Entry:
    """One policy of a comparison."""

    name: str
    """Unique: the role, with the training seed where several policies share it."""
    role: str
    """e.g. "depth teacher, warm start", "depth → stereo"; equal for the seeds of one kind of chain (see `roles`)."""
    sight: str
    """What it sees beside proprioception: "state", "depth", "stereo", "left eye"."""
    evaluation: Evaluation
    origin: Origin
    teacher: str | None = None
    """Name of its teacher's entry; None for a teacher, and for a student whose teacher is not compared."""
    disagreement: Disagreement | None = None
    """With that teacher, on this policy's own states."""
    ablations: Mapping[str, Evaluation] = field(default_factory=dict)
    """By kind (`ablation.KINDS`): the same policy on the same resets, its images tampered with; empty if not run."""
    ablated_disagreements: Mapping[str, Disagreement] = field(default_factory=dict)
    """With the teacher, which sees what is there, on the states that the ablated student visits."""
    driver: str | None = None
    """Digest of the checkpoint of the student on whose states this one, its control, was fitted."""
    driven: Disagreement | None = None
    """With the teacher on the states of that student, which acted while both were asked."""

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`Evaluation.summary`, worked out once."""
        return self.evaluation.summary()


def unique_names(roles: Sequence[str], seeds: Sequence[int | None]) -> list[str]:
    """Names of the entries: the role, with the training seed (or a number) where several share the role."""
    names = []
    for i, (role, seed) in enumerate(zip(roles, seeds, strict=True)):
        alike = [j for j, other in enumerate(roles) if other == role]
        telling = len({seeds[j] for j in alike}) == len(alike) and seed is not None
        mark = f"seed {seed}" if telling else f"no. {alike.index(i) + 1}"
        names.append(f"{role} ({mark})" if len(alike) > 1 else role)
    return names
