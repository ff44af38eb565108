"""A comparison as files that are small enough to be committed, and whole enough to be read back without checkpoints:

comparison.{json,csv,md}     figures and origins, see `Comparison.save`
policies/<name>/episodes.npz     the evaluation, one row per reset
policies/<name>/decisions.npz    a student's disagreement with its teacher, actions in steps of 1/64, mean σ
policies/<name>/metrics.csv      what was logged in training, at most 200 rows
policies/<name>/ablated-<how>/   the same policy with its images changed
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from . import metrics_file
from .comparison import Comparison
from .disagreement import Disagreement
from .entry import Entry, Origin
from .evaluation import Evaluation
from .video import file_name

EPISODES, DECISIONS, METRICS = "episodes.npz", "decisions.npz", "metrics.csv"
ABLATED = "ablated-"
SIGMAS = ("teacher_std", "student_std")
LEVELS = 64
"""Actions in [-1, 1] are kept in steps of 1 / LEVELS: an error variance of 2e-5, where actions vary by about 0.1."""
ROWS = 200
"""Most rows of a curve."""


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the comparison; what lay there under the same names is replaced."""
    comparison.save(folder)
    for entry in comparison.entries:
        save_entry(entry, _place(folder, entry.name))


def load_comparison(folder: Path) -> Comparison:
    """What `save_comparison` wrote. Raises FileNotFoundError if there is none."""
    facts = json.loads((folder / "comparison.json").read_text())
    names = {field.name for field in fields(Origin)} - {"metrics"}
    entries = []
    for row in facts["policies"]:
        place = _place(folder, row["name"])
        origin = Origin(**{key: row[key] for key in names}, metrics=tuple(metrics_file.read(place / METRICS)))
        decisions = place / DECISIONS
        entries.append(
            Entry(
                name=row["name"],
                role=row["role"],
                sight=row["sight"],
                evaluation=Evaluation.load(place),
                origin=origin,
                teacher=row["teacher"],
                disagreement=load_decisions(decisions) if decisions.is_file() else None,
                ablations={
                    path.name.removeprefix(ABLATED): Evaluation.load(path) for path in sorted(place.glob(f"{ABLATED}*"))
                },
            )
        )
    return Comparison(tuple(entries), facts["settings"], tuple(facts["notes"]))


def save_entry(entry: Entry, place: Path) -> None:
    """Write one policy's arrays and curve."""
    place.mkdir(parents=True, exist_ok=True)
    entry.evaluation.save_episodes(place)
    if entry.disagreement is not None:
        save_decisions(entry.disagreement, place / DECISIONS)
    for how, evaluation in entry.ablations.items():
        (place / f"{ABLATED}{how}").mkdir(exist_ok=True)
        evaluation.save_episodes(place / f"{ABLATED}{how}")
    metrics_file.write(place / METRICS, entry.origin.metrics)


def stored(entry: Entry) -> Entry:
    """The entry as `save_entry` keeps it, so that figures worked out before and after storing are the same."""
    both = entry.disagreement
    return replace(
        entry,
        origin=replace(entry.origin, metrics=thinned(entry.origin.metrics)),
        disagreement=both and as_stored(both),
    )


def thinned(rows: Sequence[dict[str, float]], most: int = ROWS) -> tuple[dict[str, float], ...]:
    """At most `most` of the rows, evenly spread, the last one and all with a validation among them; four digits."""
    rare = [i for i, row in enumerate(rows) if any(name.startswith("validation/") for name in row)]
    rare = rare[-most:]
    common = [i for i in range(len(rows)) if i not in set(rare)]
    room = min(most - len(rare), len(common))
    kept = {common[i] for i in np.linspace(len(common) - 1, 0, room).astype(int)} if room else set()
    return tuple(
        {name: value if name == "step" else float(f"{value:.4g}") for name, value in rows[i].items()}
        for i in sorted({*rare, *kept})
    )


def save_decisions(both: Disagreement, path: Path) -> None:
    """Write both decisions as whole numbers of 1 / LEVELS; those that are not on this grid are rounded to it."""
    teacher, student = (np.rint(actions * LEVELS).astype(np.int8) for actions in (both.teacher, both.student))
    # From one step to the next a teacher changes little, and its student differs little from it: small numbers pack.
    change = np.diff(teacher, axis=0, prepend=np.zeros_like(teacher[:1]))
    np.savez_compressed(
        path,
        teacher=change,
        student=student - teacher,
        teacher_std=_mean_sigma(both.teacher_std),
        student_std=_mean_sigma(both.student_std),
        valid=np.packbits(both.valid, axis=1),
    )


def load_decisions(path: Path) -> Disagreement:
    """What `save_decisions` wrote."""
    with np.load(path) as found:
        teacher = np.cumsum(found["teacher"], axis=0, dtype=np.int8)
        student = (found["student"] + teacher).astype(np.int8)
        valid = np.unpackbits(found["valid"], axis=1, count=teacher.shape[1]).astype(bool)
        sigma = {name: _spread(found[name], teacher.shape) for name in SIGMAS}
        actions = {"teacher": teacher.astype(np.float32) / LEVELS, "student": student.astype(np.float32) / LEVELS}
        return Disagreement(**actions, **sigma, valid=valid)


def as_stored(both: Disagreement) -> Disagreement:
    """What `load_decisions` reads after `save_decisions`."""
    sigma = {name: _spread(_mean_sigma(getattr(both, name)), both.teacher.shape) for name in SIGMAS}
    return Disagreement(teacher=_rounded(both.teacher), student=_rounded(both.student), **sigma, valid=both.valid)


def _mean_sigma(std: np.ndarray) -> np.ndarray:
    """(T, E) float16, mean over the action's dimensions: no figure asks for more. std (T, E, A)."""
    return std.mean(axis=2).astype(np.float16)


def _spread(sigma: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(T, E) -> (T, E, A) float32, the same in all dimensions."""
    return np.broadcast_to(sigma.astype(np.float32)[..., None], shape)


def _rounded(actions: np.ndarray) -> np.ndarray:
    return (np.rint(actions * LEVELS) / LEVELS).astype(np.float32)


def _place(folder: Path, name: str) -> Path:
    return folder / "policies" / file_name(name)
