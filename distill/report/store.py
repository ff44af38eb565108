"""A comparison as files that are small enough to be committed, and whole enough to be read back without checkpoints:

comparison.{json,csv,md}     figures and origins, see `Comparison.save`
policies/<name>/episodes.npz     the evaluation, one row per reset
policies/<name>/decisions.npz    a student's disagreement with its teacher, actions in steps of 1/64
policies/<name>/metrics.csv      what was logged in training, at most 200 rows
policies/<name>/ablated-<how>/   the same policy with its images changed
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...files import explained, read_arrays, read_json, write_arrays
from ..evaluation.ablation import kinds_of
from ..evaluation.disagreement import Disagreement
from ..evaluation.evaluation import Evaluation
from ..runs import metrics as metrics_file
from . import tables
from .comparison import Comparison
from .film import file_name
from .policies import Origin
from .results import Entry

POLICIES = "policies"
EPISODES, DECISIONS, METRICS = "episodes.npz", "decisions.npz", "metrics.csv"
ABLATED, DRIVEN = "ablated-", "driven"
LEVELS = 64
"""Actions in [-1, 1] are kept in steps of 1 / LEVELS: an error variance of 2e-5, where actions vary by about 0.1."""
ABLATED_EPISODES = 64
"""Of a student with its images changed, decisions in so many of the first episodes are kept."""
EXACT = ("step", "iteration", "seconds")
"""Columns of a curve that are not rounded; "seconds" is the cost of all rows so far, left out or not."""
ROWS = 200
"""Most rows of a curve."""


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the comparison; what lay there is replaced, and policies that have another name by now are removed."""
    tables.save(comparison, folder)
    places = [_place(folder, entry.name) for entry in comparison.entries]
    for entry, place in zip(comparison.entries, places, strict=True):
        save_entry(entry, place)
    for stale in set((folder / POLICIES).iterdir()) - set(places):
        shutil.rmtree(stale)


def load_comparison(folder: Path) -> Comparison:
    """What `save_comparison` wrote. Raises FileNotFoundError if there is none."""
    facts = read_json(folder / "comparison.json")
    names = {field.name for field in fields(Origin)} - {"metrics"}
    entries = []
    for row in facts["policies"]:
        place = _place(folder, row["name"])
        origin = Origin(**{key: row[key] for key in names}, metrics=tuple(metrics_file.read(place / METRICS)))
        ablated = {how: place / f"{ABLATED}{how}".replace(" ", "-") for how in kinds_of(row["sight"])}
        ablated = {how: path for how, path in ablated.items() if path.is_dir()}
        entries.append(
            Entry(
                name=row["name"],
                role=row["role"],
                sight=row["sight"],
                evaluation=Evaluation.load(place),
                origin=origin,
                teacher=row["teacher"],
                disagreement=_decisions_in(place),
                ablations={how: Evaluation.load(path) for how, path in ablated.items()},
                ablated_disagreements={how: b for how, path in ablated.items() if (b := _decisions_in(path))},
                driver=row.get("driver"),
                driven=_decisions_in(place / DRIVEN),
            )
        )
    return Comparison(tuple(entries), facts["settings"], tuple(facts["notes"]))


def save_entry(entry: Entry, place: Path) -> None:
    """Write one policy's arrays and curve."""
    place.mkdir(parents=True, exist_ok=True)
    entry.evaluation.save_episodes(place)
    if entry.disagreement is not None:
        save_decisions(entry.disagreement, place / DECISIONS)
    if entry.driven is not None:
        (place / DRIVEN).mkdir(exist_ok=True)
        save_decisions(entry.driven, place / DRIVEN / DECISIONS)
    for how, evaluation in entry.ablations.items():
        inner = place / f"{ABLATED}{how}".replace(" ", "-")
        inner.mkdir(exist_ok=True)
        evaluation.save_episodes(inner)
        if how in entry.ablated_disagreements:
            save_decisions(entry.ablated_disagreements[how], inner / DECISIONS)
    metrics_file.write(place / METRICS, entry.origin.metrics)


def stored(entry: Entry) -> Entry:
    """The entry as `save_entry` keeps it, so that figures worked out before and after storing are the same."""
    return replace(
        entry,
        origin=replace(entry.origin, metrics=thinned(entry.origin.metrics)),
        disagreement=entry.disagreement and stored_decisions(entry.disagreement),
        driven=entry.driven and stored_decisions(entry.driven),
        ablated_disagreements={
            how: stored_decisions(_first(both)) for how, both in entry.ablated_disagreements.items()
        },
    )


def stored_decisions(both: Disagreement) -> Disagreement:
    """Actions in steps of 1 / LEVELS, and of each standard deviation its mean over the action's dimensions."""
    means = [(np.rint(actions * LEVELS) / LEVELS).astype(np.float32) for actions in (both.teacher, both.student)]
    spreads = [std.mean(axis=2).astype(np.float16).astype(np.float32) for std in (both.teacher_std, both.student_std)]
    whole = [np.repeat(spread[..., None], both.teacher.shape[2], axis=2) for spread in spreads]
    return Disagreement(means[0], means[1], whole[0], whole[1], both.valid)


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
    """Write decisions as `stored_decisions` has them."""
    teacher, student = (np.rint(actions * LEVELS).astype(np.int8) for actions in (both.teacher, both.student))
    # From one step to the next a teacher changes little, and its student differs little from it: small numbers pack.
    change = np.diff(teacher, axis=0, prepend=np.zeros_like(teacher[:1]))
    spreads = {name: getattr(both, name).mean(axis=2).astype(np.float16) for name in ("teacher_std", "student_std")}
    valid = np.packbits(both.valid, axis=1)
    write_arrays(path, {"teacher": change, "student": student - teacher, "valid": valid, **spreads})


def load_decisions(path: Path) -> Disagreement:
    """What `save_decisions` wrote."""
    found = read_arrays(path)
    with explained(path):
        return _decoded(found)


def _decoded(found: Mapping[str, NDArray[Any]]) -> Disagreement:
    teacher = np.cumsum(found["teacher"], axis=0, dtype=np.int8)
    student = (found["student"] + teacher).astype(np.int8)
    valid = np.unpackbits(found["valid"], axis=1, count=teacher.shape[1]).astype(bool)
    spreads = [found[name].astype(np.float32) for name in ("teacher_std", "student_std")]
    means = [actions.astype(np.float32) / np.float32(LEVELS) for actions in (teacher, student)]
    whole = [np.repeat(spread[..., None], teacher.shape[2], axis=2) for spread in spreads]
    return Disagreement(means[0], means[1], whole[0], whole[1], valid)


def _decisions_in(place: Path) -> Disagreement | None:
    return load_decisions(place / DECISIONS) if (place / DECISIONS).is_file() else None


def _first(both: Disagreement) -> Disagreement:
    few = slice(ABLATED_EPISODES)
    return Disagreement(**{one.name: getattr(both, one.name)[:, few] for one in fields(both)})


def _place(folder: Path, name: str) -> Path:
    return folder / POLICIES / file_name(name)
