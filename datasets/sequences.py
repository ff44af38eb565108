"""`SequenceBuffer`: the aggregated data set of DAgger (Ross et al. 2011): whole sequences, images as bytes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import inside
from .schema import ROW_FLAGS, DatasetError, Facts, episodes_of
from .shard import SUFFIX, Shard, verify
from .writer import write_shard

TORCH = {str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
"""torch's element types by name, e.g. "float32"."""
Columns = Mapping[str, Tensor]
"""Tensors by name, each (T, S, ...): T steps of S sequences."""


class SequenceBufferError(DatasetError):
    """Sequences that do not fit into memory, or files of them that are missing or altered."""


@dataclass
class Rollout:
    """What was appended at once; its file is written once and never changed."""

    number: int
    """Counts what was ever appended."""
    form: dict[str, Any]
    """Numbers of steps and sequences, and dtype and shape (without the first two axes) of each column."""
    columns: dict[str, Tensor] | None
    """(T, S, ...) each, on the CPU; None where they are on the disk only."""
    facts: Mapping[str, Any]
    """What all its episodes have in common: seed, beta, policy_version."""
    file: dict[str, Any] | None = None
    """Name, size and sha256 of its shard, once written."""
    shard: Shard | None = None
    """Open, once it was read from."""

    @property
    def nbytes(self) -> int:
        """Bytes that its columns take, or would take, in memory."""
        return _nbytes(self.form)

    @property
    def sequences(self) -> int:
        """S, the number of its sequences."""
        return self.form["sequences"]

    def take(self, chosen: Tensor) -> dict[str, Tensor]:
        """Columns (T, len(chosen), ...) on the CPU of the chosen sequences. chosen: (C,) int64, numbers below S."""
        if self.columns is not None:
            return {name: column[:, chosen] for name, column in self.columns.items()}
        assert self.shard is not None
        return read_sequences(self.shard, self.form, chosen.tolist())


class SequenceBuffer:
    """Keeps the newest rollouts that fit under a memory cap; the oldest are forgotten, or left on the disk."""

    def __init__(self, capacity: int, facts: Facts | None = None, spill: Path | None = None) -> None:
        """A buffer without rollouts.

        Args:
            capacity: bytes that the tensors may take.
            facts: what every shard of it says of its origin.
            spill: folder to which rollouts go that memory cannot hold; without one they are forgotten.
        """
        self.capacity, self.facts, self.spill = capacity, facts or Facts("", {}, {}), spill
        self.appended = 0
        """Rollouts ever appended."""
        self.evicted = 0
        """Sequences forgotten so far to stay under the cap."""
        self._rollouts: deque[Rollout] = deque()

    def __len__(self) -> int:
        return sum(rollout.sequences for rollout in self._rollouts)

    @property
    def nbytes(self) -> int:
        """Bytes of the rollouts held in memory."""
        return sum(rollout.nbytes for rollout in self._rollouts if rollout.columns is not None)

    @property
    def spilled(self) -> int:
        """Sequences that are read from the disk."""
        return sum(rollout.sequences for rollout in self._rollouts if rollout.columns is None)

    def append(self, columns: Columns, facts: Mapping[str, Any] | None = None) -> int:
        """Take in one rollout; returns how many old sequences were forgotten for it.

        Args:
            columns: (T, S, ...) each; `first` and `valid` say where the episodes lie. What stands in rows that are not
                valid is not kept once the rollout is read from its file.
            facts: of all its episodes.

        Raises:
            SequenceBufferError: this rollout alone is larger than the cap.
        """
        held = {name: column.cpu() for name, column in columns.items()}
        steps, sequences = held["valid"].shape
        forms = {name: [str(c.dtype).removeprefix("torch."), list(c.shape[2:])] for name, c in held.items()}
        form = {"steps": steps, "sequences": sequences, "columns": forms}
        rollout = Rollout(self.appended, form, held, facts or {})
        size = rollout.nbytes
        if size > self.capacity:
            each = size / sequences
            raise SequenceBufferError(
                f"sequence buffer: {sequences} sequences of {each / 2**20:.1f} MiB do not fit into "
                f"{self.capacity / 2**30:.2f} GiB; expected at most {int(self.capacity / each)} environments "
                "(--num-envs), or a larger --dagger.buffer-gib"
            )
        before = self.evicted
        self._make_room(size)
        self._rollouts.append(rollout)
        self.appended += 1
        return self.evicted - before

    def _make_room(self, size: int) -> None:
        while self.nbytes + size > self.capacity:
            if self.spill is None:
                self.evicted += self._rollouts.popleft().sequences
                continue
            oldest = next(rollout for rollout in self._rollouts if rollout.columns is not None)
            self._write(oldest, self.spill)
            oldest.columns, oldest.shard = None, Shard(self.spill / (oldest.file or {})["name"])

    def batches(self, size: int, count: int, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        """`count` batches of `size` sequences, (T, size, ...) each: shuffled passes, each with every sequence once."""
        waiting = torch.empty(0, dtype=torch.long)
        for _ in range(count):
            while len(waiting) < size:
                waiting = torch.cat([waiting, torch.randperm(len(self), generator=generator)])
            yield self._gather(waiting[:size])
            waiting = waiting[size:]

    def _gather(self, chosen: Tensor) -> dict[str, Tensor]:
        """Sequences by their number in the buffer, oldest rollout first."""
        pieces, start = [], 0
        for rollout in self._rollouts:
            inside = chosen[(chosen >= start) & (chosen < start + rollout.sequences)] - start
            if len(inside):
                pieces.append(rollout.take(inside))
            start += rollout.sequences
        return {name: torch.cat([piece[name] for piece in pieces], dim=1) for name in pieces[0]}

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the rollouts that have no shard yet; returns what `read` needs to find everything again.

        Files of what was forgotten stay until `prune`, so that what an older answer names can still be read.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for rollout in self._rollouts:
            self._write(rollout, folder)
        return {
            "appended": self.appended,
            "evicted": self.evicted,
            "rollouts": [{"number": rollout.number, **(rollout.file or {})} for rollout in self._rollouts],
        }

    def _write(self, rollout: Rollout, folder: Path) -> None:
        if rollout.file is not None:
            return
        assert rollout.columns is not None
        path = folder / f"rollout_{rollout.number:06d}{SUFFIX}"
        path.unlink(missing_ok=True)  # of an iteration that was not finished when its run was killed
        columns = {name: column.numpy() for name, column in rollout.columns.items()}
        episodes = episodes_of(columns, rollout.facts)
        header = write_shard(path, self.facts, episodes, {"form": rollout.form, "facts": dict(rollout.facts)})
        rollout.file = {"name": path.name, **{key: header[key] for key in ("bytes", "sha256")}}

    @classmethod
    def read(
        cls,
        folder: Path,
        index: Mapping[str, Any],
        capacity: int,
        facts: Facts | None = None,
        spill: Path | None = None,
    ) -> SequenceBuffer:
        """The buffer as it was when `write` returned `index`.

        Raises:
            DatasetError: a file is missing, cut or altered.
        """
        buffer = cls(capacity, facts, spill)
        buffer.appended, buffer.evicted = index["appended"], index["evicted"]
        for entry in index["rollouts"]:
            file = {key: entry[key] for key in ("name", "bytes", "sha256")}
            path = inside(folder, file["name"], SequenceBufferError)
            if verify(path)["sha256"] != file["sha256"]:
                raise SequenceBufferError(f"{path} is not the shard that was written for this run")
            shard = Shard(path)
            form = shard.extra["form"]
            if not 0 < (most := _nbytes(form)) <= capacity:
                what = f"expected sequences of at most {capacity:,} bytes, found {most:,}, or none"
                raise SequenceBufferError(f"{path}: {what}")
            columns = read_sequences(shard, form, range(form["sequences"]))
            buffer._make_room(most)
            buffer._rollouts.append(Rollout(entry["number"], form, columns, shard.extra["facts"], file))
            shard.close()
        return buffer


def _nbytes(form: Mapping[str, Any]) -> int:
    """Bytes that the columns of this form will take; 0 where one is of a type that there is not."""
    kinds = form["columns"].values()
    if not all(kind in TORCH for kind, _ in kinds):
        return 0
    return form["steps"] * form["sequences"] * sum(TORCH[kind].itemsize * math.prod(shape) for kind, shape in kinds)


def prune(folder: Path, kept: Iterable[Mapping[str, Any]]) -> None:
    """Delete the files of rollouts that none of these answers of `SequenceBuffer.write` names."""
    names = {entry["name"] for index in kept for entry in index["rollouts"]}
    for path in folder.glob("rollout_*"):
        if path.name not in names:
            path.unlink()


def stack(rows: Sequence[Columns]) -> dict[str, Tensor]:
    """Rows of (S, ...) each to columns (T, S, ...)."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def read_sequences(shard: Shard, form: Mapping[str, Any], chosen: Iterable[int]) -> dict[str, Tensor]:
    """Sequences of a rollout's shard, its episodes at the rows at which they were; zeros in rows that are not valid."""
    chosen = list(chosen)
    batch = {
        name: torch.zeros(form["steps"], len(chosen), *shape, dtype=TORCH[kind])
        for name, (kind, shape) in form["columns"].items()
    }
    pieces: dict[int, list[tuple[str, dict[str, Any]]]] = {}
    for name in shard.names:
        facts = shard.episode_facts(name)
        pieces.setdefault(facts["sequence"], []).append((name, facts))
    for place, sequence in enumerate(chosen):
        for name, facts in pieces.get(sequence, []):
            rows = slice(facts["row"], facts["row"] + facts["num_samples"])
            batch["first"][rows.start, place] = batch["valid"][rows, place] = True
            if "success" in batch:
                batch["success"][rows.stop - 1, place] = facts["success"]
            for column in form["columns"].keys() - ROW_FLAGS:
                batch[column][rows, place] = torch.from_numpy(shard.column(name, column)).to(batch[column].dtype)
    return batch
