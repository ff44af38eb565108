"""A comparison and a study in sentences: the claim, what became of it, what was found, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..evaluation.evaluation import FEW
from ..evaluation.statistics import Interval
from .comparison import Comparison, ExtraLoss, over_seeds
from .contrasts import PASSES, Contrast, registered
from .page import MINUS
from .results import PolicyResult
from .study_results import Study

CLAIMS = {
    1: "A student of a teacher that knows the state loses more of its teacher's success than a student of a teacher "
    "that sees only a depth image.",
    2: "It loses more because the first teacher acts on what no camera shows.",
}
"""The claim in its two parts, each of which is judged by contrasts of its own."""
CLAIM = " ".join(CLAIMS.values())
"""The claim as a whole."""
DEPTH_TEACHERS = {
    "matched teachers": "equally good depth teachers",
    "not matched": "depth teachers not matched to them (more than a point apart on these resets)",
    "warm start": "depth teachers that began with a warm start",
    "from scratch": "depth teachers that learnt from scratch",
}
"""What they are called in a sentence, by the kind of the verdict."""
Word = Literal["Difference shown", "Difference the other way", "No difference shown", "Not decided by one seed"]


@dataclass(frozen=True)
class Verdict:
    """What one scene says of the first part of the claim, for one kind of depth teacher: explored, not named before."""

    scene: str
    """Empty for a comparison whose scene has no name."""
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
            return "Difference shown"
        return "Difference the other way" if all(figure.high < 0 for figure in both) else "No difference shown"

    @property
    def kind(self) -> str:
        """What tells it from the other verdicts of its scene, in a few words."""
        if self.matched:
            return "matched teachers" if self.loss.equal_teachers else "not matched"
        return "warm start" if self.loss.against.warm_start else "from scratch"

    @property
    def sentence(self) -> str:
        """The finding with its interval, and over how many seeds."""
        seeds = len(self.loss.pairs)
        over = f"over {seeds} training seeds" if seeds > 1 else "an interval over resets only"
        lost, more, size = "state teachers", DEPTH_TEACHERS[self.kind], self.interval
        if self.word == "Difference the other way":
            lost, more, size = more, lost, _negative(size)
        where = f" in the scene {self.scene}" if self.scene else ""
        told = (
            f"{self.word}{where}: students of {lost} lost {points(size)} more of their teachers' success than students "
            f"of {more} ({over})"
        )
        return told + ("; the interval holds zero." if self.word == "No difference shown" else ".")


def verdicts(study: Study) -> list[Verdict]:
    """All that there are, the headline first: the scene with most seeds; of equals the study's first."""
    each = [found for one in study.comparisons.items() if (found := _of_scene(*one))]
    return [verdict for found in sorted(each, key=lambda found: -len(found[0].loss.pairs)) for verdict in found]


def _of_scene(scene: str, comparison: Comparison) -> list[Verdict]:
    matched = comparison.matched_loss()
    found = [Verdict(scene, loss) for loss in comparison.extra_losses()]
    return found + ([Verdict(scene, matched, matched=True)] if matched else [])


def claim_sentences(study: Study) -> list[str]:
    """What became of the claim's two parts, judged by the contrasts that the study named before; none if it named none.

    The first part rests on the primary contrast alone, the second on all of its own, and on the primary and the
    negative controls besides.
    """
    found = registered(study)
    primary = next((one for one in found if one.primary), None)
    if primary is None:
        return []
    words = {PASSES: "Supported", "the other way": "Contradicted"}
    first = words.get(primary.word, primary.word.capitalize())
    second, fired = "No contrast was named for it", [one.name for one in found if one.fires(primary)]
    own = [one for one in found if one.config.claim == 2 and not one.config.control]
    if own:
        passed = [one.name for one in own if one.word == PASSES]
        held = f"{len(passed)} of {len(own)} contrasts pass" + f" ({', '.join(passed)})" * bool(passed)
        second = "Not supported: " + held
        if len(passed) == len(own) and first == "Supported":
            second = "Supported: " + held
        if fired:
            second = f"Not supported, as a negative control fires ({', '.join(fired)}): {held}"
    said = f"{first}: {told(primary)}"
    return [f"{CLAIMS[1]} {said}.", f"{CLAIMS[2]} {second}."]


def told(one: Contrast) -> str:
    """A contrast in words, with its interval, and what is left of it without one of the seeds."""
    if not one.seeds:
        return f"{one.name} is not known yet"
    asked, spread = one.config, one.left_out
    where = {
        "hidden_resets": " (out of view at the reset minus in view)",
        "hidden_steps": " (out of view minus in view)",
    }
    lost = "unexplained variance" if asked.where == "hidden_steps" else "success"
    text = f"in the scene {asked.scene} {asked.loses} loses {points(over_seeds(one.figure))} of {lost}"
    text += where.get(asked.where, "") + f" more than {asked.than}" * bool(asked.than)
    text += f", minus the same in {asked.minus}" * bool(asked.minus)
    text += f" ({seeds_in_words(len(one.seeds))}"
    text += f"; without any one of them {100 * spread[0]:.1f} to {100 * spread[1]:.1f}" if spread else ""
    text += f"; teachers apart by up to {100 * max(map(abs, one.apart)):.1f} points"
    return text + ": not matched" * (asked.matched and not one.equal_teachers) + ")"


def seeds_in_words(count: int) -> str:
    """How many seeds there are."""
    return "1 seed" if count == 1 else f"{count} seeds"


def study_headline(study: Study) -> str:
    """The verdict in one sentence."""
    found = [*claim_sentences(study), *(one.sentence for one in verdicts(study))]
    return found[0] if found else "No verdict: no state and depth teacher of one scene have stereo students yet."


def headline(comparison: Comparison) -> list[str]:
    """The findings of one comparison with their intervals: what each student lost, and what that says of the claim."""
    sentences = [_of_student(comparison, one) for one in comparison.policies if one.teacher]
    sentences += [verdict.sentence for verdict in _of_scene("", comparison)]
    return sentences or [f"The {one.name} policy succeeds in {_reached(one)}." for one in comparison.policies]


def _of_student(comparison: Comparison, student: PolicyResult) -> str:
    known = 100 * comparison.policy(str(student.teacher)).summary["success_at_end"]["value"]
    gap = comparison.figure(student.name, "success_gap")
    assert gap is not None
    sentence = f"The {student.name} student succeeds in {_reached(student)}; its teacher in {known:.1f}\u00a0%: "
    if gap.low > 0:
        return sentence + f"it loses {points(gap)}."
    if gap.high < 0:
        return sentence + f"it gains {points(_negative(gap))}."
    return sentence + f"a loss of {points(gap)}, which may be none."


def _reached(policy: PolicyResult) -> str:
    value, low, high = (100 * policy.summary["success_at_end"][key] for key in ("value", "low", "high"))
    return f"{value:.1f}\u00a0% [{low:.1f}, {high:.1f}] of the resets"


def points(figure: Interval) -> str:
    """A difference of two shares, in percentage points with its interval."""
    text = f"{100 * figure.value:.1f} points [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return text.replace("-", MINUS)


def _negative(figure: Interval) -> Interval:
    return Interval(-figure.value, -figure.high, -figure.low)


def study_limits(study: Study) -> list[str]:
    """What a reader must not conclude: what holds for each comparison, each said once, and what became of the cells."""
    each = {scene: limits(comparison) for scene, comparison in study.comparisons.items()}
    shared = [one for one in next(iter(each.values()), []) if all(one in found for found in each.values())]
    found = shared + [f"Scene {scene}: {one}" for scene, said in each.items() for one in said if one not in shared]
    budgets = [n for n, budget in study.budgets.items() if not budget.enough and ("-to-" not in n)]
    if budgets:
        found.append(f"Budgets that are not shown to be enough, see What was run: {', '.join(budgets)}.")
    if study.cells and not study.spec.get("contrasts"):
        found.append(
            "First edition: no contrast had been named before the study ran, so that nothing is called supported; "
            "students' learning rates fell to nothing, which flattens a curve by itself."
        )
    open_cells = [f"{c.scene}/seed{c.seed}/{c.cell} ({c.state})" for c in study.cells if c.state != "finished"]
    if open_cells:
        found.append(f"Not all cells of the matrix are finished: {', '.join(open_cells)}.")
    return [*dict.fromkeys([*found, *study.notes])]


def limits(comparison: Comparison) -> list[str]:
    """What a reader must not conclude of one comparison."""
    rig = comparison.settings.get("rig") or {}
    kinds = comparison.policies[0].evaluation.object_kinds
    pixels = f"Images have {rig.get('height')} x {rig.get('width')} pixels"
    objects = f" ({', '.join(kinds) if len(kinds) <= FEW else f'{len(kinds)} kinds'})" if kinds else ""
    taught, controlled = any(p.teacher for p in comparison.policies), any(kind.control for kind in comparison.kinds)
    control = (
        "No control student (the same network with its teacher's own observations) was compared: part of the "
        "unexplained action variance may be optimisation error rather than what cannot be seen."
    )
    return [
        _of_seeds(comparison),
        *[f"{pixels}; larger ones may change who wins and by how much."] * bool(rig.get("height")),
        f"Objects are put together from boxes and cylinders{objects}, on an empty table, one at a time.",
        "Everything happened in simulation: nothing here says how a policy does on a robot.",
        *_of_resets(comparison),
        *_of_commits(comparison),
        *_of_teachers(comparison),
        *_of_warm_starts([one for one in comparison.policies if one.origin.warm_started_from]),
        *[control] * (taught and not controlled),
        "Students may still have been improving when their budget ended; see the learning curves.",
        *comparison.notes,
    ]


def _of_resets(comparison: Comparison) -> list[str]:
    """What evaluations of the first edition shared with trainings, and what they did not measure."""
    found, first = [], comparison.policies[0].evaluation
    if comparison.settings.get("postures", "training") == "training":
        found.append("Shared postures: episodes began with arm postures from which the policies had learnt, too.")
    if first.seen and not first.both_known:
        found.append("In view means in view of the left eye only: what the right eye saw was not measured.")
    return found


def _of_commits(comparison: Comparison) -> list[str]:
    dirty = [one.name for one in comparison.policies if (one.origin.meta.get("git") or {}).get("dirty")]
    name = "All" if len(dirty) == len(comparison.policies) else ", ".join(dirty)
    return [f"Trained from a working copy with changes that its commit does not hold: {name}."] if dirty else []


def _of_seeds(comparison: Comparison) -> str:
    counts = {len(comparison.of_kind(kind)) for kind in comparison.kinds}
    if counts == {1}:
        return (
            "Every policy was trained with one seed. The intervals cover the choice of resets, not the luck of a "
            "training: another seed may give other figures, and differences of a few points may turn round."
        )
    seeds = " to ".join(str(count) for count in dict.fromkeys((min(counts), max(counts))))
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


def facts(study: Study) -> list[str]:
    """What all of it took, and on which machine."""
    cost = study.cost
    steps, seconds = cost["evaluation_steps"], cost["evaluation_seconds"]
    if study.cells:
        provenance = study.provenance
        found = [
            f"{cost['trainings']} trainings learnt from {cost['training_steps'] / 1e6:.1f} million environment steps "
            f"in {cost['training_seconds'] / 3600:.1f} hours of single processes; {cost['evaluations']} evaluations "
            f"took {steps / 1e6:.1f} million steps and {seconds / 3600:.1f} hours. Several ran side by side, so the "
            "whole took less."
        ]
    else:
        (comparison,) = study.comparisons.values()
        settings, provenance = comparison.settings, comparison.settings.get("provenance", {})
        found = [
            "Learning time: rollouts and gradient steps, without validations and start-up.",
            f"The evaluation took {steps:,} environment steps in {seconds:.0f} s, rendering included. Resets: seed "
            f"{settings.get('seed')}, {settings.get('num_envs')} worlds to a round, kind "
            f"{settings.get('reset_kind') or 'mixed'}.",
        ]
    return [*found, *_of_machine(provenance)]


def _of_machine(provenance: Mapping[str, Any]) -> list[str]:
    hardware, versions, found = provenance.get("hardware", {}), provenance.get("versions", {}), []
    if hardware:
        accelerators = ", ".join(hardware.get("gpus", [])) or "none"
        found.append(
            f"Machine: {hardware.get('cpu')}, {hardware.get('cores')} cores, {hardware.get('memory_gib')} GiB memory; "
            f"accelerators: {accelerators}."
        )
    if versions:
        found.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    return found
