"""A study in sentences: the claim, what became of it in each scene, and what the study cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from ..evaluation.observability import gap_differences
from ..evaluation.statistics import Interval, Seeded
from ..report.comparison import Comparison, ExtraLoss
from ..report.figures import WIDTH
from ..report.findings import limits, points
from ..report.gap_figures import INK, SOFT, seeds_in_words
from ..report.policies import ARROW, WARM, role_of_cell
from .cells import MATCHED
from .results import Study

CLAIM = (
    "A student of a teacher that knows the state loses more of its teacher's success than a student of a teacher that "
    "sees only a depth image, because the first teacher acts on what no camera shows."
)
STATE_STEREO, DEPTH_STEREO = role_of_cell("state", "stereo"), role_of_cell("depth" + WARM, "stereo")
Word = Literal["Supported", "Contradicted", "No difference shown", "Not decided by one seed"]


@dataclass(frozen=True)
class Verdict:
    """What one scene says of the claim, for one kind of depth teacher."""

    scene: str
    loss: ExtraLoss
    matched: bool = False
    """Whether the teachers of each seed were brought to equal success first."""

    @property
    def interval(self) -> Interval:
        """Of the extra loss: Student's t over training seeds, or over resets where there is one seed."""
        return over_chains(self.loss.figure)

    @property
    def word(self) -> Word:
        """A difference is only claimed where no interval holds zero: neither that over seeds, nor that over resets
        and seeds. Nothing is claimed of one seed, whose intervals do not know the luck of a training."""
        if len(self.loss.chains) == 1:
            return "Not decided by one seed"
        both = (self.interval, self.loss.figure.both)
        if all(figure.low > 0 for figure in both):
            return "Supported"
        return "Contradicted" if all(figure.high < 0 for figure in both) else "No difference shown"

    @property
    def warm(self) -> bool:
        """Whether the depth teachers imitated a state teacher first."""
        return WARM in self.loss.depth_role

    @property
    def kind(self) -> str:
        """What tells it from the other verdicts of its scene, in a few words."""
        return "matched teachers" if self.matched else "warm start" if self.warm else "from scratch"

    @property
    def depth_teachers(self) -> str:
        """What the depth teachers are called in a sentence."""
        if self.matched:
            return "equally good depth teachers"
        return "depth teachers that began with a warm start" if self.warm else "depth teachers that learnt from scratch"

    @property
    def sentence(self) -> str:
        """The finding with its interval, and over how many seeds."""
        seeds = len(self.loss.chains)
        over = f"over {seeds} training seeds" if seeds > 1 else "an interval over resets only"
        lost, more, size = "state", "depth", self.interval
        if self.word == "Contradicted":
            lost, more, size = "depth", "state", Interval(-size.value, -size.high, -size.low)
        names = {"state": "state teachers", "depth": self.depth_teachers}
        told = (
            f"{self.word} in the scene {self.scene}: students of {names[lost]} lost {points(size)} more of their "
            f"teachers' success than students of {names[more]} ({over})"
        )
        return told + ("; the interval holds zero." if self.word == "No difference shown" else ".")


def verdicts(study: Study) -> list[Verdict]:
    """All that there are, the headline first: the scene with most pairs of chains; of equals the study's first."""
    each = {scene: comparison.extra_losses() for scene, comparison in study.comparisons.items()}
    known = [scene for scene, losses in each.items() if losses]
    order = sorted(known, key=lambda scene: -len(each[scene][0].chains))
    found = []
    for scene in order:
        found += [Verdict(scene, loss) for loss in each[scene]]
        matched = matched_loss(study.comparisons[scene])
        found += [Verdict(scene, matched, matched=True)] if matched else []
    return found


def matched_loss(comparison: Comparison) -> ExtraLoss | None:
    """The extra loss of stereo students where teachers are equally good: for each seed the matched student of the
    stronger teacher is set against the student of the weaker one."""
    students = {(entry.role, entry.origin.seed): entry for entry in comparison.entries if entry.teacher}
    pairs = []
    for (role, seed), entry in students.items():
        if f", {MATCHED}{ARROW}stereo" not in role:
            continue
        other = students.get((DEPTH_STEREO if role.startswith("state") else STATE_STEREO, seed))
        if other is not None:
            pairs.append((entry, other) if role.startswith("state") else (other, entry))
    if not pairs:
        return None
    sides = zip(*pairs, strict=True)
    chains = [[(comparison.entry(str(e.teacher)).evaluation, e.evaluation) for e in side] for side in sides]
    names = tuple((state.name, depth.name) for state, depth in pairs)
    return ExtraLoss(DEPTH_STEREO, names, gap_differences(chains[0], chains[1]))


def study_headline(study: Study) -> str:
    """The verdict in one sentence."""
    found = verdicts(study)
    return (
        found[0].sentence if found else "No verdict: no state and depth teacher of one scene have stereo students yet."
    )


def over_chains(figure: Seeded) -> Interval:
    """The interval over training seeds; over resets where there is a single one."""
    return figure.seeds if len(figure.each) > 1 else figure.both


def study_limits(study: Study) -> list[str]:
    """What a reader must not conclude: what holds for each comparison, each said once, and what became of the cells."""
    found = _of_comparisons(study.comparisons)
    rising = [c for c in study.cells if c.flatness is not None and not c.flatness.flat]
    if rising:
        names = ", ".join(sorted({f"{c.cell} ({c.scene})" for c in rising}))
        found.append(f"Some trainings were still rising in the last third of their budget: {names}.")
    open_cells = [f"{c.scene}/seed{c.seed}/{c.cell} ({c.state})" for c in study.cells if c.state != "finished"]
    if open_cells:
        found.append(f"Not all cells of the matrix are finished: {', '.join(open_cells)}.")
    return [*dict.fromkeys([*found, *study.notes])]


def _of_comparisons(comparisons: Mapping[str, Comparison]) -> list[str]:
    """What holds for all scenes as it is, the rest with the name of its scene."""
    each = {scene: limits(comparison) for scene, comparison in comparisons.items()}
    shared = [
        sentence for sentence in next(iter(each.values()), []) if all(sentence in found for found in each.values())
    ]
    return shared + [f"Scene {scene}: {s}" for scene, found in each.items() for s in found if s not in shared]


def verdict_figure(verdicts: Sequence[Verdict]) -> Figure:
    """The extra loss of the state teachers' students: a line per scene and kind of depth teacher; every pair of chains
    is a point, the bar is the interval over seeds (over resets for one seed)."""
    figure = Figure(figsize=(WIDTH, 0.9 + 0.52 * len(verdicts)), layout="constrained")
    axes = figure.subplots()
    for row, verdict in enumerate(verdicts):
        seeded, shade = verdict.loss.figure, INK if verdict.word in ("Supported", "Contradicted") else SOFT
        whole = verdict.interval
        if np.isfinite([whole.low, whole.high]).all():
            axes.plot(
                [100 * whole.low, 100 * whole.high], [row, row], color=shade, linewidth=2.2, solid_capstyle="butt"
            )
        axes.plot(100 * whole.value, row, "D", color=shade, markersize=6.5)
        if len(seeded.each) > 1:
            each = [100 * chain.value for chain in seeded.each]
            axes.plot(each, [row + 0.24] * len(each), "o", color="white", markeredgecolor=shade, markersize=4)
    axes.axvline(0, color=INK, linewidth=0.9)
    names = [f"{v.scene}, {v.kind} ({seeds_in_words(len(v.loss.chains))})" for v in verdicts]
    axes.set_yticks(range(len(verdicts)), names)
    axes.tick_params(axis="y", pad=10)
    axes.set_ylim(len(verdicts) - 0.4, -0.6)
    axes.set_xlabel("extra loss of the state-taught students, points (right of zero: as the claim has it)")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    return figure
