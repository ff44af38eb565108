"""The tables and facts of a report page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation.statistics import t_interval
from .comparison import Comparison
from .figures import colour
from .findings import over_seeds
from .page import DASH, cell, number, row, share, table
from .policy_kind import PolicyKind
from .results import PolicyResult
from .study_results import Study

IN_VIEW, OUT_OF_VIEW = "in view at reset", "out of view"
per_cent, precise = share, partial(number, digits=3)
POLICY_COLUMNS = {
    "success at end": ("success_at_end", per_cent),
    "success once": ("success_once", per_cent),
    IN_VIEW: ("success_at_end, in view at reset", per_cent),
    OUT_OF_VIEW: ("success_at_end, out of view at reset", per_cent),
    "steps in view": ("steps_in_view", per_cent),
    "return": ("return", number),
}
"""Metric and form of the cells by head."""
GAP_COLUMNS = {
    "success gap": ("success_gap", precise),
    IN_VIEW: ("success_gap, in view at reset", precise),
    OUT_OF_VIEW: ("success_gap, out of view at reset", precise),
    "retention": ("retention", precise),
    "unexplained variance": ("unexplained_action_variance", precise),
}
"""Metric and form of the cells by head."""
KIND_COLUMNS = {
    **{head: POLICY_COLUMNS[head] for head in ("success at end", IN_VIEW, OUT_OF_VIEW, "steps in view")},
    **{head: GAP_COLUMNS[head] for head in ("success gap", "retention")},
}
"""Metric and form of the cells by head."""


def policy_table(comparison: Comparison) -> dict[str, Any]:
    """How well each policy does, and how much it sees."""
    rows = []
    for policy in comparison.policies:
        cells = [tell(comparison.figure(policy.name, metric)) for metric, tell in POLICY_COLUMNS.values()]
        rows.append(row(policy.name, [*cells, cell(policy.summary["aborted"])], colour(comparison, policy.kind)))
    return table(("policy", *POLICY_COLUMNS, "lost"), rows)


def gap_table(comparison: Comparison) -> dict[str, Any]:
    """What each student lost against its teacher."""
    rows = []
    for policy in comparison.policies:
        if policy.teacher:
            cells = [tell(comparison.figure(policy.name, metric)) for metric, tell in GAP_COLUMNS.values()]
            rows.append(row(policy.name, [cell(policy.teacher, text=True), *cells], colour(comparison, policy.kind)))
    return table(("student", "teacher", *GAP_COLUMNS), rows)


def kind_table(comparison: Comparison) -> dict[str, Any]:
    """One row for each kind of policy: over resets if it has one seed, else the mean with Student's t over seeds."""
    rows = []
    for kind in comparison.kinds:
        seeds = len(comparison.of_kind(kind))
        cells = [tell(comparison.over(kind, metric)) for metric, tell in KIND_COLUMNS.values()]
        if seeds == 2:
            cells = [one | {"bounds": ""} for one in cells]  # two seeds give a t-interval that hides everything
        rows.append(row(kind.label, [cell(seeds), *cells], colour(comparison, kind)))
    return table(("policy", "seeds", *KIND_COLUMNS), rows)


def matrix_table(comparison: Comparison) -> dict[str, Any]:
    """The gap matrix in numbers: success, retention and unexplained variance of every teacher's students."""
    keys = {"success": "success", "success gap": "success_gap", "retention": "retention",
            "unexplained": "unexplained", "observability gap": "observability_gap"}  # fmt: skip

    def cells(kind: PolicyKind) -> list[dict[str, Any]]:
        found = [comparison.over_seeds[kind].get(key) for key in keys.values()]
        return [cell(len(comparison.of_kind(kind))), *(precise(f and over_seeds(f)) for f in found)]

    known = [(f"{r} → {c}", kind) for r, kinds in comparison.matrix.items() for c, kind in kinds.items() if kind]
    return table(("teacher → student", "seeds", *keys), [row(name, cells(kind)) for name, kind in known])


def match_table(study: Study) -> dict[str, Any]:
    """How the stronger teacher of a seed was brought down to the weaker one."""
    rows = [
        row(f"{m.scene}, seed {m.seed}", [
            cell(m.stronger, text=True),
            cell(f"{m.stronger_success:.3f}"),
            cell(m.weaker, text=True),
            cell(f"{m.weaker_success:.3f}"),
            cell(m.chosen.removesuffix(".ckpt"), text=True, code=True),
            cell(f"{m.candidates[m.chosen]:.3f}"),
        ])
        for m in study.matches
    ]  # fmt: skip
    heads = ("scene", "stronger teacher", "at its best", "weaker teacher", "success", "checkpoint taken", "success")
    return table(heads, rows)


def cell_table(study: Study) -> dict[str, Any]:
    """What every kind of training cost, and whether it had come to rest when its budget ended."""
    kinds, rows = dict.fromkeys((c.scene, c.cell) for c in study.cells), []
    for scene, kind in kinds:
        found = [c for c in study.cells if (c.scene, c.cell) == (scene, kind)]
        done = [c for c in found if c.state == "finished"]
        flat = [c.flatness for c in done if c.flatness is not None]
        gains = t_interval([f.gain.value for f in flat]) if len(flat) > 1 else flat[0].gain if flat else None
        cells = [
            cell(f"{len(done)} of {len(found)}"),
            cell(f"{sum(c.steps for c in found) / 1e6:.2f} M"),
            cell(f"{sum(c.seconds for c in found) / 60:.0f} min"),
            precise(gains),
            cell(f"{sum(f.flat for f in flat)} of {len(flat)}" if flat else DASH),
        ]
        rows.append(row(f"{scene}: {kind}", cells))
    return table(("trainings", "finished", "steps", "learning time", "gain in a third more", "flat"), rows)


def run_table(comparison: Comparison) -> dict[str, Any]:
    """What was run: one row per policy; peak memory only where it was logged."""
    memories = [_peak_memory(policy) for policy in comparison.policies]
    known = any(memory is not None for memory in memories)
    heads = ["policy", "seed", "training steps", "learning time", *(["peak memory"] * known), "commit", "checkpoint"]
    rows = []
    for policy, memory in zip(comparison.policies, memories, strict=True):
        origin = policy.origin
        steps = max((metrics["step"] for metrics in origin.metrics), default=None)
        git = origin.meta.get("git") or {}
        cells = [
            cell(DASH if origin.seed is None else origin.seed),
            cell(DASH if steps is None else f"{steps / 1e6:.2f} M"),
            cell(DASH if origin.seconds is None else f"{origin.seconds / 60:.1f} min"),
            *[cell(DASH if memory is None else f"{memory:.1f} GiB")] * known,
            cell(git.get("commit", DASH)[:10] + (" + changes" if git.get("dirty") else ""), text=True, code=True),
            cell(f"{Path(origin.checkpoint).name} {origin.digest[:8]}", text=True, code=True),
        ]
        rows.append(row(policy.name, cells, colour(comparison, policy.kind)))
    return table(heads, rows)


def _peak_memory(policy: PolicyResult) -> float | None:
    return max((metrics["memory_gib"] for metrics in policy.origin.metrics if "memory_gib" in metrics), default=None)


def cost_sentence(study: Study) -> str:
    """What all of it took."""
    cost = study.cost
    return (
        f"{cost['trainings']} trainings learnt from {cost['training_steps'] / 1e6:.1f} million environment steps in "
        f"{cost['training_seconds'] / 3600:.1f} hours of single processes; {cost['evaluations']} evaluations took "
        f"{cost['evaluation_steps'] / 1e6:.1f} million steps and {cost['evaluation_seconds'] / 3600:.1f} hours. "
        "Several ran side by side, so the whole took less."
    )


def machine_facts(comparison: Comparison) -> list[str]:
    """Sentences on the machine and the evaluation itself."""
    steps = sum(policy.evaluation.env_steps for policy in comparison.policies)
    seconds = sum(policy.evaluation.seconds for policy in comparison.policies)
    return [
        "Learning time: rollouts and gradient steps, without validations and start-up.",
        f"The evaluation took {steps:,} environment steps in {seconds:.0f} s, rendering included. Resets: "
        f"seed {comparison.settings.get('seed')}, {comparison.settings.get('num_envs')} worlds to a round, kind "
        f"{comparison.settings.get('reset_kind') or 'mixed'}.",
        *hardware_facts(comparison.settings.get("provenance", {})),
    ]


def hardware_facts(provenance: Mapping[str, Any]) -> list[str]:
    """Sentences on a process's machine and packages."""
    hardware, versions, facts = provenance.get("hardware", {}), provenance.get("versions", {}), []
    if hardware:
        accelerators = ", ".join(hardware.get("gpus", [])) or "none"
        facts.append(
            f"Machine: {hardware.get('cpu')}, {hardware.get('cores')} cores, {hardware.get('memory_gib')} GiB memory; "
            f"accelerators: {accelerators}."
        )
    if versions:
        facts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    return facts
