"""A comparison and a study in sentences: the claim, what became of it, what was found, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..evaluation.statistics import Interval, Seeded
from .comparison import Comparison, ExtraLoss
from .page import MINUS
from .results import PolicyResult
from .study_results import Study

CLAIM = (
    "A student of a teacher that knows the state loses more of its teacher's success than a student of a teacher that "
    "sees only a depth image, because the first teacher acts on what no camera shows."
)
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
        """The interval of the extra loss: Student's t over training seeds, or over resets where there is one seed."""
        return over_seeds(self.loss.figure)

    @property
    def word(self) -> Word:
        """A difference is only claimed where no interval holds zero: neither that over seeds, nor that over resets
        and seeds. Nothing is claimed of one seed, whose intervals do not know the luck of a training."""
        if len(self.loss.pairs) == 1:
            return "Not decided by one seed"
        both = (self.interval, self.loss.figure.both)
        if all(figure.low > 0 for figure in both):
            return "Supported"
        return "Contradicted" if all(figure.high < 0 for figure in both) else "No difference shown"

    @property
    def warm(self) -> bool:
        """Whether the depth teachers imitated a state teacher first."""
        return self.loss.against.warm_start

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
        seeds = len(self.loss.pairs)
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
    """All that there are, the headline first: the scene with most seeds; of equals the study's first."""
    each = {scene: comparison.extra_losses() for scene, comparison in study.comparisons.items()}
    known = [scene for scene, losses in each.items() if losses]
    order = sorted(known, key=lambda scene: -len(each[scene][0].pairs))
    found = []
    for scene in order:
        found += [Verdict(scene, loss) for loss in each[scene]]
        matched = study.comparisons[scene].matched_loss()
        found += [Verdict(scene, matched, matched=True)] if matched else []
    return found


def study_headline(study: Study) -> str:
    """The verdict in one sentence."""
    found = verdicts(study)
    return (
        found[0].sentence if found else "No verdict: no state and depth teacher of one scene have stereo students yet."
    )


def over_seeds(figure: Seeded) -> Interval:
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


def headline(comparison: Comparison) -> list[str]:
    """The findings with their intervals. A difference is only claimed where its interval excludes zero."""
    sentences = [_of_student(comparison, one) for one in comparison.policies if one.teacher]
    losses = comparison.extra_losses()
    if losses:
        sentences.append(_of_extra_loss(losses[0].figure.both) + _over_seeds(losses[0]))
    if not sentences:
        for one in comparison.policies:
            figure = _percent(Interval(**one.summary["success_at_end"]))
            sentences.append(f"The {one.name} policy succeeds in {figure} of the resets.")
    return sentences


def _of_student(comparison: Comparison, student: PolicyResult) -> str:
    reached = _percent(Interval(**student.summary["success_at_end"]))
    known = 100 * comparison.policy(str(student.teacher)).summary["success_at_end"]["value"]
    gap = comparison.figure(student.name, "success_gap")
    assert gap is not None
    sentence = f"The {student.name} student succeeds in {reached}; its teacher in {known:.1f}\u00a0%: "
    if gap.low > 0:
        return sentence + f"it loses {points(gap)}."
    if gap.high < 0:
        return sentence + f"it gains {points(_negative(gap))}."
    return sentence + f"a loss of {points(gap)}, which may be none."


def _over_seeds(loss: ExtraLoss) -> str:
    """What the spread between training seeds says of the extra loss; nothing for a single pair of each kind."""
    seeds = len(loss.pairs)
    if seeds < 2:
        return ""
    figure = loss.figure.seeds
    verdict = "excludes" if figure.low > 0 or figure.high < 0 else "holds"
    return f" Over {seeds} training seeds Student's t gives {points(figure)}, which {verdict} zero."


def _of_extra_loss(extra: Interval) -> str:
    if extra.low <= 0 <= extra.high:
        return (
            f"The state teacher's student loses {points(extra)} more than the depth teacher's; the interval holds "
            "zero, so these episodes do not tell the two chains apart."
        )
    who = ("state", "depth") if extra.value > 0 else ("depth", "state")
    size = extra if extra.value > 0 else _negative(extra)
    return f"The {who[0]} teacher's student loses {points(size)} more than the {who[1]} teacher's, on the same resets."


def limits(comparison: Comparison) -> list[str]:
    """What a reader must not conclude."""
    rig = comparison.settings.get("rig") or {}
    kinds = comparison.policies[0].evaluation.object_kinds
    found = [_of_seeds(comparison)]
    if rig.get("height"):
        found.append(
            f"Images have {rig['height']} x {rig['width']} pixels; larger ones may change who wins and by how much."
        )
    objects = f" ({', '.join(kinds)})" if kinds else ""
    found.append(f"Objects are put together from boxes and cylinders{objects}, on an empty table, one at a time.")
    found.append("Everything happened in simulation: nothing here says how a policy does on a robot.")
    found += _of_teachers(comparison)
    found += _of_warm_starts([one for one in comparison.policies if one.origin.warm_started_from])
    if any(one.teacher for one in comparison.policies) and not any(kind.control for kind in comparison.kinds):
        found.append(
            "No control student (the same network with its teacher's own observations) was compared: part of the "
            "unexplained action variance may be optimisation error rather than what cannot be seen."
        )
    found.append("Students may still have been improving when their budget ended; see the learning curves.")
    return found + list(comparison.notes)


def _of_seeds(comparison: Comparison) -> str:
    counts = {len(comparison.of_kind(kind)) for kind in comparison.kinds}
    if counts == {1}:
        return (
            "Every policy was trained with one seed. The intervals cover the choice of resets, not the luck of a "
            "training: another seed may give other figures, and differences of a few points may turn round."
        )
    few, many = min(counts), max(counts)
    seeds = f"{few}" if few == many else f"{few} to {many}"
    return f"There are {seeds} training seeds of each kind of policy; t-intervals over so few are wide for a reason."


def _of_teachers(comparison: Comparison) -> list[str]:
    teachers = [kind for kind in comparison.kinds if not kind.is_student]
    means = {kind.label: comparison.over_seeds[kind]["success"].seeds.value for kind in teachers}
    if len(means) < 2 or max(means.values()) - min(means.values()) < 0.02:
        return []
    told = ", ".join(f"{name} {100 * value:.1f}\u00a0%" for name, value in means.items())
    return [f"The teachers are not equally good ({told}): compare retention and gap, not only the students' success."]


def _of_warm_starts(teachers: list[PolicyResult]) -> list[str]:
    if not teachers:
        return []
    if len(teachers) == 1:
        name, other = replace(teachers[0].kind, warm_start=False).label, teachers[0].origin.warm_started_from
        return [
            f"The {name} did not learn from scratch: it first imitated the teacher of the run {other}, which pulls it "
            "toward what can be imitated. It is no end-to-end result."
        ]
    return [
        f"The {len(teachers)} depth teachers with a warm start did not learn from scratch: each first imitated another "
        "teacher, which pulls it toward what can be imitated. They are no end-to-end results."
    ]


def _percent(figure: Interval) -> str:
    return f"{100 * figure.value:.1f}\u00a0% [{100 * figure.low:.1f}, {100 * figure.high:.1f}] of the resets"


def points(figure: Interval) -> str:
    """A difference of two shares, in percentage points with its interval."""
    text = f"{100 * figure.value:.1f} points [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return text.replace("-", MINUS)


def _negative(figure: Interval) -> Interval:
    return Interval(-figure.value, -figure.high, -figure.low)
