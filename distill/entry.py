"""One policy of a comparison: what it is called, where it comes from, and how it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .disagreement import Disagreement
from .evaluation import Evaluation


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
