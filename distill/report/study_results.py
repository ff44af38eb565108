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
from ..evaluation.statistics import CONFIDENCE, Interval, plain, t_interval
from .comparison import Comparison
from .contrasts import Contrast, explored, registered
from .results import PolicyResult
from .store import load_comparison, save_comparison
from .tables import loss_dict

STUDY = "study.json"
STUDENT_CURVE, TEACHER_CURVE = "success_at_end", "validation/success_at_end"
"""Metrics by which a training's flatness is judged."""
MORE, STEADY = 0.005, 0.5
"""Success that half as much training again must not bring; share of the highest learning rate that counts as constant:
a rate that follows the KL divergence goes up and down by some."""


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
    rate: float | None = None
    """Mean learning rate over the last third, as a share of the highest: a rate that falls flattens any curve. None:
    not known, as in the first edition."""


@dataclass(frozen=True)
class Budget:
    """Whether trainings of one kind had enough: what half as much training again would bring, over all of them."""

    gain: Interval
    """Mean of `Flatness.gain` times 1.5 with Student's t-interval over the trainings; of one its own interval."""
    steady: bool
    """Whether all learnt at a constant rate to the end; else nothing follows from a flat curve."""

    @property
    def enough(self) -> bool:
        """Equivalence, not want of evidence: more than `MORE` is ruled out, at a constant rate."""
        return self.steady and self.gain.high < MORE

    @property
    def word(self) -> str:
        """What is known, with the gain in points."""
        size = f"{100 * self.gain.value:.1f} points [{100 * self.gain.low:.1f}, {100 * self.gain.high:.1f}]"
        if not self.steady:
            return f"not judged: no constant learning rate ({size})"
        return "enough" if self.enough else f"{'still' if self.gain.low > 0 else 'perhaps still'} improving by {size}"


def budget_of(found: Sequence[Flatness]) -> Budget:
    """The budget of at least one training."""
    gains = [1.5 * one.gain.value for one in found]  # a half is one and a half thirds
    alone = Interval(*(1.5 * bound for bound in (found[0].gain.value, found[0].gain.low, found[0].gain.high)))
    steady = all(one.rate is not None and one.rate >= STEADY for one in found)
    return Budget(t_interval(gains) if len(found) > 1 else alone, steady)


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

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """What became of the contrasts that its file names."""
        return registered(self.comparisons, self.spec)

    @property
    def budgets(self) -> dict[str, Budget]:
        """By scene and kind of training, e.g. "wrist: state-teacher", and for all students of a scene together, who
        have one budget; those of which a curve is known."""
        groups: dict[str, list[Flatness]] = {}
        for one in self.cells:
            if one.state == "finished" and one.flatness:
                for name in (one.cell, *(["all students"] if "-to-" in one.cell else [])):
                    groups.setdefault(f"{one.scene}: {name}", []).append(one.flatness)
        return {name: budget_of(found) for name, found in groups.items()}

    def reported_difference(self, match: Match) -> float | None:
        """Success of the chosen checkpoint minus that of the weaker teacher on the resets that are reported; None where
        one of them is not."""
        policies = self.comparisons[match.scene].policies if match.scene in self.comparisons else ()
        early = [one for one in policies if one.kind.matched and not one.kind.is_student]
        sides = (early, self.of_cell(match.scene, match.weaker) if policies else [])
        both = [[one.success for one in side if one.origin.seed == match.seed] for side in sides]
        return both[0][0] - both[1][0] if all(both) else None

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
            "extra_loss_at_equal_success": {
                scene: next((loss_dict(one) for one in explored(scene, c) if one.config.matched), None)
                for scene, c in comparisons.items()
            },
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
    rates = np.array([row["lr"] for row in rows if "lr" in row])
    rate = float(rates[-max(1, len(rates) // 3) :].mean() / rates.max()) if len(rates) else None
    return Flatness(metric, round(third), gain, float(late[:, 1].mean()), rate)


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
