"""What a comparison of policies found: one entry per policy, one gap per student, and what several seeds say."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluation import Evaluation
from .intervals import Interval, plain, t_interval
from .observability import Disagreement, gap_difference, retention, success_gap

WARM = ", warm start"
"""Ends the role of a teacher that imitated another one before it learnt by itself."""


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
    """e.g. "depth teacher, warm start", "depth → stereo"; equal for the seeds of one kind of chain."""
    sight: str
    """What it sees beside proprioception: "state", "depth", "stereo"."""
    evaluation: Evaluation
    origin: Origin
    teacher: str | None = None
    """Name of its teacher's entry; None for a teacher, and for a student whose teacher is not compared."""
    disagreement: Disagreement | None = None
    """With that teacher, on this policy's own states."""
    ablations: dict[str, Evaluation] = field(default_factory=dict)
    """The same policy on the same resets with its images changed, by how: "shuffled", "frozen", "left-black"."""

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`Evaluation.summary`, worked out once."""
        return self.evaluation.summary()


@dataclass(frozen=True)
class Gap:
    """What one student lost against its teacher, on the same resets."""

    student: str
    teacher: str
    success: Interval
    """success_at_end of the teacher minus the student's."""
    retention: Interval
    """success_at_end of the student / teacher."""
    success_by_view: dict[str, Interval]
    """`success` among the resets with the object in view, and out of view, of the left eye."""
    unexplained: Interval | None
    """Unexplained action variance on the student's states."""
    unexplained_by_view: dict[str, Interval]
    """The same over the steps at which the left eye sees the object, and does not (each against the variance of the
    teacher's actions on those steps)."""


@dataclass(frozen=True)
class Comparison:
    """Policies evaluated on the same resets."""

    entries: tuple[Entry, ...]
    settings: dict[str, Any]
    """Episodes, seed, worlds, kind of reset, environment, and the provenance of the comparison itself."""
    notes: tuple[str, ...] = ()
    """What a reader has to know beside the figures: unlike training environments, teachers that were not found, ..."""

    def entry(self, name: str) -> Entry:
        """The entry of that name."""
        return next(entry for entry in self.entries if entry.name == name)

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """One for each student whose teacher is compared too."""
        return tuple(gap_of(entry, self.entry(entry.teacher)) for entry in self.entries if entry.teacher)

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """Roles in the order of their first entry."""
        return tuple(dict.fromkeys(entry.role for entry in self.entries))

    def of_role(self, role: str) -> list[Entry]:
        """The entries that share a role: one per training seed."""
        return [entry for entry in self.entries if entry.role == role]

    @cached_property
    def over_seeds(self) -> dict[str, dict[str, Any]]:
        """By role: t-intervals over training seeds of success_at_end and, for students, gap and retention."""
        gaps = {gap.student: gap for gap in self.gaps}
        result: dict[str, dict[str, Any]] = {}
        for role in self.roles:
            entries = self.of_role(role)
            success = t_interval([float(e.evaluation.success_at_end.mean()) for e in entries])
            result[role] = {"seeds": len(entries), "success_at_end": success}
            chains = [gaps[e.name] for e in entries if e.name in gaps]
            if chains:
                result[role] |= {
                    "success_gap": t_interval([gap.success.value for gap in chains]),
                    "retention": t_interval([gap.retention.value for gap in chains]),
                }
        return result

    def extra_loss(self, chosen: NDArray[np.bool_] | None = None) -> Interval | None:
        """How much more success the state teacher's student loses than the depth teacher's (first chain of each);
        None if one of the chains is not compared. chosen (E,) bool: resets to look at."""
        chains = []
        for role in ("state → stereo", "depth → stereo"):
            found = [entry for entry in self.of_role(role) if entry.teacher]
            if not found or not found[0].teacher:
                return None
            chains.append((self.entry(found[0].teacher).evaluation, found[0].evaluation))
        return gap_difference(chains[0], chains[1], chosen)

    def save(self, folder: Path) -> None:
        """Write comparison.json, comparison.csv and comparison.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comparison.json").write_text(json.dumps(plain(self.as_dict()), indent=2) + "\n")
        (folder / "comparison.csv").write_text(self.as_csv())
        (folder / "comparison.md").write_text(self.as_markdown())

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON; curves stay in the runs' own metrics.csv."""
        return {
            "settings": self.settings,
            "policies": [_describe(entry) for entry in self.entries],
            "gaps": [vars(gap) for gap in self.gaps],
            "over_seeds": self.over_seeds,
            "extra_loss_of_the_state_chain": self.extra_loss(),
            "notes": self.notes,
        }

    def as_csv(self) -> str:
        """One row per policy; each figure with its bounds in columns of their own."""
        rows = [
            _flat_row(entry, next((g for g in self.gaps if g.student == entry.name), None)) for entry in self.entries
        ]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def as_markdown(self) -> str:
        """The table of a README: a row per policy."""
        head = ["policy", "success at end", "once", "in view at reset", "out of view", "gap to teacher", "retention"]
        lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
        gaps = {gap.student: gap for gap in self.gaps}
        for entry in self.entries:
            gap = gaps.get(entry.name)
            cells = [
                entry.name,
                *success_cells(entry),
                *(str(f) for f in ([gap.success, gap.retention] if gap else [])),
            ]
            lines.append("| " + " | ".join(cells + [""] * (len(head) - len(cells))) + " |")
        first = self.entries[0].summary
        note = (
            f"{first['episodes']} held-out resets, the same for every policy; 95 % intervals: Wilson for shares, "
            "paired bootstrap over episodes for gaps and retention."
        )
        return "\n".join([*lines, "", note, ""])


def success_cells(entry: Entry) -> list[str]:
    """Success at end and once with intervals, then at end in and out of view."""
    views = entry.summary.get("by_view_at_reset", {})
    both = [str(Interval(**entry.summary[key])) for key in ("success_at_end", "success_once")]
    return both + [
        str(Interval(**views[v]["success_at_end"])) if v in views else "" for v in ("in view", "out of view")
    ]


def gap_of(student: Entry, teacher: Entry) -> Gap:
    """What the student lost."""
    t, s = teacher.evaluation, student.evaluation
    views = {"in view": s.in_view_at_reset, "out of view": ~s.in_view_at_reset} if s.seen else {}
    unexplained, by_view = None, {}
    if student.disagreement is not None:
        unexplained = student.disagreement.unexplained()
        seen = s.in_view[:, : len(student.disagreement.valid)].T > 0
        by_view = {"in view": seen, "out of view": ~seen} if s.seen else {}
        by_view = {view: student.disagreement.unexplained(where) for view, where in by_view.items()}
    return Gap(
        student=student.name,
        teacher=teacher.name,
        success=success_gap(t, s),
        retention=retention(t, s),
        success_by_view={view: success_gap(t, s, chosen) for view, chosen in views.items() if chosen.any()},
        unexplained=unexplained,
        unexplained_by_view=by_view,
    )


def unique_names(roles: Sequence[str], seeds: Sequence[int | None]) -> list[str]:
    """Names of the entries: the role, with the training seed (or a number) where several share the role."""
    names = []
    for i, (role, seed) in enumerate(zip(roles, seeds, strict=True)):
        alike = [j for j, other in enumerate(roles) if other == role]
        telling = len({seeds[j] for j in alike}) == len(alike) and seed is not None
        mark = f"seed {seed}" if telling else f"no. {alike.index(i) + 1}"
        names.append(f"{role} ({mark})" if len(alike) > 1 else role)
    return names


def _describe(entry: Entry) -> dict[str, Any]:
    origin = {key: value for key, value in vars(entry.origin).items() if key != "metrics"}
    return {
        "name": entry.name,
        "role": entry.role,
        "sight": entry.sight,
        "teacher": entry.teacher,
        "summary": entry.summary,
        "training_seconds": entry.origin.seconds,
        **origin,
    }


def _flat_row(entry: Entry, gap: Gap | None) -> dict[str, Any]:
    summary = entry.summary
    row: dict[str, Any] = {"policy": entry.name, "role": entry.role, "teacher": entry.teacher or ""}
    row |= {"seed": entry.origin.seed, "checkpoint": entry.origin.checkpoint, "episodes": summary["episodes"]}
    figures = {key: summary[key] for key in ("success_at_end", "success_once", "return", "length")}
    for view, outcome in summary.get("by_view_at_reset", {}).items():
        figures[f"success_at_end, {view} at reset"] = outcome["success_at_end"]
    for kind, outcome in summary["by_object_kind"].items():
        figures[f"success_at_end, {kind}"] = outcome["success_at_end"]
    for key in ("steps_in_view", "pixel_share"):
        figures |= {key: summary["visibility"][key]} if "visibility" in summary else {}
    if gap is not None:
        figures |= {"success_gap": vars(gap.success), "retention": vars(gap.retention)}
        figures |= {"unexplained_action_variance": vars(gap.unexplained)} if gap.unexplained else {}
    for name, figure in figures.items():
        row |= {name: figure["value"], f"{name} (low)": figure["low"], f"{name} (high)": figure["high"]}
    return row | {"aborted": summary["aborted"], "training_seconds": entry.origin.seconds}
