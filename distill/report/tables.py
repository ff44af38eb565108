"""A comparison as JSON, CSV and Markdown: pivots of its tidy table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import write, write_json
from ..evaluation.evaluation import IN_VIEW, OUT_OF_VIEW
from ..evaluation.phases import PHASES
from ..evaluation.statistics import Seeded, plain
from .comparison import ALL, Comparison, in_stratum
from .contrasts import Contrast, unmatched
from .page_tables import markdown
from .policy_kind import NAMED
from .results import PolicyResult

POOLED = (
    "success", "success_gap", "retention", "unexplained", "observability_gap", "steps_in_view", "pixel_share",
)  # fmt: skip
"""Keys of a cell of the gap matrix."""
VIEWS, STEPS = (IN_VIEW, OUT_OF_VIEW), (ALL, IN_VIEW, OUT_OF_VIEW, *PHASES)
GAP: dict[str, str | dict[str, str]] = {
    "success": "success_gap",
    "retention": "retention",
    "success_by_view": {view: f"success_gap, {view} at reset" for view in VIEWS},
    "unexplained": "unexplained_action_variance",
    "unexplained_by_view": {view: in_stratum("unexplained_action_variance", view) for view in VIEWS},
    "success_part_by_view": {view: f"success_gap, part {view} at reset" for view in VIEWS},
    "unexplained_by_phase": {phase: in_stratum("unexplained_action_variance", phase) for phase in PHASES},
    "student_sigma": {steps: in_stratum("student_sigma", steps) for steps in STEPS},
    "teacher_sigma": {steps: in_stratum("teacher_sigma", steps) for steps in STEPS},
}
"""Metrics by key of what a student lost, or by key and stratum."""
DECOMPOSITION = {
    "unexplained": "unexplained_action_variance",
    "optimisation": "optimisation_error",
    "observability": "observability_gap",
    "success": "success_gap",
    "success_optimisation": "success_gap, optimisation",
    "success_observability": "success_gap, observability",
}
"""Metrics by key of where it was lost."""
ABLATION = {"success": "success_at_end", "lost": "success_lost", "unexplained": "unexplained_action_variance"}
"""Metrics by key of what became of a policy with its images tampered with."""


def save(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.csv and comparison.md."""
    write_json(folder / "comparison.json", plain(as_dict(comparison)))
    write(folder / "comparison.csv", as_csv(comparison))
    write(folder / "comparison.md", markdown(comparison))


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """All figures, for JSON (through `plain`); curves stay in the runs' own metrics.csv."""
    return {
        "settings": comparison.settings,
        "policies": [as_row(policy) for policy in comparison.policies],
        **figures_dict(comparison),
        "extra_loss_of_the_state_chain": [loss_dict(loss) for loss in unmatched(comparison)],
        "notes": comparison.notes,
    }


def as_row(policy: PolicyResult) -> dict[str, Any]:
    """One policy for JSON: where it comes from and the summary of its evaluation."""
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


def figures_dict(comparison: Comparison) -> dict[str, Any]:
    """Gaps, decompositions and ablations by policy, and what all seeds of a kind say together."""
    taught = [policy for policy in comparison.policies if policy.teacher]
    asked = [policy for kind in comparison.kinds for _, policy in comparison.pairs(kind)]
    controlled = [(one, control) for one in asked if (control := comparison.control_of(one))]
    return {
        "gaps": [{"student": one.name, "teacher": one.teacher} | _figures(comparison, one, GAP) for one in taught],
        "decompositions": [
            {"student": one.name, "control": control.name} | _figures(comparison, one, DECOMPOSITION)
            for one, control in controlled
            if comparison.figure(one.name, DECOMPOSITION["observability"])
        ],
        "gap_matrix": {
            row: {column: kind and _matrix_cell(comparison, row, column) for column, kind in kinds.items()}
            for row, kinds in comparison.matrix.items()
        },
        "ablations": [
            {"policy": one.name, "kind": how}
            | _figures(comparison, one, {key: in_stratum(metric, how) for key, metric in ABLATION.items()})
            for one in comparison.policies
            for how in one.ablations
        ],
        "over_seeds": {kind.label: _over_seeds(found) for kind, found in comparison.over_seeds.items()},
    }


def _figures(comparison: Comparison, policy: PolicyResult, metrics: Mapping[str, str | dict[str, str]]) -> dict:
    """The policy's figures by key; of strata those that are known."""
    return {
        key: comparison.figure(policy.name, metric)
        if isinstance(metric, str)
        else {name: found for name, one in metric.items() if (found := comparison.figure(policy.name, one))}
        for key, metric in metrics.items()
    }


def _matrix_cell(comparison: Comparison, row: str, column: str) -> dict[str, Any]:
    kind = comparison.matrix[row][column]
    assert kind is not None
    return {
        "teacher": row,
        "student": column,
        "role": kind.label,
        "chains": [policy.name for policy in comparison.of_kind(kind)],
        **{key: comparison.over_seeds[kind].get(key) for key in POOLED},
    }


def _over_seeds(found: dict[str, Seeded]) -> dict[str, Any]:
    """Each figure with Student's t over training seeds, and under `<figure>_bootstrap` with the bootstrap over seeds
    and resets."""
    result: dict[str, Any] = {"seeds": len(found["success"].each)}
    for name, key in {"success_at_end": "success", "success_gap": "success_gap", "retention": "retention"}.items():
        if key in found:
            result |= {name: found[key].seeds, f"{name}_bootstrap": found[key].both}
    return result


def loss_dict(loss: Contrast) -> dict[str, Any]:
    """What an explored contrast found, for JSON."""
    return {"depth_role": NAMED[str(loss.config.than)].label, "chains": loss.students, "figure": loss.figure}


def as_csv(comparison: Comparison) -> str:
    """One row per policy; each figure of the tidy table in three columns: its value and its bounds."""
    rows = []
    for policy in comparison.policies:
        row = {"policy": policy.name, "role": policy.kind.label, "teacher": policy.teacher or ""}
        row |= {"seed": policy.origin.seed, "checkpoint": policy.origin.checkpoint}
        row |= {"episodes": policy.summary["episodes"]}
        for one in comparison.table:
            if one.policy == policy.name:
                row |= {one.metric: one.value, f"{one.metric} (low)": one.low, f"{one.metric} (high)": one.high}
        rows.append(row | {"aborted": policy.summary["aborted"], "training_seconds": policy.origin.seconds})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
