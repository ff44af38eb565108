"""Contrasts: how much more the students of one teacher lose than those of another. Those that a study names in its file
before it runs decide about its claim; those of every state and depth teacher are explored beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ...ranges import Checked
from ..evaluation.evaluation import by_view
from ..evaluation.observability import check_paired, unexplained_share
from ..evaluation.statistics import Interval, Seeded, holm, p_value, ratio, seeded, t_interval
from .comparison import Comparison, Pair
from .page import points
from .policy_kind import NAMED

Where = Literal["resets", "hidden_resets", "hidden_steps"]
LEVEL, HALF = 0.05, 0.5
"""Level of the tests; share of the primary contrast from which on a negative control counts as firing."""
PASSES, OTHER_WAY = "passes", "the other way"
MATCHED_WITHIN = 0.01
"""Teachers whose success differs by more, on the resets that are reported, are not matched."""
EXPLORED = {"from scratch": "depth-scratch-to-stereo", "warm start": "depth-to-stereo"}
"""Students against whom those of the state teacher are set in any case, by the name of that contrast."""
DEPTH_TEACHERS = {
    "matched teachers": "equally good depth teachers",
    "not matched": "depth teachers not matched to them (more than a point apart on these resets)",
    "warm start": "depth teachers that began with a warm start",
    "from scratch": "depth teachers that learnt from scratch",
}
"""What they are called in a sentence, by the name of an explored contrast."""


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
    pairs: tuple[tuple[Pair, ...], ...] = ()
    """For each training seed that has both sides the teacher-student pair of the one and, if there is one, of the
    other; none: nothing is known yet."""
    figure: Seeded = field(default_factory=lambda: Seeded((), Interval(), Interval()))
    """By seed, in that order; positive: as the claim has it. `both` has no bounds where resets are not paired."""
    primary: bool = False
    p: float = float("nan")
    """Two-sided p of Student's t-test; Holm-adjusted among all contrasts but the primary and the negative controls."""

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """Training seeds that have both sides."""
        return tuple(pairs[0][1].origin.seed for pairs in self.pairs)

    @property
    def students(self) -> tuple[tuple[str, ...], ...]:
        """Names of the students that are set against each other, by seed."""
        return tuple(tuple(student.name for _, student in pairs) for pairs in self.pairs)

    @property
    def apart(self) -> tuple[float, ...]:
        """By seed: success of the one teacher minus that of the other, on the reported resets."""
        return tuple(pairs[0][0].success - pairs[-1][0].success for pairs in self.pairs)

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
        """What it shows; "Supported" is said of claims only. A difference is only told where neither the interval over
        seeds holds zero nor that over resets and seeds; one seed decides nothing, as its interval does not know the
        luck of a training."""
        if len(self.pairs) < 2:
            return "not decided by one seed" if self.pairs else "not known yet"
        value, both = self.figure.value, self.figure.both
        if self.p < LEVEL and value > 0 and not both.low <= 0:  # without bounds there is nothing against it
            return PASSES
        return OTHER_WAY if self.p < LEVEL and value < 0 and not both.high >= 0 else "no difference shown"

    @property
    def verdict(self) -> str:
        """The word as an explored contrast has it: one that nobody named before passes nothing."""
        shown = {PASSES: "Difference shown", OTHER_WAY: "Difference the other way"}
        return shown.get(self.word, self.word.capitalize())

    @property
    def sentence(self) -> str:
        """What an explored contrast found, with its interval, and over how many seeds."""
        over = f"over {len(self.pairs)} training seeds" if len(self.pairs) > 1 else "an interval over resets only"
        lost, more, size = "state teachers", DEPTH_TEACHERS[self.name], self.figure.interval
        if self.word == OTHER_WAY:
            lost, more, size = more, lost, size.negative
        where = f" in the scene {self.config.scene}" if self.config.scene else ""
        told = (
            f"{self.verdict}{where}: students of {lost} lost {points(size)} more of their teachers' success than "
            f"students of {more} ({over})"
        )
        return told + ("; the interval holds zero." if self.word == "no difference shown" else ".")

    def fires(self, primary: Contrast | None) -> bool:
        """Whether a negative control shows what it should not: clear of zero, or half as large as the primary."""
        value, least = self.figure.value, HALF * primary.figure.value if primary else float("nan")
        return self.config.control and (self.figure.seeds.low > 0 or value >= least > 0)


def registered(comparisons: Mapping[str, Comparison], spec: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """The contrasts that a study's file names, in its order; none for a study of the first edition.

    Args:
        comparisons: by scene.
        spec: the study's configuration, with "contrasts" and "primary".
    """
    asked = TypeAdapter(dict[str, ContrastConfig]).validate_python(spec.get("contrasts") or {})
    found = [replace(found_in(comparisons, name, one), primary=name == spec["primary"]) for name, one in asked.items()]
    family = [one for one in found if not (one.primary or one.config.control)]
    adjusted = dict(zip((one.name for one in family), holm([one.p for one in family]), strict=True))
    return tuple(replace(one, p=adjusted.get(one.name, one.p)) for one in found)


def explored(scene: str, comparison: Comparison) -> list[Contrast]:
    """The state teacher's stereo students against those of each kind of depth teacher, as far as both are there: over
    most seeds first, and of equals from scratch; then at equal teacher success."""
    asked = {name: ContrastConfig(scene, "state-to-stereo", than) for name, than in EXPLORED.items()}
    asked |= {"not matched": ContrastConfig(scene, "state-to-stereo", "depth-to-stereo", matched=True)}
    each = [found_in({scene: comparison}, name, one) for name, one in asked.items()]
    each = [replace(one, name="matched teachers") if one.config.matched and one.equal_teachers else one for one in each]
    return sorted((one for one in each if one.pairs), key=lambda one: (one.config.matched, -len(one.pairs)))


def unmatched(comparison: Comparison) -> list[Contrast]:
    """The explored contrasts whose teachers are the best ones."""
    return [one for one in explored("", comparison) if not one.config.matched]


def found_in(comparisons: Mapping[str, Comparison], name: str, config: ContrastConfig) -> Contrast:
    """What comparisons, by scene, say of a contrast."""
    sides = _sides(comparisons.get(config.scene), config)
    if config.minus is None:
        figure = _figure_of(sides, config.where)
    else:
        other = _sides(comparisons.get(config.minus), config)
        sides = {seed: pairs for seed, pairs in sides.items() if seed in other}
        each = [[_figure_of({seed: of[seed]}, config.where).value for seed in sides] for of in (sides, other)]
        values = np.array(each[0]) - each[1]
        mean = Interval(float(values.mean()) if sides else float("nan"))
        figure = Seeded(tuple(map(Interval, values.tolist())), mean, t_interval(values) if sides else mean)
    return Contrast(name, config, tuple(sides.values()), figure, p=p_value([one.value for one in figure.each]))


Seed = tuple[int | None, int]
"""A training seed, and a number that tells students apart who share it."""
Sides = dict[Seed, tuple[Pair, ...]]


def _sides(comparison: Comparison | None, config: ContrastConfig) -> Sides:
    """By training seed the teacher-student pairs that are set against each other, one if there is no other side."""
    if comparison is None:
        return {}
    kinds = [NAMED[name] for name in (config.loses, config.than) if name]
    chosen = [_by_seed(comparison.pairs(kind)) for kind in kinds]
    early: list[dict[Seed, Pair]] = []
    if config.matched:
        early = [_by_seed(comparison.pairs(replace(kind, matched=True))) for kind in kinds]
        chosen = [one | other for one, other in zip(chosen, early, strict=True)]
    seeds = [seed for seed in chosen[0] if all(seed in one for one in chosen)]
    seeds = [seed for seed in seeds if not config.matched or any(seed in one for one in early)]
    found = {seed: tuple(one[seed] for one in chosen) for seed in seeds}
    steps = config.where == "hidden_steps"
    return {seed: pairs for seed, pairs in found.items() if not steps or all(s.disagreement for _, s in pairs)}


def _by_seed(pairs: list[Pair]) -> dict[Seed, Pair]:
    found: dict[Seed, Pair] = {}
    for pair in pairs:
        seed = pair[1].origin.seed
        found[seed, sum(seed == other for other, _ in found)] = pair
    return found


def _figure_of(sides: Sides, where: Where) -> Seeded:
    if not sides:
        return Seeded((), Interval(), Interval())
    check_paired(*(one.evaluation for pairs in sides.values() for pair in pairs for one in pair))
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
        seen, hidden = (both.sums(view) for view in by_view(student, both.steps).values())
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
