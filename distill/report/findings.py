"""A comparison in sentences: what it found, and what it does not show."""

from __future__ import annotations

from ..evaluation.statistics import Interval
from .comparison import Comparison, ExtraLoss
from .gaps import Gap
from .page import MINUS
from .policies import CONTROL, WARM, cell_of, is_student
from .results import Entry


def headline(comparison: Comparison) -> list[str]:
    """The findings with their intervals. A difference is only claimed where its interval excludes zero."""
    sentences = [_of_gap(comparison, gap) for gap in comparison.gaps]
    extra = comparison.extra_loss()
    if extra is not None:
        sentences.append(_of_extra_loss(extra) + _over_seeds(comparison.extra_losses()[0]))
    if not sentences:
        for entry in comparison.entries:
            figure = _percent(Interval(**entry.summary["success_at_end"]))
            sentences.append(f"The {entry.name} policy succeeds in {figure} of the resets.")
    return sentences


def _of_gap(comparison: Comparison, gap: Gap) -> str:
    student, teacher = comparison.entry(gap.student), comparison.entry(gap.teacher)
    reached = _percent(Interval(**student.summary["success_at_end"]))
    known = 100 * teacher.summary["success_at_end"]["value"]
    sentence = f"The {gap.student} student succeeds in {reached}; its teacher in {known:.1f}\u00a0%: "
    if gap.success.low > 0:
        return sentence + f"it loses {points(gap.success)}."
    if gap.success.high < 0:
        return sentence + f"it gains {points(_negative(gap.success))}."
    return sentence + f"a loss of {points(gap.success)}, which may be none."


def _over_seeds(loss: ExtraLoss) -> str:
    """What the spread between training seeds says of the extra loss; nothing for a single chain of each kind."""
    seeds = len(loss.chains)
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
    kinds = comparison.entries[0].evaluation.object_kinds
    found = [_of_seeds(comparison)]
    if rig.get("height"):
        found.append(
            f"Images have {rig['height']} x {rig['width']} pixels; larger ones may change who wins and by how much."
        )
    objects = f" ({', '.join(kinds)})" if kinds else ""
    found.append(f"Objects are put together from boxes and cylinders{objects}, on an empty table, one at a time.")
    found.append("Everything happened in simulation: nothing here says how a policy does on a robot.")
    found += _of_teachers(comparison)
    found += _of_warm_starts([entry for entry in comparison.entries if entry.origin.warm_started_from])
    if comparison.gaps and not any(cell_of(entry.role)[1] == CONTROL for entry in _students(comparison)):
        found.append(
            "No control student (the same network with its teacher's own observations) was compared: part of the "
            "unexplained action variance may be optimisation error rather than what cannot be seen."
        )
    found.append("Students may still have been improving when their budget ended; see the learning curves.")
    return found + list(comparison.notes)


def _of_seeds(comparison: Comparison) -> str:
    counts = {figures["seeds"] for figures in comparison.over_seeds.values()}
    if counts == {1}:
        return (
            "Every policy was trained with one seed. The intervals cover the choice of resets, not the luck of a "
            "training: another seed may give other figures, and differences of a few points may turn round."
        )
    few, many = min(counts), max(counts)
    seeds = f"{few}" if few == many else f"{few} to {many}"
    return f"There are {seeds} training seeds of each kind of policy; t-intervals over so few are wide for a reason."


def _of_teachers(comparison: Comparison) -> list[str]:
    teachers = [role for role in comparison.roles if not is_student(role)]
    means = {role: comparison.over_seeds[role]["success_at_end"].value for role in teachers}
    if len(means) < 2 or max(means.values()) - min(means.values()) < 0.02:
        return []
    told = ", ".join(f"{role} {100 * value:.1f}\u00a0%" for role, value in means.items())
    return [f"The teachers are not equally good ({told}): compare retention and gap, not only the students' success."]


def _of_warm_starts(entries: list[Entry]) -> list[str]:
    if not entries:
        return []
    if len(entries) == 1:
        name, other = entries[0].name.replace(WARM, ""), entries[0].origin.warm_started_from
        return [
            f"The {name} did not learn from scratch: it first imitated the teacher of the run {other}, which pulls it "
            "toward what can be imitated. It is no end-to-end result."
        ]
    return [
        f"The {len(entries)} depth teachers with a warm start did not learn from scratch: each first imitated another "
        "teacher, which pulls it toward what can be imitated. They are no end-to-end results."
    ]


def _students(comparison: Comparison) -> list[Entry]:
    return [entry for entry in comparison.entries if is_student(entry.role)]


def _percent(figure: Interval) -> str:
    return f"{100 * figure.value:.1f}\u00a0% [{100 * figure.low:.1f}, {100 * figure.high:.1f}] of the resets"


def points(figure: Interval) -> str:
    """A difference of two shares, in percentage points with its interval."""
    text = f"{100 * figure.value:.1f} points [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return text.replace("-", MINUS)


def _negative(figure: Interval) -> Interval:
    return Interval(-figure.value, -figure.high, -figure.low)
