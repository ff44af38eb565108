"""Between rollouts and episodes: cutting columns (T, S, ...) into what a shard holds, and reading a column back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .schema import ROW_FLAGS, Episode, memory_form, paths_of
from .shard import Shard


def episodes_of(
    columns: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    of_sequence: Callable[[int], Mapping[str, Any]] = lambda sequence: {},
) -> Iterator[Episode]:
    """Every episode of a rollout, also those that its end cut.

    Args:
        columns: (T, S, ...) each; `first` marks the rows that open an episode, `valid` those that count, and
            `success` (if there) the rows in which the task was done.
        facts: of all of them; `seed` of the reset, 0 if not said.
        of_sequence: more facts of the episodes of a sequence.
    """
    valid = columns["valid"]
    for sequence, row, steps in _pieces(columns["first"], valid):
        rows = slice(row, row + steps)
        own = {name: column[rows, sequence] for name, column in columns.items() if name not in ROW_FLAGS}
        success = bool(columns["success"][rows.stop - 1, sequence]) if "success" in columns else False
        noted = {"sequence": sequence, "row": row, "world": sequence, **facts, **of_sequence(sequence)}
        seed = int(noted.pop("seed", 0))
        yield Episode(own, success, seed, noted)


def _pieces(first: NDArray[np.bool_], valid: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """(sequence, first row, steps) of each episode that has a step that counts; first, valid (T, S)."""
    for sequence in range(first.shape[1]):
        opens = [*np.flatnonzero(first[:, sequence]).tolist(), len(first)]
        for row, end in pairwise(opens):
            steps = int(valid[row:end, sequence].sum())
            if not valid[row : row + steps, sequence].all():
                raise ValueError(f"sequence {sequence}: rows that do not count must be the last of their episode")
            if steps:
                yield sequence, row, steps


def read_column(shard: Shard, name: str, column: str, rows: slice = slice(None)) -> NDArray[Any]:
    """A column of one episode as learners know it, (L, ...).

    Raises:
        DatasetError: the shard does not hold it, or it is damaged.
    """
    return memory_form(column, [shard.read(name, path, rows) for path in paths_of(column)])
