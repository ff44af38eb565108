"""Demonstrations that others recorded, in the layout of robomimic and Isaac Lab, as they are found: images of other
names, gzip, episodes of any name and order, no splits, no states, no teacher's spread, no word of their origin.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .schema import EYES, DatasetError, Facts, memory_form
from .shard import Shard, lengths_of, verify

MAGIC = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file without a header of ours."""
FOREIGN = "demonstrations of"
"""How a signature calls the task of demonstrations, before its own name."""
SPREAD = 0.1
"""Standard deviation that demonstrated actions are taken to have, as they come with none; unit of the action."""
GZIP = 1100
"""To one: gzip packs 1,032 bytes into one at most."""
Names = Mapping[str, str]
"""What stands for left, right, proprio, ...: names of their datasets, several of a vector joined by "+"."""


def open_shard(path: Path, names: Names | None = None, whole: bool = False) -> Shard:
    """A shard of ours, or a foreign file as one. whole: also check every byte of ours.

    Raises:
        DatasetError: it is damaged, or holds no episodes.
    """
    foreign = False
    if path.is_file():
        with path.open("rb") as file:
            foreign = file.read(len(MAGIC)) == MAGIC
    if whole and not foreign:
        verify(path)
    return Foreign(path, names or {}) if foreign else Shard(path)


class Foreign(Shard):
    """A foreign file, open for reading: its actions are the teacher's answers."""

    def __init__(self, path: Path, names: Names) -> None:
        """
        Raises:
            DatasetError: no HDF5, links that lead out of it, more declared than it can hold, or no episodes.
        """
        self.path, self.map, self.extra = path, names, {}
        try:
            self.file = h5py.File(path, "r")
            lengths_of(self.file, path, GZIP, foreign=True)
            demos = {name: one for name, one in self.file["data"].items() if "actions" in one}
            self.names = sorted(demos, key=lambda name: [int(n) for n in re.findall(r"\d+", name)] or [-1])
            self.steps = {name: len(demos[name]["actions"]) for name in self.names}
            told = self.file["data"].attrs.get("env_args", "{}")
            env = json.loads(told if isinstance(told, (str, bytes)) else "{}")
        except (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise DatasetError(f"{path}: expected demonstrations in /data/<name>/actions, found: {error}") from error
        if not self.names:
            raise DatasetError(f"{path}: expected demonstrations in /data/<name>/actions, found none")
        self.splits, self.there = self.file.get("mask", {}), self.datasets(self.names[0])
        task = str(env.get("env_name", "")) if isinstance(env, dict) else ""
        self.facts = Facts(task, {"task": f"{FOREIGN} {task}".strip(), "obs": self._forms()}, {})

    @cached_property
    def header(self) -> dict[str, Any]:
        """As a shard's: {"sha256" of the whole file}."""
        with self.path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def has(self, column: str) -> bool:
        """Whether a column can be read."""
        return column in ("mean", "std") or None not in self._parts(column).values()

    def column(self, name: str, column: str, rows: slice = slice(None)) -> NDArray[Any]:
        """As a shard's; `std` is `SPREAD`. Raises DatasetError: no such dataset, with those that there are."""
        if column in ("mean", "std"):
            actions = np.asarray(self.file[f"data/{name}/actions"][rows], np.float32)
            return actions if column == "mean" else np.full_like(actions, SPREAD)
        for part, paths in self._parts(column).items():
            if paths is None:
                there = ", ".join(
                    f"{path} {self.file[f'data/{name}/{path}'].shape[1:]}" for path in self.datasets(name)
                )
                raise DatasetError(f"{self.path}: {name} has no {part} (--offline.map {part}=NAME); available: {there}")
        try:
            values = [
                [self.file[f"data/{name}/{one}"][rows] for one in part or ()] for part in self._parts(column).values()
            ]
            if column in ("stereo", "depth"):
                return memory_form([self._image(part[0], column) for part in values])
            return np.concatenate([part.reshape(len(part), -1) for part in values[0]], axis=1).astype(np.float32)
        except (LookupError, OSError, RuntimeError, ValueError) as error:
            raise DatasetError(f"{self.path}: {name}: {column} cannot be read: {error}") from error

    def split(self, name: str) -> list[str]:
        """As a shard's; without splits all episodes are to train on."""
        return super().split(name) if name in self.splits else self.names * (name == "train" and not len(self.splits))

    def _parts(self, column: str) -> dict[str, list[str] | None]:
        """Datasets of each eye, or of a column, by our name for it; None for what is not there."""
        found = {}
        for role in EYES if column == "stereo" else [column]:
            wanted = self.map.get(role, role).split("+")
            paths = [next((path for path in (one, f"obs/{one}") if path in self.there), "") for one in wanted]
            found[role] = paths if all(paths) else None
        return found

    def _image(self, values: NDArray[Any], column: str) -> NDArray[Any]:
        """(L, H, W, C), of RGB uint8 or of depth int16 mm; from channels first, with alpha, or metres."""
        values = values[..., None] if values.ndim == 3 else values
        if values.ndim == 4 and values.shape[-1] > 4:
            values = np.moveaxis(values, 1, -1)
        if column == "depth":
            return (1000 * values[..., :1]).astype(np.int16) if values.dtype.kind == "f" else values.astype(np.int16)
        if values.dtype != np.uint8 or values.ndim != 4 or values.shape[-1] not in (3, 4):
            raise DatasetError(
                f"{self.path}: expected RGB images (T, H, W, 3) uint8, found {values.dtype} {values.shape}"
            )
        return values[..., :3]

    def _forms(self) -> dict[str, Any]:
        """What a signature says of the groups that can be read."""
        forms, first = {}, self.names[0]
        for group in ("stereo", "depth", "state", "calibration", "touch", "command", "proprio"):
            if self.has(group):
                values = self.column(first, group, slice(0, 1))[0]
                forms[group] = {"shape": list(values.shape), "dtype": str(values.dtype), "parts": {}}
        return forms
