"""A comparison and a study in sentences: the claim, what became of it, what was found, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..evaluation.evaluation import FEW
from .comparison import Comparison
from .contrasts import OTHER_WAY, PASSES, Contrast, explored
from .page import points
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


def verdicts(study: Study) -> list[Contrast]:
    """What was explored in all scenes, the headline first: the scene with most seeds; of equals the study's first."""
    each = [found for one in study.comparisons.items() if (found := explored(*one))]
    return [one for found in sorted(each, key=lambda found: -len(found[0].pairs)) for one in found]


def claim_sentences(study: Study) -> list[str]:
    """What became of the claim's two parts, judged by the contrasts that the study named before; none if it named none.

    The first part rests on the primary contrast alone, the second on all of its own, and on the primary and the
    negative controls besides.
    """
    found = study.contrasts
    primary = next((one for one in found if one.primary), None)
    if primary is None:
        return []
    words = {PASSES: "Supported", OTHER_WAY: "Contradicted"}
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
    text = f"in the scene {asked.scene} {asked.loses} loses {points(one.figure.interval)} of {lost}"
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
    sentences += [one.sentence for one in explored("", comparison)]
    return sentences or [f"The {one.name} policy succeeds in {_reached(one)}." for one in comparison.policies]


def _of_student(comparison: Comparison, student: PolicyResult) -> str:
    known = 100 * comparison.policy(str(student.teacher)).summary["success_at_end"]["value"]
    gap = comparison.figure(student.name, "success_gap")
    assert gap is not None
    sentence = f"The {student.name} student succeeds in {_reached(student)}; its teacher in {known:.1f}\u00a0%: "
    if gap.low > 0:
        return sentence + f"it loses {points(gap)}."
    if gap.high < 0:
        return sentence + f"it gains {points(gap.negative)}."
    return sentence + f"a loss of {points(gap)}, which may be none."


def _reached(policy: PolicyResult) -> str:
    value, low, high = (100 * policy.summary["success_at_end"][key] for key in ("value", "low", "high"))
    return f"{value:.1f}\u00a0% [{low:.1f}, {high:.1f}] of the resets"


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
    rig, kinds = comparison.settings.get("rig") or {}, comparison.policies[0].evaluation.object_kinds
    pixels = f"Images have {rig.get('height')} x {rig.get('width')} pixels"
    objects = f" ({', '.join(kinds) if len(kinds) <= FEW else f'{len(kinds)} kinds'})" if kinds else ""
    chosen = (comparison.settings.get("env") or {}).get("scene", {}).get("objects", "primitives")
    made = "put together from boxes and cylinders" if chosen == "primitives" else f"those of the object set {chosen}"
    control = (
        "No control student (the same network with its teacher's own observations) was compared: part of the "
        "unexplained action variance may be optimisation error rather than what cannot be seen."
    )
    return [
        _of_seeds(comparison),
        *[f"{pixels}; larger ones may change who wins and by how much."] * bool(rig.get("height")),
        f"Objects are {made}{objects}, on an empty table, one at a time.",
        "Everything happened in simulation: nothing here says how a policy does on a robot.",
        *_of_resets(comparison),
        *_of_commits(comparison),
        *_of_teachers(comparison),
        *_of_warm_starts([one for one in comparison.policies if one.origin.warm_started_from]),
        *[control] * (any(p.teacher for p in comparison.policies) and not any(k.control for k in comparison.kinds)),
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
