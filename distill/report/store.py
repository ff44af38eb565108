"""A comparison as files that are small enough to be committed, and whole enough to be read back without checkpoints:

comparison.{json,csv,md}     figures and origins, see `tables.save`
policies/<name>/episodes.npz     the evaluation, one row per reset
policies/<name>/decisions.npz    a student's disagreement with its teacher, actions in steps of 1/64
policies/<name>/metrics.csv      what was logged in training, at most 200 rows
policies/<name>/ablated-<how>/   the same policy with its images changed
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...files import explained, read_arrays, read_json, write_arrays
from ..evaluation.ablation import kinds_of
from ..evaluation.disagreement import Disagreement
from ..evaluation.evaluation import Evaluation
from ..evaluation.statistics import plain
from ..runs import metrics as metrics_file
from . import tables
from .candidates import Origin
from .comparison import Comparison
from .film import file_name
from .policy_kind import read_kind
from .results import PolicyResult

POLICIES = "policies"
EPISODES, DECISIONS, METRICS = "episodes.npz", "decisions.npz", "metrics.csv"
ABLATED, DRIVEN = "ablated-", "driven"
LEVELS = 64
"""Actions in [-1, 1] are kept in steps of 1 / LEVELS: an error variance of 2e-5, where actions vary by about 0.1."""
ABLATED_EPISODES = 64
"""So many of the first episodes keep the decisions of a student with its images changed."""
EXACT = ("step", "iteration", "seconds")
"""Columns of a curve that are not rounded; "seconds" is the cost of all rows so far, left out or not."""
ROWS = 200
"""Most rows of a curve."""


def save_comparison(comparison: Comparison, folder: Path) -> Comparison:
    """Write the comparison; what lay there is replaced, and policies that have another name by now are removed.

    Returns:
        what `load_comparison` reads, so that what is reported is what is committed.
    """
    places = {_place(folder, policy.name): policy for policy in comparison.policies}
    for place, policy in places.items():
        save_policy(policy, place)
    for stale in set((folder / POLICIES).iterdir()) - set(places):
        shutil.rmtree(stale)
    policies = tuple(_load_policy(plain(tables.as_row(policy)), place) for place, policy in places.items())
    stored = replace(comparison, policies=policies)
    tables.save(stored, folder)
    return stored


def load_comparison(folder: Path) -> Comparison:
    """What `save_comparison` wrote.

    Raises:
        FileNotFoundError: there is none.
    """
    facts = read_json(folder / "comparison.json")
    policies = tuple(_load_policy(row, _place(folder, row["name"])) for row in facts["policies"])
    return Comparison(policies, facts["settings"], tuple(facts["notes"]))


def _load_policy(row: dict[str, Any], place: Path) -> PolicyResult:
    """One policy from its line in comparison.json and its folder."""
    kind, names = read_kind(row["role"]), {field.name for field in fields(Origin)} - {"metrics"}
    ablated = {how: _ablated(place, how) for how in kinds_of(kind.sight) if _ablated(place, how).is_dir()}
    return PolicyResult(
        name=row["name"],
        kind=kind,
        evaluation=Evaluation.load(place),
        origin=Origin(**{key: row[key] for key in names}, metrics=tuple(metrics_file.read(place / METRICS))),
        teacher=row["teacher"],
        disagreement=_decisions_in(place),
        ablations={how: Evaluation.load(path) for how, path in ablated.items()},
        ablated_disagreements={how: both for how, path in ablated.items() if (both := _decisions_in(path))},
        driver=row.get("driver"),
        driven=_decisions_in(place / DRIVEN),
    )


def save_policy(policy: PolicyResult, place: Path) -> None:
    """Write one policy's arrays and curve."""
    place.mkdir(parents=True, exist_ok=True)
    policy.evaluation.save_episodes(place)
    decisions = {place: policy.disagreement, place / DRIVEN: policy.driven}
    for how, evaluation in policy.ablations.items():
        inner = _ablated(place, how)
        inner.mkdir(exist_ok=True)
        evaluation.save_episodes(inner)
        both = policy.ablated_disagreements.get(how)
        decisions[inner] = both and both.first(ABLATED_EPISODES)
    for where, both in decisions.items():
        if both is not None:
            where.mkdir(exist_ok=True)
            save_decisions(both, where / DECISIONS)
    metrics_file.write(place / METRICS, thinned(policy.origin.metrics))


def thinned(rows: Sequence[dict[str, float]], most: int = ROWS) -> tuple[dict[str, float], ...]:
    """At most `most` of the rows, evenly spread, the last one and all with a validation among them; four digits."""
    rare = [i for i, row in enumerate(rows) if any(name.startswith("validation/") for name in row)]
    rare = rare[-most:]
    common = [i for i in range(len(rows)) if i not in set(rare)]
    room = min(most - len(rare), len(common))
    kept = {common[i] for i in np.linspace(len(common) - 1, 0, room).astype(int)} if room else set()
    spent = np.cumsum([sum(v for name, v in row.items() if name.startswith("seconds/")) for row in rows])
    whole = [row if "seconds" in row else row | {"seconds": float(spent[i])} for i, row in enumerate(rows)]
    return tuple(
        {name: value if name in EXACT else float(f"{value:.4g}") for name, value in whole[i].items()}
        for i in sorted({*rare, *kept})
    )


def save_decisions(both: Disagreement, path: Path) -> None:
    """Write decisions: actions in steps of 1 / LEVELS, and of each standard deviation its mean over the action's
    dimensions."""
    teacher, student = (np.rint(actions * LEVELS).astype(np.int8) for actions in (both.teacher, both.student))
    # From one step to the next a teacher changes little, and its student differs little from it: small numbers pack.
    change = np.diff(teacher, axis=0, prepend=np.zeros_like(teacher[:1]))
    spreads = {name: getattr(both, name).mean(axis=2).astype(np.float16) for name in ("teacher_std", "student_std")}
    valid = np.packbits(both.valid, axis=1)
    write_arrays(path, {"teacher": change, "student": student - teacher, "valid": valid, **spreads})


def load_decisions(path: Path) -> Disagreement:
    """Read decisions that `save_decisions` wrote."""
    found = read_arrays(path)
    with explained(path):
        teacher = np.cumsum(found["teacher"], axis=0, dtype=np.int8)
        student = (found["student"] + teacher).astype(np.int8)
        valid = np.unpackbits(found["valid"], axis=1, count=teacher.shape[1]).astype(bool)
        spreads = [found[name].astype(np.float32) for name in ("teacher_std", "student_std")]
        means = [actions.astype(np.float32) / np.float32(LEVELS) for actions in (teacher, student)]
        whole = [np.repeat(spread[..., None], teacher.shape[2], axis=2) for spread in spreads]
        return Disagreement(means[0], means[1], whole[0], whole[1], valid)


def _decisions_in(place: Path) -> Disagreement | None:
    return load_decisions(place / DECISIONS) if (place / DECISIONS).is_file() else None


def _ablated(place: Path, how: str) -> Path:
    return place / f"{ABLATED}{how}".replace(" ", "-")


def _place(folder: Path, name: str) -> Path:
    return folder / POLICIES / file_name(name)
