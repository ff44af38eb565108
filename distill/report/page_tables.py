"""A comparison's tables for people: pivots of its tidy table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..evaluation.observability import success_gap
from ..evaluation.statistics import Interval, Seeded
from .comparison import ALL, Comparison, in_stratum
from .contrasts import unmatched
from .page import DASH, Cell, Row, Table, number, render, share
from .policy_kind import NAMED
from .results import PolicyResult
from .style import colour

Columns = Mapping[str, tuple[str, Callable[[Interval | None], Cell]]]
"""Metric and form of the cells by head."""
IN_VIEW, OUT_OF_VIEW = "in view at reset", "out of view"
precise = partial(number, digits=3)
POLICY_COLUMNS: Columns = {
    "success at end": ("success_at_end", share),
    "success once": ("success_once", share),
    IN_VIEW: ("success_at_end, in view at reset", share),
    OUT_OF_VIEW: ("success_at_end, out of view at reset", share),
    "steps in view": ("steps_in_view", share),
    "return": ("return", number),
}
GAP_COLUMNS: Columns = {
    "success gap": ("success_gap", precise),
    IN_VIEW: ("success_gap, in view at reset", precise),
    OUT_OF_VIEW: ("success_gap, out of view at reset", precise),
    "retention": ("retention", precise),
    "unexplained variance": ("unexplained_action_variance", precise),
}
KIND_COLUMNS: Columns = {
    **{head: POLICY_COLUMNS[head] for head in ("success at end", IN_VIEW, OUT_OF_VIEW, "steps in view")},
    **{head: GAP_COLUMNS[head] for head in ("success gap", "retention")},
}
ABLATION_COLUMNS: Columns = {
    "success at end": ("success_at_end", share),
    "lost by it": ("success_lost", precise),
    "unexplained variance": ("unexplained_action_variance", precise),
}
MATRIX_COLUMNS: Columns = {
    "success": ("success", precise),
    "success gap": ("success_gap", precise),
    "retention": ("retention", precise),
    "unexplained": ("unexplained", precise),
    "observability gap": ("observability_gap", precise),
}


def _cells(columns: Columns, figure: Callable[[str], Interval | None]) -> list[Cell]:
    return [tell(figure(metric)) for metric, tell in columns.values()]


def policy_table(comparison: Comparison) -> Table:
    """How well each policy does, and how much it sees."""
    own = dict.fromkeys(name for policy in comparison.policies for name in policy.evaluation.measured)
    columns = {**POLICY_COLUMNS, **{name: (name, number) for name in own}}
    rows = [_row(comparison, one, columns, after=(Cell(one.summary["aborted"]),)) for one in comparison.policies]
    return Table(("policy", *columns, "lost"), rows)


def object_table(comparison: Comparison) -> Table:
    """Success with each object, the hardest first."""
    rows = []
    for name, resets in comparison.hardest.items():
        each = [comparison.figure(one.name, f"success_at_end, {name}") for one in comparison.policies]
        rows.append(Row(name, [Cell(resets), *map(share, each)]))
    return Table(("object", "resets", *(one.name for one in comparison.policies)), rows)


def gap_table(comparison: Comparison) -> Table:
    """What each student lost against its teacher."""
    rows = [
        _row(comparison, policy, GAP_COLUMNS, before=(Cell(policy.teacher, text=True),))
        for policy in comparison.policies
        if policy.teacher
    ]
    return Table(("student", "teacher", *GAP_COLUMNS), rows)


def ablation_table(comparison: Comparison) -> Table:
    """What became of the policies with their images tampered with."""
    rows = []
    for policy in comparison.policies:
        rows += [
            _row(comparison, policy, ABLATION_COLUMNS, before=(Cell(how, text=True),), stratum=how)
            for how in policy.ablations
        ]
        trained = comparison.one_eyed(policy) if policy.ablations else None
        if trained is not None:
            lost = success_gap(policy.evaluation, trained.evaluation)
            known = [comparison.figure(trained.name, m) for m in ("success_at_end", "unexplained_action_variance")]
            cells = [Cell("another, trained with the left eye alone", text=True), share(known[0]), precise(lost)]
            rows.append(Row(policy.name, [*cells, precise(known[1])], colour(comparison, policy.kind)))
    return Table(("policy", "images", *ABLATION_COLUMNS), rows)


def _row(
    comparison: Comparison,
    policy: PolicyResult,
    columns: Columns,
    before: Sequence[Cell] = (),
    after: Sequence[Cell] = (),
    stratum: str = ALL,
) -> Row:
    """A row of a policy's figures, between other cells."""
    cells = _cells(columns, lambda metric: comparison.figure(policy.name, in_stratum(metric, stratum)))
    return Row(policy.name, [*before, *cells, *after], colour(comparison, policy.kind))


def kind_table(comparison: Comparison) -> Table:
    """One row for each kind of policy: the mean with Student's t over seeds, from three on; over resets where there is
    one policy of each kind."""
    rows = []
    for kind in comparison.kinds:
        seeds = len(comparison.of_kind(kind))
        cells = _cells(KIND_COLUMNS, partial(comparison.over, kind))
        rows.append(Row(kind.label, [Cell(seeds), *cells], colour(comparison, kind)))
    return Table(("policy", "seeds", *KIND_COLUMNS), rows)


def matrix_table(comparison: Comparison) -> Table:
    """The gap matrix in numbers: success, retention and unexplained variance of every teacher's students."""
    rows = []
    for teacher, kinds in comparison.matrix.items():
        for student, kind in kinds.items():
            if kind:
                found = {metric: _told(comparison, one) for metric, one in comparison.over_seeds[kind].items()}
                cells = [Cell(len(comparison.of_kind(kind))), *_cells(MATRIX_COLUMNS, found.get)]
                rows.append(Row(f"{teacher} → {student}", cells))
    return Table(("teacher → student", "seeds", *MATRIX_COLUMNS), rows)


def _told(comparison: Comparison, figure: Seeded) -> Interval:
    """One kind of interval in one column: as `Comparison.over`."""
    if not comparison.several:
        return figure.both
    return figure.seeds if len(figure.each) > 2 else Interval(figure.value)


def loss_table(comparison: Comparison) -> Table:
    """How much more the state teacher's stereo students lost than the depth teachers'."""
    rows = []
    for loss in unmatched(comparison):
        cells = [Cell(len(loss.pairs)), precise(loss.figure.both), precise(loss.figure.seeds)]
        rows.append(Row(NAMED[str(loss.config.than)].label, cells))
    return Table(("against", "seeds", "bootstrap over seeds and resets", "Student's t over seeds"), rows)


def view_told(comparison: Comparison) -> str:
    """Whose view the columns "in view" mean."""
    known = [one.evaluation for one in comparison.policies if one.evaluation.seen]
    if not known:
        return ""
    if not any(one.both_known for one in known):
        return "In view: of the left eye only, whatever the policy's own cameras are."
    return (
        "In view: of the policy's own cameras, which are the left eye for depth and one-eyed policies and either eye "
        "for stereo students. Of policies without cameras, state teachers and their controls: either eye of the pair."
    )


def run_table(comparison: Comparison) -> Table:
    """What was run: one row per policy; peak memory only where it was logged."""
    memories = [_most(policy, "memory_gib") for policy in comparison.policies]
    known = any(memory is not None for memory in memories)
    heads = ["policy", "seed", "training steps", "learning time", *(["peak memory"] * known), "commit", "checkpoint"]
    rows = []
    for policy, memory in zip(comparison.policies, memories, strict=True):
        origin, steps = policy.origin, _most(policy, "step")
        git = origin.meta.get("git") or {}
        cells = [
            Cell(DASH if origin.seed is None else origin.seed),
            Cell(DASH if steps is None else f"{steps / 1e6:.2f} M"),
            Cell(DASH if origin.seconds is None else f"{origin.seconds / 60:.1f} min"),
            *[Cell(DASH if memory is None else f"{memory:.1f} GiB")] * known,
            Cell(git.get("commit", DASH)[:10] + (" + changes" if git.get("dirty") else ""), text=True, code=True),
            Cell(f"{Path(origin.checkpoint).name} {origin.digest[:8]}", text=True, code=True),
        ]
        rows.append(Row(policy.name, cells, colour(comparison, policy.kind)))
    return Table(heads, rows)


def _most(policy: PolicyResult, metric: str) -> float | None:
    """The highest value that was logged in training."""
    return max((row[metric] for row in policy.origin.metrics if metric in row), default=None)


def markdown(comparison: Comparison) -> str:
    """The tables of a README."""
    tables = {
        "policies": policy_table(comparison),
        "gaps": gap_table(comparison),
        "matrix": matrix_table(comparison),
        "losses": loss_table(comparison),
        "ablations": ablation_table(comparison),
    }
    return render("comparison.md.j2", {"episodes": comparison.policies[0].summary["episodes"],
                                         "view": view_told(comparison), **tables})  # fmt: skip
