"""Contrasts: what a study names in its file before it runs, which of them decides, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ...ranges import Checked
from ..evaluation.evaluation import by_view
from ..evaluation.observability import action_sums, check_all_paired, unexplained_share
from ..evaluation.statistics import Interval, Seeded, holm, p_value, ratio, seeded, t_interval
from .comparison import MATCHED_WITHIN, Comparison, Pair
from .study_results import Study

Where = Literal["resets", "hidden_resets", "hidden_steps"]
LEVEL, HALF = 0.05, 0.5
"""Level of the tests; share of the primary contrast from which on a negative control counts as firing."""
PASSES = "passes"


@dataclass(frozen=True)
class ContrastConfig(Checked):
    """How much more the students of one kind of training lose than those of another, over training seeds."""

    scene: str
    """Where both were trained and evaluated."""
    loses: str
    """Training whose students are said to lose more, e.g. "state-to-stereo"."""
    than: str | None = None
    """Training of the others; None: than their own teachers, the loss itself."""
    matched: bool = False
    """Whether the stronger teacher of each seed is represented by its matched student (`matched-to-...`)."""
    where: Where = "resets"
    """What is lost: success over all resets; success where the student's eyes do not see the object at the reset, minus
    where they do; or action variance left unexplained, on steps out of view minus steps in view."""
    minus: str | None = None
    """Scene whose same figure is subtracted, seed by seed."""
    claim: Literal[1, 2] = 1
    """Part of the claim that it is about: 1 that more is lost, 2 that it is lost because of what no camera shows."""
    control: bool = False
    """Whether it is a negative control: nothing should be lost here, and if it is, the claim is told otherwise."""


@dataclass(frozen=True)
class Contrast:
    """What became of a contrast."""

    name: str
    config: ContrastConfig
    seeds: tuple[int, ...] = ()
    """Training seeds that have both sides; none: nothing is known yet."""
    figure: Seeded = field(default_factory=lambda: Seeded((), Interval(), Interval()))
    """By seed, in that order; positive: as the claim has it. `both` has no bounds where resets are not paired."""
    primary: bool = False
    p: float = float("nan")
    """Two-sided p of Student's t-test; Holm-adjusted among all contrasts but the primary and the negative controls."""
    apart: tuple[float, ...] = ()
    """By seed: success of the one teacher minus that of the other, on the reported resets."""

    @property
    def values(self) -> list[float]:
        """The figure of each seed."""
        return [one.value for one in self.figure.each]

    @property
    def equal_teachers(self) -> bool:
        """Whether the teachers of each seed are as good as each other, to within a point."""
        return all(abs(one) <= MATCHED_WITHIN for one in self.apart)

    @property
    def left_out(self) -> tuple[float, float] | None:
        """Lowest and highest mean with one seed left out; None below three seeds."""
        if len(self.values) < 3:
            return None
        means = [float(np.mean(np.delete(np.array(self.values), i))) for i in range(len(self.values))]
        return min(means), max(means)

    @property
    def word(self) -> str:
        """What it shows; "Supported" is said of claims only."""
        if len(self.seeds) < 2:
            return "not decided by one seed" if self.seeds else "not known yet"
        value, both = self.figure.value, self.figure.both
        if self.p < LEVEL and value > 0 and not both.low <= 0:  # without bounds there is nothing against it
            return PASSES
        return "the other way" if self.p < LEVEL and value < 0 and not both.high >= 0 else "no difference shown"

    def fires(self, primary: Contrast | None) -> bool:
        """Whether a negative control shows what it should not: clear of zero, or half as large as the primary."""
        value, least = self.figure.value, HALF * primary.figure.value if primary else float("nan")
        return self.config.control and (self.figure.seeds.low > 0 or value >= least > 0)


def registered(study: Study) -> tuple[Contrast, ...]:
    """The contrasts that the study's file names, in its order; none for a study of the first edition."""
    asked = TypeAdapter(dict[str, ContrastConfig]).validate_python(study.spec.get("contrasts") or {})
    found = [replace(_found(study, name, one), primary=name == study.spec["primary"]) for name, one in asked.items()]
    family = [one for one in found if not (one.primary or one.config.control)]
    adjusted = dict(zip((one.name for one in family), holm([one.p for one in family]), strict=True))
    return tuple(replace(one, p=adjusted.get(one.name, one.p)) for one in found)


def _found(study: Study, name: str, config: ContrastConfig) -> Contrast:
    sides = _sides(study, config, config.scene)
    if config.minus is None:
        seeds, figure = tuple(sides), _figure_of(sides, config.where)
    else:
        other = _sides(study, config, config.minus)
        seeds = tuple(seed for seed in sides if seed in other)
        each = [[_figure_of({k: of[k]}, config.where).value for k in seeds] for of in (sides, other)]
        values = np.array(each[0]) - each[1]
        mean = Interval(float(values.mean()) if seeds else float("nan"))
        figure = Seeded(tuple(map(Interval, values.tolist())), mean, t_interval(values) if seeds else mean)
    apart = tuple(pairs[0][0].success - pairs[-1][0].success for pairs in (sides[seed] for seed in seeds))
    return Contrast(name, config, seeds, figure, p=p_value([one.value for one in figure.each]), apart=apart)


def _sides(study: Study, config: ContrastConfig, scene: str) -> dict[int, list[Pair]]:
    """By training seed the teacher-student pairs that are set against each other, one if there is no other side."""
    comparison = study.comparisons.get(scene)
    names = [config.loses, *([config.than] if config.than else [])]
    if comparison is None:
        return {}
    plain = [_chains(study, comparison, scene, name) for name in names]
    early = [_chains(study, comparison, scene, name.replace("-to-", "-matched-to-", 1)) for name in names]
    chosen = [one | other for one, other in zip(plain, early, strict=True)] if config.matched else plain
    seeds = [seed for seed in sorted(chosen[0]) if all(seed in one for one in chosen)]
    seeds = [seed for seed in seeds if not config.matched or any(seed in one for one in early)]
    steps = config.where == "hidden_steps"
    found = {seed: [one[seed] for one in chosen] for seed in seeds}
    return {seed: pairs for seed, pairs in found.items() if not steps or all(s.disagreement for _, s in pairs)}


def _chains(study: Study, comparison: Comparison, scene: str, cell: str) -> dict[int, Pair]:
    """Teacher and student of each finished training of this name, by seed."""
    cells = [one for one in study.cells if (one.scene, one.cell) == (scene, cell) and one.entry]
    students = {one.seed: comparison.policy(str(one.entry)) for one in cells}
    return {seed: (comparison.policy(one.teacher), one) for seed, one in students.items() if one.teacher}


def _figure_of(sides: Mapping[int, list[Pair]], where: Where) -> Seeded:
    if not sides:
        return Seeded((), Interval(), Interval())
    check_all_paired([(t.evaluation, s.evaluation) for pairs in sides.values() for t, s in pairs])
    columns = np.stack([np.concatenate([_columns(pair, where) for pair in pairs], axis=1) for pairs in sides.values()])
    count = len(next(iter(sides.values())))

    def figure(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [_of_sums(part, where) for part in np.split(sums, count, axis=-1)]
        return parts[0] - parts[1] if count == 2 else parts[0]

    return seeded(columns, figure, span=(-2, 2) if count == 2 or where != "resets" else (-1, 1))


def _columns(pair: Pair, where: Where) -> NDArray[np.float64]:
    """(E, C) sums of one teacher-student pair, of which `_of_sums` makes its figure."""
    teacher, student = pair[0].evaluation, pair[1].evaluation
    if where == "hidden_steps":
        both = pair[1].disagreement
        assert both is not None
        views = by_view(student, both.steps).values()
        seen, hidden = (action_sums(both.teacher, both.student, both.chosen(view)) for view in views)
        return np.concatenate([hidden, seen], axis=1)
    lost, seen = teacher.success_at_end.astype(float) - student.success_at_end, student.in_view_at_reset
    strata = (~seen, seen) if where == "hidden_resets" else (np.ones_like(seen),)
    return np.stack([column for rows in strata for column in (lost * rows, rows.astype(float))], axis=1)


def _of_sums(sums: NDArray[np.float64], where: Where) -> NDArray[np.float64]:
    """(...,) success lost, or what is lost out of view minus in view, from sums over episodes (..., C)."""
    if where == "resets":
        return ratio(sums[..., 0], sums[..., 1])
    figure = unexplained_share if where == "hidden_steps" else lambda part: ratio(part[..., 0], part[..., 1])
    hidden, seen = (figure(part) for part in np.split(sums, 2, axis=-1))
    return hidden - seen
