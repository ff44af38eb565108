"""A made-up study with all parts that a report can show, and an extra loss that is put in by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from handsight.distill.evaluation.evaluation import Evaluation
from handsight.distill.report.comparison import Comparison
from handsight.distill.report.policy_kind import read_kind
from handsight.distill.report.results import PolicyResult, unique_names
from handsight.distill.report.study_results import Match, Study, TrainingResult

from . import synthetic

LOSS = {
    "state teacher": 0.05,
    "depth teacher, warm start": 0.05,
    "depth teacher": 0.08,
    "state → control": 0.07,
    "depth → control, warm start": 0.07,
    "state → stereo": 0.25,
    "depth → stereo, warm start": 0.12,
    "depth → stereo": 0.14,
    "state → left eye": 0.35,
    "depth → left eye, warm start": 0.2,
    "state → depth": 0.22,
}
"""Share of resets that fail, by role; twice as many out of view as in view."""
ONE_SEED = ("control", "left eye", "→ depth")
"""Students of which there is one seed only."""


def study(loss: Mapping[str, float] = LOSS, seeds: int = 5) -> Study:
    """A headline scene with everything, and a control scene with two chains and two seeds. All invented."""
    wrist = scene(loss, seeds, ablated=True)
    small = dict.fromkeys(("state teacher", "depth teacher, warm start"), 0.05)
    small |= {"state → stereo": 0.06, "depth → stereo, warm start": 0.06}
    scenes = {"wrist": wrist, "open": scene(small, 2)}
    cells = [_cell(name, entry) for name, comparison in scenes.items() for entry in comparison.policies]
    cells.append(TrainingResult("open", 1, "depth-to-control", "failed", error="ZeroDivisionError: division by zero"))
    candidates = {"iteration_000050.ckpt": 0.71, "iteration_000100.ckpt": 0.92, "iteration_000160.ckpt": 0.95}
    rivals = {"stronger": "depth-teacher", "weaker": "state-teacher", "stronger_success": 0.95, "weaker_success": 0.91}
    chosen = {"candidates": candidates, "chosen": "iteration_000100.ckpt", "episodes": 512, "resets_seed": 600_000}
    match = Match("wrist", 0, **rivals, **chosen)
    machine = wrist.settings["provenance"]
    return Study(scenes, {"name": "invented"}, tuple(cells), (match,), machine, ("This is invented.",))


def scene(loss: Mapping[str, float], seeds: int, ablated: bool = False) -> Comparison:
    """One scene; a depth teacher from scratch and its students have two seeds at most."""
    roles = [role for role in loss for _ in range(_seeds_of(role, seeds))]
    numbers = [seed for role in loss for seed in range(_seeds_of(role, seeds))]
    names = unique_names(roles, numbers)
    entries = []
    for name, role, seed in zip(names, roles, numbers, strict=True):
        draws = np.random.default_rng([list(loss).index(role), seed])
        evaluation = _failing(role, loss[role], draws)
        teacher = _teacher(role, seed, roles, names) if "→" in role else None
        both = synthetic.decisions(role, evaluation, draws) if teacher else None
        origin = synthetic.origin("state → stereo" if teacher else "state teacher", seed, draws)
        warm = "runs/teacher-state" if role == "depth teacher, warm start" else None
        origin = replace(origin, checkpoint=origin.checkpoint.replace("state", role.split()[0]), warm_started_from=warm)
        tampered = _ablated(role, draws) if ablated and "stereo" in role else {}
        entries.append(PolicyResult(name, read_kind(role), evaluation, origin, teacher, both, tampered))
    machine = {"hardware": {"cpu": "an invented processor", "cores": 2, "memory_gib": 8.0, "gpus": []},
               "versions": {"torch": "0"}, "started": "2000-01-01T00:00:00"}  # fmt: skip
    settings = synthetic.SETTINGS | {"rig": {"height": 32, "width": 32}, "provenance": machine}
    return Comparison(tuple(entries), settings, ())


def _seeds_of(role: str, seeds: int) -> int:
    if any(word in role for word in ONE_SEED):
        return 1
    return min(seeds, 2) if role.startswith("depth") and "warm" not in role else seeds


def _teacher(role: str, seed: int, roles: list[str], names: list[str]) -> str:
    taught = f"{role.split()[0]} teacher" + (", warm start" if role.endswith("warm start") else "")
    return [name for name, other in zip(names, roles, strict=True) if other == taught][seed]


def _failing(role: str, loss: float, draws: np.random.Generator) -> Evaluation:
    """An invented evaluation in which about so many resets fail."""
    evaluation = synthetic.invented(f"{role.split()[0]} → stereo" + ", warm start" * role.startswith("depth"), draws)
    view = evaluation.in_view_at_reset
    fails = draws.random(len(view)) < np.where(view, 0.65, 1.4) * loss
    phase = np.minimum(np.arange(synthetic.STEPS + 1) // 10, 2) + np.zeros((len(view), 1), int)
    phase = np.where(fails[:, None], np.minimum(phase, 1), phase).astype(np.int8)
    return replace(evaluation, success_at_end=~fails, success_once=~fails, phase=phase)


def _ablated(role: str, draws: np.random.Generator) -> dict[str, Evaluation]:
    much = {"shuffled": 0.6, "frozen": 0.5, "left eye black": 0.4, "right eye black": 0.3}
    return {kind: _failing(role, loss, draws) for kind, loss in much.items()}


def _cell(name: str, entry: PolicyResult) -> TrainingResult:
    rows = entry.origin.metrics
    return TrainingResult(
        scene=name,
        seed=entry.origin.seed or 0,
        cell=entry.kind.label.replace(", warm start", "").replace(" → ", "-to-").replace(" ", "-"),
        state="finished",
        entry=entry.name,
        iterations=len(rows),
        steps=int(rows[-1]["step"]),
        seconds=entry.origin.seconds or 0.0,
        cores=1,
    )
