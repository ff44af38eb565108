"""What a study found: a comparison for each scene, what became of every training, matched teachers, and its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter
from scipy import stats

from ...errors import HandsightError
from ...files import check_links, explained, inside, read_json, write_json
from ..evaluation.statistics import CONFIDENCE, Interval, plain
from .comparison import Comparison
from .results import PolicyResult
from .store import load_comparison, save_comparison
from .tables import loss_dict

STUDY = "study.json"
STUDENT_CURVE, TEACHER_CURVE = "success_at_end", "validation/success_at_end"
"""Metrics by which a training's flatness is judged."""


@dataclass(frozen=True)
class Flatness:
    """Whether a training had ended when its budget did."""

    metric: str
    """Name of a column in metrics.csv."""
    iterations: int
    """Iterations in the last third, over which the line was fitted."""
    gain: Interval
    """Slope of the least-squares line over the last third, times its length: what another third would bring if it went
    on like this. The interval is Student's t for the slope, rows taken as independent."""
    final: float
    """Mean of the metric over the last third."""

    @property
    def flat(self) -> bool:
        """The last third does not show that it was still rising."""
        return not self.gain.low > 0


@dataclass(frozen=True)
class Match:
    """Which checkpoint of the stronger teacher of a seed is as good as the best one of the weaker teacher.

    Chosen by success on resets of its own (`resets_seed`), never on those of the final evaluation.
    """

    scene: str
    seed: int
    stronger: str
    """Kind of training: "state-teacher" or "depth-teacher"."""
    weaker: str
    stronger_success: float
    """success_at_end of the stronger teacher's best.ckpt."""
    weaker_success: float
    """success_at_end of the weaker teacher's best.ckpt."""
    candidates: dict[str, float]
    """success_at_end of each periodic checkpoint of the stronger teacher, by name."""
    chosen: str
    """The one whose success is nearest to the weaker's; of equals the latest."""
    episodes: int
    resets_seed: int


@dataclass(frozen=True)
class TrainingResult:
    """One training of a study and what became of it."""

    scene: str
    seed: int
    cell: str
    """Kind of training, e.g. "state-teacher", "depth-to-stereo": the name of its folder."""
    state: Literal["finished", "begun", "failed", "waiting"]
    """"waiting": not begun, e.g. because its teacher failed."""
    entry: str | None = None
    """Name of its policy in the scene's comparison; None if it is not finished."""
    teacher: str | None = None
    """Kind of training that its teacher is from; None for a teacher, and for a warm start the state teacher's."""
    iterations: int = 0
    """Rollouts that were learnt from."""
    steps: int = 0
    """Environment steps that were learnt from."""
    seconds: float = 0.0
    """Wall time of collecting and learning, without validations and start-up."""
    cores: int | None = None
    """Processor cores that its process could use."""
    flatness: Flatness | None = None
    error: str | None = None
    """Last lines of what a training that failed wrote."""


@dataclass(frozen=True)
class Study:
    """Everything that a report of a study needs; `load` reads it without checkpoints or simulator."""

    comparisons: dict[str, Comparison]
    """Its comparisons by scene."""
    spec: dict[str, Any]
    """What was asked for: the study's configuration with all defaults."""
    cells: tuple[TrainingResult, ...]
    matches: tuple[Match, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    """Commit, machine and versions of the process that collected the results; each policy has those of its training."""
    notes: tuple[str, ...] = ()
    """What a reader has to know beside the figures: trainings that are missing, trainings of other commits, ..."""

    @cached_property
    def cost(self) -> dict[str, Any]:
        """What it took, JSON-able: {"trainings", "training_seconds", "training_steps", "evaluations",
        "evaluation_seconds", "evaluation_steps", "by_cell": {cell: the first three}}. Seconds are wall time of one
        process each; several ran side by side, so the whole took less."""
        policies = [policy for comparison in self.comparisons.values() for policy in comparison.policies]
        found = [e for policy in policies for e in (policy.evaluation, *policy.ablations.values())]
        kinds = dict.fromkeys(cell.cell for cell in self.cells)
        return {
            **_training_cost(self.cells),
            "evaluations": len(found),
            "evaluation_seconds": sum(evaluation.seconds for evaluation in found),
            "evaluation_steps": sum(evaluation.env_steps for evaluation in found),
            "by_cell": {kind: _training_cost([c for c in self.cells if c.cell == kind]) for kind in kinds},
        }

    def of_cell(self, scene: str, cell: str) -> list[PolicyResult]:
        """The policies of one kind of training in the order of their seeds, finished ones only."""
        found = [c for c in self.cells if (c.scene, c.cell) == (scene, cell) and c.entry]
        return [self.comparisons[scene].policy(c.entry) for c in sorted(found, key=lambda c: c.seed) if c.entry]

    def save(self, folder: Path) -> Study:
        """Write study.json and, in a folder for each scene, its comparison with all arrays. Returns as `load`."""
        comparisons = {scene: save_comparison(one, folder / scene) for scene, one in self.comparisons.items()}
        stored = replace(self, comparisons=comparisons)
        facts = {
            "scenes": list(comparisons),
            "spec": self.spec,
            "cells": self.cells,
            "matches": self.matches,
            "extra_loss_at_equal_success": {s: loss_dict(c.matched_loss()) for s, c in comparisons.items()},
            "cost": stored.cost,
            "provenance": self.provenance,
            "notes": self.notes,
        }
        write_json(folder / STUDY, plain(facts))
        return stored

    @staticmethod
    def load(folder: Path) -> Study:
        """What `save` wrote.

        Raises:
            HandsightError: there is no study there.
        """
        path = folder / STUDY
        if not path.is_file():
            raise HandsightError(f"study results {folder}: expected a folder with {STUDY}, found none")
        check_links(folder)
        facts = read_json(path)
        with explained(path):
            return Study(
                comparisons={scene: load_comparison(inside(folder, scene)) for scene in facts["scenes"]},
                spec=facts["spec"],
                cells=tuple(_cell(row) for row in facts["cells"]),
                matches=tuple(TypeAdapter(Match).validate_python(row) for row in facts["matches"]),
                provenance=facts["provenance"],
                notes=tuple(facts["notes"]),
            )


def flatness(rows: Sequence[dict[str, float]], metric: str) -> Flatness | None:
    """How flat the last third of a curve is; None if it has fewer than three points there.

    rows: as in metrics.csv; the thirds are of the last row's "iteration" or, in its absence, of "step".
    """
    axis, last, filled = "iteration" if any("iteration" in row for row in rows) else "step", 0.0, []
    for row in rows:
        last = row.get(axis, last)  # a validation belongs to the iteration before it
        filled += [(last, row[metric])] if metric in row else []
    points = np.array(filled, dtype=np.float64)
    if not len(points):
        return None
    late = points[points[:, 0] > last * 2 / 3]
    if len(late) < 3 or len(np.unique(late[:, 0])) < 3:
        return None
    line: Any = stats.linregress(late[:, 0], late[:, 1])
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(late) - 2)) * line.stderr
    third = last / 3
    gain = Interval(*(float(slope * third) for slope in (line.slope, line.slope - half, line.slope + half)))
    return Flatness(metric, round(third), gain, float(late[:, 1].mean()))


def _cell(row: dict[str, Any]) -> TrainingResult:
    flat = row.get("flatness")
    if flat:
        gain = {key: float("nan") if value is None else value for key, value in flat["gain"].items()}
        row = {**row, "flatness": {**flat, "gain": gain}}
    return TypeAdapter(TrainingResult).validate_python(row)


def _training_cost(cells: Sequence[TrainingResult]) -> dict[str, float]:
    begun = [cell for cell in cells if cell.steps]
    return {
        "trainings": len(begun),
        "training_seconds": sum(cell.seconds for cell in begun),
        "training_steps": sum(cell.steps for cell in begun),
    }
