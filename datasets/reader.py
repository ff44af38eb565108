"""Shards as a `torch.utils.data.Dataset` of fixed-length sequences, and batches of them that can be gone on with."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..files import explained
from ..sims.tasks.signature import as_today
from .foreign import Names, open_shard
from .schema import MAX_DAMAGED, DatasetError, Facts
from .shard import Shard, shards_in


@dataclass(frozen=True)
class Survey:
    """Which shards of a data set are whole."""

    whole: tuple[Path, ...]
    damaged: Mapping[Path, str] = field(default_factory=dict)
    """What is wrong with each of the others."""


def survey(path: Path, names: Names | None = None) -> Survey:
    """Check every byte of every shard at `path`, a folder or a file; of a foreign file (`names`: what it calls our
    columns), whether it can be read.

    Raises:
        DatasetError: there are none, or those that are whole come from different environments.
    """
    whole, damaged, facts = [], {}, None
    for place in shards_in(path):
        try:
            shard = open_shard(place, names, whole=True)
        except DatasetError as error:
            damaged[place] = str(error)
            continue
        shard.close()
        _check_same(facts := facts or shard.facts, shard)
        whole.append(place)
    return Survey(tuple(whole), damaged)


def whole_shards(path: Path, max_damaged: float = MAX_DAMAGED, names: Names | None = None) -> Survey:
    """A survey of the shards at `path`; damaged ones are named in a warning and left out.

    Raises:
        DatasetError: more than the share `max_damaged` of the shards is damaged; names all of them.
    """
    found = survey(path, names)
    damaged, count = len(found.damaged), len(found.damaged) + len(found.whole)
    if damaged / count > max_damaged or not found.whole:
        named = "\n  ".join(found.damaged.values())
        raise DatasetError(
            f"data set {path}: {damaged} of {count} shards are damaged, "
            f"more than {max_damaged:.1%}. Remove them, or allow a greater share.\n  {named}"
        )
    for message in found.damaged.values():
        warnings.warn(f"left out a damaged shard: {message}", stacklevel=2)
    return found


class Window(NamedTuple):
    """Rows of one episode in the shard of this number."""

    shard: int
    episode: str
    rows: slice


class Windows(Dataset[dict[str, Tensor]]):
    """Sequences of one length: an episode is cut into windows, and what it has too few of is padded with zeros.

    An item holds (L, ...) of each column, `valid` (L,) bool: not padding, and `first` (L,) bool: the
    hidden state is zero.
    Files are opened anew in each worker.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        columns: Sequence[str],
        length: int,
        split: str | None = None,
        hop: int | None = None,
        names: Names | None = None,
    ) -> None:
        """List the windows.

        Args:
            shards: whole ones.
            columns: to read, by the names of `schema.COLUMNS`, `stereo` and other observation groups.
            length: L, steps; an episode not longer than this is one window.
            split: "train" or "valid"; None takes every episode.
            hop: steps between the starts of two windows of an episode; None lays them end to end.
            names: what foreign files call our columns.

        Raises:
            DatasetError: no episodes, a column that is not there, or shards of different environments.
        """
        self.shards, self.columns, self.length, self.names = tuple(shards), tuple(columns), length, names
        self.windows: list[Window] = []
        facts: Facts | None = None
        for number, path in enumerate(self.shards):
            shard = open_shard(path, names)
            facts = facts or shard.facts
            _check_same(facts, shard)
            for name in shard.names if split is None else shard.split(split):
                starts = range(0, max(1, shard.steps[name] - length + (hop or length)), hop or length)
                ends = [min(start + length, shard.steps[name]) for start in starts]
                self.windows += [Window(number, name, slice(*ends)) for ends in zip(starts, ends, strict=True)]
            shard.close()
        if not self.windows or facts is None:
            raise DatasetError(f"no episodes{f' of split {split!r}' if split else ''} in {len(self.shards)} shards")
        self.facts = facts
        self._open: dict[int, Shard] = {}
        self._owner = os.getpid()
        self[0]  # every column is there

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, episode, rows = self.windows[index]
        shard, steps = self._shard(number), rows.stop - rows.start
        item = {}
        for column in self.columns:
            values = torch.from_numpy(shard.column(episode, column, rows))
            item[column] = values.new_zeros(self.length, *values.shape[1:])
            item[column][:steps] = values
        item["valid"] = torch.arange(self.length) < steps
        item["first"] = torch.arange(self.length) == 0
        return item

    def read_all(self, column: str) -> Tensor:
        """(rows, ...): a column of all windows, without padding. Raises DatasetError: the shards do not hold it."""
        pieces = [self._shard(w.shard).column(w.episode, column, w.rows) for w in self.windows]
        return torch.cat([torch.from_numpy(piece) for piece in pieces])

    def _shard(self, number: int) -> Shard:
        if self._owner != os.getpid():  # HDF5's handles do not survive a fork
            self._open, self._owner = {}, os.getpid()
        if number not in self._open:
            self._open[number] = open_shard(self.shards[number], self.names)
        return self._open[number]


def collate(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """B items of (L, ...) to columns (L, B, ...)."""
    return {name: torch.stack([item[name] for item in items], dim=1) for name in items[0]}


class SeededBatches(Sampler[list[int]]):
    """Batches of item numbers: shuffled passes, each with every item once, without end; position `n` is batch n.

    Which items a batch holds is a function of (seed, n) alone, so training goes on in the middle of a pass, from
    `position`, and workers may read ahead.
    """

    def __init__(self, items: int, size: int, count: int, seed: int) -> None:
        """`count` batches of `size` item numbers below `items` are handed out by one iteration."""
        self.items, self.size, self.count, self.seed = items, size, count, seed
        self.position = 0
        """Batches handed out by earlier iterations."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        start = self.position * self.size
        waiting = self._pass(start // self.items)[start % self.items :]
        turn = start // self.items
        for _ in range(self.count):
            while len(waiting) < self.size:
                turn += 1
                waiting = waiting + self._pass(turn)
            yield waiting[: self.size]
            waiting = waiting[self.size :]

    def _pass(self, turn: int) -> list[int]:
        return np.random.default_rng((self.seed, turn)).permutation(self.items).tolist()


def _check_same(facts: Facts, shard: Shard) -> None:
    with explained(shard.path, DatasetError):
        first, other = _environment(facts), _environment(shard.facts)
    differing = [f"{n} ({first.get(n)} and {other.get(n)})" for n in {**first, **other} if first.get(n) != other.get(n)]
    if differing:
        raise DatasetError(
            f"shard {shard.path} comes from another environment than the first one; they differ in "
            f"{', '.join(differing)}. Put the shards of each environment into a folder of its own."
        )


def _environment(facts: Facts) -> dict[str, Any]:
    """What must be equal for shards to be read together, by dotted name; a wall is no part of a signature."""
    walls = {name: leaf for name, leaf in leaves(facts.env_config).items() if name.startswith("scene.wall")}
    return leaves(as_today(facts.signature)) | walls


def leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name."""
    if not isinstance(tree, Mapping):
        return {name: tree}
    return {path: leaf for key, sub in tree.items() for path, leaf in leaves(sub, f"{name}.{key}".strip(".")).items()}
