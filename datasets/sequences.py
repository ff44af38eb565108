"""`SequenceBuffer`: the aggregated data set of DAgger (Ross et al. 2011): whole sequences, images as bytes."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..errors import HandsightError

Columns = Mapping[str, Tensor]
"""Tensors by name, each (T, S, ...): T steps of S sequences."""


class SequenceBufferError(HandsightError):
    """Sequences that do not fit into memory, or files of them that are missing or altered."""


@dataclass(frozen=True)
class Rollout:
    """What was appended at once; its file is written once and never changed."""

    number: int
    """Counts what was ever appended."""
    columns: dict[str, Tensor]
    """(T, S, ...) each, on the CPU."""
    file: dict[str, Any] | None = None
    """Name, size and sha256 of its file, once written."""

    @property
    def sequences(self) -> int:
        """S."""
        return next(iter(self.columns.values())).shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in self.columns.values())


class SequenceBuffer:
    """Keeps the newest rollouts that fit under a memory cap and forgets the oldest."""

    def __init__(self, capacity: int) -> None:
        """capacity: bytes that the tensors may take."""
        self.capacity = capacity
        self.appended = 0
        """Rollouts ever appended."""
        self.evicted = 0
        """Sequences forgotten so far to stay under the cap."""
        self._rollouts: deque[Rollout] = deque()

    def __len__(self) -> int:
        return sum(rollout.sequences for rollout in self._rollouts)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(rollout.nbytes for rollout in self._rollouts)

    def append(self, columns: Columns) -> int:
        """Take in one rollout; returns how many old sequences were forgotten for it.

        Raises:
            SequenceBufferError: this rollout alone is larger than the cap.
        """
        rollout = Rollout(self.appended, {name: column.cpu() for name, column in columns.items()})
        if rollout.nbytes > self.capacity:
            each = rollout.nbytes / rollout.sequences
            raise SequenceBufferError(
                f"sequence buffer: {rollout.sequences} sequences of {each / 2**20:.1f} MiB do not fit into "
                f"{self.capacity / 2**30:.2f} GiB; expected at most {int(self.capacity / each)} worlds, or a larger cap"
            )
        before = self.evicted
        while self.nbytes + rollout.nbytes > self.capacity:
            self.evicted += self._rollouts.popleft().sequences
        self._rollouts.append(rollout)
        self.appended += 1
        return self.evicted - before

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
                pieces.append({name: column[:, inside] for name, column in rollout.columns.items()})
            start += rollout.sequences
        return {name: torch.cat([piece[name] for piece in pieces], dim=1) for name in pieces[0]}

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the rollouts that have no file yet; returns what `read` needs to find everything again.

        Files of what was forgotten stay until `prune`, so that what an older answer names can still be read.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._rollouts = deque(
            rollout if rollout.file else Rollout(rollout.number, rollout.columns, _write(folder, rollout))
            for rollout in self._rollouts
        )
        return {
            "appended": self.appended,
            "evicted": self.evicted,
            "rollouts": [{"number": rollout.number, **(rollout.file or {})} for rollout in self._rollouts],
        }

    @classmethod
    def read(cls, folder: Path, index: Mapping[str, Any], capacity: int) -> SequenceBuffer:
        """The buffer as it was when `write` returned `index`.

        Raises:
            SequenceBufferError: a file is missing, cut or altered.
        """
        buffer = cls(capacity)
        buffer.appended, buffer.evicted = index["appended"], index["evicted"]
        for entry in index["rollouts"]:
            file = {key: entry[key] for key in ("name", "bytes", "sha256")}
            buffer._rollouts.append(Rollout(entry["number"], _read(folder, file), file))
        return buffer


def prune(folder: Path, kept: Iterable[Mapping[str, Any]]) -> None:
    """Delete the files of rollouts that none of these answers of `SequenceBuffer.write` names."""
    names = {entry["name"] for index in kept for entry in index["rollouts"]}
    for path in folder.glob("rollout_*"):
        if path.name not in names:
            path.unlink()


def stack(rows: Sequence[Columns]) -> dict[str, Tensor]:
    """Rows of (S, ...) each to columns (T, S, ...)."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _write(folder: Path, rollout: Rollout) -> dict[str, Any]:
    data = safetensors.torch.save({name: column.contiguous() for name, column in rollout.columns.items()})
    path = folder / f"rollout_{rollout.number:06d}.safetensors"
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    return {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read(folder: Path, file: Mapping[str, Any]) -> dict[str, Tensor]:
    path = folder / file["name"]
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("rollout_*"))) or "none"
        raise SequenceBufferError(f"{path} is missing: expected {file['bytes']:,} bytes; available: {there}")
    data = path.read_bytes()
    if len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
        raise SequenceBufferError(
            f"{path} was cut or altered: expected {file['bytes']:,} bytes with sha256 {file['sha256']}, "
            f"found {len(data):,} bytes"
        )
    return safetensors.torch.load(data)
