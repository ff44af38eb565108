"""A made-up comparison in the shape of a real one, to test how results are shown. Never written outside of tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from handsight.distill.evaluation.disagreement import Disagreement
from handsight.distill.evaluation.evaluation import Evaluation
from handsight.distill.evaluation.phases import UNKNOWN
from handsight.distill.report.candidates import Origin
from handsight.distill.report.comparison import Comparison
from handsight.distill.report.policy_kind import read_kind
from handsight.distill.report.results import PolicyResult, unique_names
from handsight.distill.report.study_results import (
    STUDENT_CURVE,
    TEACHER_CURVE,
    Match,
    Study,
    TrainingResult,
    flatness,
)

EPISODES, STEPS = 512, 36
KINDS = ("box", "cylinder", "cross", "tee", "mug")
SETTINGS = {"seed": 1_000_000, "episodes": EPISODES, "num_envs": 256, "reset_kind": "wide", "env": {"engine": "none"}}
SUCCESS = {
    "state teacher": (0.93, 0.91),
    "state → stereo": (0.86, 0.62),
    "depth teacher, warm start": (0.96, 0.89),
    "depth → stereo, warm start": (0.93, 0.83),
}
"""Probability with the object in view at reset, and out of view."""


def comparison(seeds: int = 1) -> Comparison:
    """Two teachers with a student each; every figure in it is invented."""
    roles = [role for role in SUCCESS for _ in range(seeds)]
    numbers = [seed for _ in SUCCESS for seed in range(seeds)]
    names = unique_names(roles, numbers)
    policies = []
    for name, role, seed in zip(names, roles, numbers, strict=True):
        draws = np.random.default_rng([list(SUCCESS).index(role), seed])
        evaluation = invented(role, draws)
        teacher = taught_by(name) if "→" in role else None
        both = decisions(role, evaluation, draws) if teacher else None
        policies.append(PolicyResult(name, read_kind(role), evaluation, origin(role, seed, draws), teacher, both))
    rig = {"height": 32, "width": 32}
    machine = {"hardware": {"cpu": "an invented processor", "cores": 2, "memory_gib": 8.0, "gpus": []},
               "versions": {"torch": "0"}, "started": "2000-01-01T00:00:00"}  # fmt: skip
    return Comparison(tuple(policies), SETTINGS | {"rig": rig, "provenance": machine}, ("This is invented.",))


def taught_by(name: str) -> str:
    return name.replace(" → stereo", " teacher")


def invented(role: str, draws: np.random.Generator) -> Evaluation:
    """512 episodes; the resets are the same for every role."""
    resets = np.random.default_rng(99)
    view, kind = resets.random(EPISODES) < 0.53, resets.integers(0, 5, EPISODES)
    inside, outside = SUCCESS[role]
    at_end = draws.random(EPISODES) < np.where(view, inside, outside) - 0.04 * (kind == 4)
    steps = np.arange(STEPS + 1)
    looks = 1 / (1 + np.exp(-(steps - (5 if "depth" in role else 14)) / 3)) * (0.9 if "depth" in role else 0.6)
    seen = draws.random((EPISODES, STEPS + 1)) < np.where(view[:, None], np.maximum(0.9 - 0.05 * steps, looks), looks)
    seen[:, 0] = view
    visible = np.where(seen, draws.uniform(0.02, 0.12, seen.shape), 0).astype(np.float32)
    return Evaluation(
        success_once=at_end | (draws.random(EPISODES) < 0.03),
        success_at_end=at_end,
        aborted=np.zeros(EPISODES, dtype=bool),
        episode_return=(at_end * 12 + draws.normal(6, 1, EPISODES)).astype(np.float32),
        length=np.full(EPISODES, STEPS),
        kind=kind,
        reset_kind=np.full(EPISODES, 2),
        visible=visible,
        visible_right=np.full_like(visible, np.nan),
        phase=np.full(visible.shape, UNKNOWN, np.int8),
        object_kinds=KINDS,
        reset_kinds=("near", "easy", "wide"),
        seconds=12.0,
        env_steps=EPISODES * STEPS,
        settings=SETTINGS,
    )


def decisions(role: str, evaluation: Evaluation, draws: np.random.Generator) -> Disagreement:
    """A student that is less sure of itself where it sees nothing."""
    teacher = draws.normal(0, 0.5, (STEPS, EPISODES, 6))
    blind = (evaluation.in_view[:, :-1].T == 0)[..., None]
    error = draws.normal(0, 1, teacher.shape) * np.where(blind, 0.25 if "state" in role else 0.1, 0.06)
    sigma = np.broadcast_to(np.where(blind, 0.3 if "state" in role else 0.15, 0.1), teacher.shape)
    return Disagreement(
        teacher=teacher.clip(-1, 1).astype(np.float32),
        student=(teacher + error).clip(-1, 1).astype(np.float32),
        teacher_std=np.full_like(teacher, 0.1, dtype=np.float32),
        student_std=sigma.astype(np.float32),
        valid=np.ones((STEPS, EPISODES), dtype=bool),
    )


def origin(role: str, seed: int, draws: np.random.Generator) -> Origin:
    """A training with a plausible curve."""
    student, top = "→" in role, float(np.mean(SUCCESS[role]))
    rows: list[dict[str, float]] = []
    for i in range(1, 17 if student else 241):
        step, progress = (i * 4608, i / 16) if student else (i * 4096, i / 240)
        rise = top / (1 + np.exp(-(progress - 0.35) * 12)) + draws.normal(0, 0.015)
        row = {"step": float(step), "success_at_end": float(np.clip(rise, 0, 1)), "seconds/collect": 2.0}
        row |= {"imitation_error": float(0.6 * np.exp(-4 * progress) + 0.05)} if student else {}
        rows.append(row)
        if not student and i % 25 == 0:
            rows.append({"step": float(step), "validation/success_at_end": float(np.clip(rise + 0.03, 0, 1))})
    return Origin(
        checkpoint=f"runs/{role.replace(' ', '-')}/2000-01-01/checkpoints/best.ckpt",
        digest="0123456789abcdef",
        seed=seed,
        config={"seed": seed, "num_envs": 256},
        meta={"git": {"commit": "0" * 40, "dirty": False}},
        metrics=tuple(rows),
        warm_started_from="runs/teacher-state" if role.startswith("depth teacher") else None,
    )


def report_for_a_look(folder: Path) -> Path:
    """`python -c` this to look at the page while working on it; the title says that it is invented."""
    from handsight.distill.report.report import write_page

    return write_page(Study({"": comparison()}, {}, ()), folder)[0]


def study(seeds: int = 2) -> Study:
    """Two scenes, the first one with all seeds; a depth teacher's student that failed in the second. All invented."""
    scenes = {"wrist": comparison(seeds), "open": comparison(1)}
    cells = [
        cell_of(scene, policy, seed)
        for scene, c in scenes.items()
        for policy in c.policies
        for seed in [policy.origin.seed]
    ]
    cells.append(TrainingResult("open", 1, "depth-to-stereo", "failed", error="ZeroDivisionError: division by zero"))
    candidates = {"iteration_000050.ckpt": 0.71, "iteration_000100.ckpt": 0.92, "iteration_000160.ckpt": 0.95}
    match = Match(
        "wrist", 0, "depth-teacher", "state-teacher", 0.95, 0.91, candidates, "iteration_000100.ckpt", 512, 600_000
    )
    machine = comparison().settings["provenance"]
    return Study(scenes, {"name": "invented"}, tuple(cells), (match,), machine, ("This is invented.",))


CELLS = {
    "state teacher": "state-teacher",
    "depth teacher, warm start": "depth-teacher",
    "state → stereo": "state-to-stereo",
    "depth → stereo, warm start": "depth-to-stereo",
}


def cell_of(scene: str, policy: PolicyResult, seed: int | None) -> TrainingResult:
    student, rows = policy.kind.is_student, policy.origin.metrics
    return TrainingResult(
        scene=scene,
        seed=seed or 0,
        cell=CELLS[policy.kind.label],
        state="finished",
        entry=policy.name,
        teacher=f"{policy.kind.teacher}-teacher" if student else None,
        iterations=len(rows),
        steps=int(rows[-1]["step"]),
        seconds=policy.origin.seconds or 0.0,
        cores=1,
        flatness=flatness(rows, STUDENT_CURVE if student else TEACHER_CURVE),
    )
