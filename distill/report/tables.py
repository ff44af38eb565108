"""A comparison as JSON, CSV and Markdown: pivots of its tidy table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...files import write, write_json
from ..evaluation.evaluation import IN_VIEW, OUT_OF_VIEW
from ..evaluation.phases import PHASES
from ..evaluation.statistics import Interval, Seeded, plain
from .comparison import ALL, Comparison, ExtraLoss, in_stratum
from .policy_kind import STUDENTS
from .results import PolicyResult

POOLED = (
    "success", "success_gap", "retention", "unexplained", "observability_gap", "steps_in_view", "pixel_share",
)  # fmt: skip
"""Keys of a cell of the gap matrix."""


def save(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.csv and comparison.md."""
    write_json(folder / "comparison.json", plain(as_dict(comparison)))
    write(folder / "comparison.csv", as_csv(comparison))
    write(folder / "comparison.md", markdown(comparison))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """All figures, for JSON (through `plain`); curves stay in the runs' own metrics.csv."""
    return {
        "settings": comparison.settings,
        "policies": [_origin(policy) for policy in comparison.policies],
        **figures_dict(comparison),
        "extra_loss_of_the_state_chain": [loss_dict(loss) for loss in comparison.extra_losses()],
        "notes": comparison.notes,
    }


def figures_dict(comparison: Comparison) -> dict[str, Any]:
    """Gaps, decompositions and ablations by policy, and what all seeds of a kind say together."""
    pairs = [pair for kind in comparison.kinds for pair in comparison.pairs(kind)]
    taught = [policy for policy in comparison.policies if policy.teacher]
    return {
        "gaps": [_gap(comparison, policy) for policy in taught],
        "decompositions": [d for _, s in pairs if (d := _decomposition(comparison, s))],
        "gap_matrix": _matrix_dict(comparison),
        "ablations": [_ablation(comparison, p, kind) for p in comparison.policies for kind in p.ablations],
        "over_seeds": {kind.label: _over_seeds(found) for kind, found in comparison.over_seeds.items()},
    }


def _origin(policy: PolicyResult) -> dict[str, Any]:
    """One policy: where it comes from and the summary of its evaluation."""
    origin = {key: value for key, value in vars(policy.origin).items() if key != "metrics"}
    return {
        "name": policy.name,
        "role": policy.kind.label,
        "sight": policy.kind.sight,
        "teacher": policy.teacher,
        "driver": policy.driver,
        "summary": policy.summary,
        "training_seconds": policy.origin.seconds,
        **origin,
    }


def _gap(comparison: Comparison, student: PolicyResult) -> dict[str, Any]:
    def figure(metric: str) -> Interval | None:
        return comparison.figure(student.name, metric)

    def by(names: Sequence[str], pattern: str) -> dict[str, Interval]:
        return {name: found for name in names if (found := figure(pattern.format(name))) is not None}

    def sigma(who: str) -> dict[str, Interval]:
        names = (ALL, IN_VIEW, OUT_OF_VIEW, *PHASES)
        return {name: found for name in names if (found := figure(in_stratum(who, name))) is not None}

    views = (IN_VIEW, OUT_OF_VIEW)
    return {
        "student": student.name,
        "teacher": student.teacher,
        "success": figure("success_gap"),
        "retention": figure("retention"),
        "success_by_view": by(views, "success_gap, {} at reset"),
        "unexplained": figure("unexplained_action_variance"),
        "unexplained_by_view": by(views, "unexplained_action_variance, {}"),
        "success_part_by_view": by(views, "success_gap, part {} at reset"),
        "unexplained_by_phase": by(PHASES, "unexplained_action_variance, {}"),
        "student_sigma": sigma("student_sigma"),
        "teacher_sigma": sigma("teacher_sigma"),
    }


def _decomposition(comparison: Comparison, student: PolicyResult) -> dict[str, Any] | None:
    metrics = {
        "unexplained": "unexplained_action_variance",
        "optimisation": "optimisation_error",
        "observability": "observability_gap",
        "success": "success_gap",
        "success_optimisation": "success_gap, optimisation",
        "success_observability": "success_gap, observability",
    }
    control = comparison.control_of(student)
    figures = {key: comparison.figure(student.name, metric) for key, metric in metrics.items()}
    if control is None or figures["observability"] is None:
        return None
    return {"student": student.name, "control": control.name, **figures}


def _ablation(comparison: Comparison, policy: PolicyResult, kind: str) -> dict[str, Any]:
    metrics = {"success": "success_at_end", "lost": "success_lost", "unexplained": "unexplained_action_variance"}
    figures = {key: comparison.figure(policy.name, f"{metric}, {kind}") for key, metric in metrics.items()}
    return {"policy": policy.name, "kind": kind, **figures}


def _matrix_dict(comparison: Comparison) -> dict[str, dict[str, Any]]:
    return {
        row: {
            column: kind
            and {
                "teacher": row,
                "student": column,
                "role": kind.label,
                "chains": [policy.name for policy in comparison.of_kind(kind)],
                **{key: comparison.over_seeds[kind].get(key) for key in POOLED},
            }
            for column, kind in kinds.items()
        }
        for row, kinds in comparison.matrix.items()
    }


def _over_seeds(found: dict[str, Seeded]) -> dict[str, Any]:
    """Each figure with Student's t over training seeds, and under `<figure>_bootstrap` with the bootstrap over seeds
    and resets."""
    result: dict[str, Any] = {"seeds": len(found["success"].each)}
    for name, key in {"success_at_end": "success", "success_gap": "success_gap", "retention": "retention"}.items():
        if key in found:
            result |= {name: found[key].seeds, f"{name}_bootstrap": found[key].both}
    return result


def loss_dict(loss: ExtraLoss | None) -> dict[str, Any] | None:
    """An extra loss for JSON."""
    return loss and {"depth_role": loss.against.label, "chains": loss.pairs, "figure": loss.figure}


def as_csv(comparison: Comparison) -> str:
    """One row per policy; each figure of the tidy table in three columns: its value and its bounds."""
    rows = []
    for policy in comparison.policies:
        head = {"policy": policy.name, "role": policy.kind.label, "teacher": policy.teacher or ""}
        head |= {"seed": policy.origin.seed, "checkpoint": policy.origin.checkpoint}
        head |= {"episodes": policy.summary["episodes"]}
        for one in comparison.table:
            if one.policy == policy.name:
                head |= {one.metric: one.value, f"{one.metric} (low)": one.low, f"{one.metric} (high)": one.high}
        rows.append(head | {"aborted": policy.summary["aborted"], "training_seconds": policy.origin.seconds})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown(comparison: Comparison) -> str:
    """The tables of a README: a row per policy, the gap matrix, the extra loss of the state teachers' students, the
    ablations."""
    parts = [_policies(comparison), _matrix(comparison), _extra_losses(comparison), _ablations(comparison)]
    return "\n".join(part for part in parts if part)


POLICY_COLUMNS = {
    "success at end": "success_at_end",
    "once": "success_once",
    "in view at reset": "success_at_end, in view at reset",
    "out of view": "success_at_end, out of view at reset",
    "gap to teacher": "success_gap",
    "retention": "retention",
}


def _policies(comparison: Comparison) -> str:
    figures = [[comparison.figure(p.name, metric) for metric in POLICY_COLUMNS.values()] for p in comparison.policies]
    rows = [[p.name, *map(_told, found)] for p, found in zip(comparison.policies, figures, strict=True)]
    note = (
        f"{comparison.policies[0].summary['episodes']} held-out resets, the same for every policy; 95 % intervals: "
        "Wilson for shares, paired bootstrap over episodes for gaps and retention."
    )
    return _table(["policy", *POLICY_COLUMNS], rows, note)


def _matrix(comparison: Comparison) -> str:
    def told(kind: Any) -> str:
        found = comparison.over_seeds[kind] if kind else {}
        figures = [found.get(key) for key in ("success", "unexplained", "observability_gap")] if kind else []
        seeds = len(comparison.of_kind(kind)) if kind else 0
        return "<br>".join([*(str(f.both) if f else "-" for f in figures), *[f"{seeds} seeds"] * (seeds > 1)])

    rows = [[row, *map(told, kinds.values())] for row, kinds in comparison.matrix.items() if any(kinds.values())]
    note = (
        "Gap matrix: success at end; unexplained action variance; observability gap. Means over training seeds, "
        "bootstrap over seeds and resets. A depth teacher's depth student is its control."
    )
    return _table(["teacher \\ student", *STUDENTS], rows, note)


def _extra_losses(comparison: Comparison) -> str:
    rows = []
    for loss in comparison.extra_losses():
        over_seeds = str(loss.figure.seeds) if len(loss.pairs) > 1 else "one seed"
        rows.append([loss.against.label, str(len(loss.pairs)), str(loss.figure.both), over_seeds])
    note = (
        "Extra loss: success gap of the state teacher's stereo students minus that of the depth teacher's, paired by "
        "training seed and by reset."
    )
    return _table(["against", "seeds", "bootstrap over seeds and resets", "Student's t over seeds"], rows, note)


def _ablations(comparison: Comparison) -> str:
    metrics = ("success_at_end", "success_lost", "unexplained_action_variance")
    rows = [
        [policy.name, kind, *(_told(comparison.figure(policy.name, f"{metric}, {kind}")) for metric in metrics)]
        for policy in comparison.policies
        for kind in policy.ablations
    ]
    head = ["policy", "images", "success at end", "lost by it", "unexplained action variance"]
    return _table(head, rows, "Ablations: the same policies on the same resets with their images tampered with.")


def _told(figure: Interval | None) -> str:
    return "" if figure is None else str(figure)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """A table of Markdown; nothing where there are no rows."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "| --- " * len(head) + "|", *lines[1:], "", note, ""]) if rows else ""
