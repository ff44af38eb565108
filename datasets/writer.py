"""Episodes into shards that are whole or not there, and are never touched again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from ..files import written
from .schema import ENVIRONMENT_TYPE, DatasetError, Episode, Facts, check_dataset, checksum, stored_form
from .shard import HEADER, SUFFIX, seal

CHUNK_BYTES = 1 << 20
"""A chunk is a whole episode of one dataset, or about this much of it."""
LARGE = 1 << 12
"""Bytes of a dataset from which on its compression is looked at."""
WORTH = 0.67
"""LZF is left out for the rest of a shard where it keeps more than this share of the bytes, as it does of grainy
images: it would take up to half of the time for little."""


def write_shard(
    path: Path, facts: Facts, episodes: Iterable[Episode], extra: Mapping[str, Any], valid_share: float = 0.0
) -> dict[str, Any]:
    """Write a shard, whole or not at all, on the disk and under its name only when its last episode is there.

    Args:
        path: of the finished shard; must not exist.
        facts: what its episodes have in common.
        episodes: what it is to hold.
        extra: JSON-able facts about this shard, e.g. which rounds it holds; read once all episodes are written.
        valid_share: share of the resets whose episodes go to the split "valid"; the same resets in every data set.

    Returns:
        Its header.

    Raises:
        DatasetError: the shard exists already, or an episode does not fit the schema.
    """
    if path.suffix != SUFFIX:
        raise DatasetError(f"shard {path}: expected a name that ends in {SUFFIX}")
    if path.exists():
        raise DatasetError(f"shard {path} exists already; a finished shard is never touched again")
    with written(path) as draft:
        with h5py.File(draft, "w", userblock_size=HEADER, rdcc_nbytes=0) as file:
            done = _Episodes(file, valid_share)
            for episode in episodes:
                done.add(episode)
            done.describe(facts, extra)
        return seal(draft, {"episodes": done.count, "samples": done.samples})


class _Episodes:
    """The episodes of a shard under way, and what a writer has to know of those before."""

    def __init__(self, file: h5py.File, valid_share: float) -> None:
        self.file, self.valid_share = file, valid_share
        self.data = file.create_group("data")
        self.splits: dict[str, list[str]] = {"train": [], "valid": []}
        self.count = self.samples = 0
        self._forms: dict[tuple[Any, ...], tuple[Any, Any, Any]] = {}
        self._plain: set[str] = set()
        """Datasets for which LZF is not worth its time."""

    def add(self, episode: Episode) -> None:
        """Write one episode.

        Raises:
            DatasetError: a column is not of the form that the schema gives it, or columns differ in length.
        """
        name = f"demo_{self.count}"
        datasets = {path: values for path, values in stored_form(episode.columns).items() if 0 not in values.shape[1:]}
        lengths = {path: len(values) for path, values in datasets.items()}
        if len(set(lengths.values())) != 1 or not episode.steps:
            raise DatasetError(f"episode {name}: expected columns of one length of at least 1, found {lengths}")
        for path, values in datasets.items():
            check_dataset(path, values, f"episode {name}")
        facts = {"num_samples": episode.steps, "seed": episode.seed, "success": episode.success, **episode.facts}
        group = self.data.create_group(name)
        for key in ("num_samples", "seed", "success"):
            group.attrs[key] = facts[key]
        noted = {key: value for key, value in facts.items() if key not in group.attrs}
        group.attrs["handsight"] = json.dumps(noted | {"crc32": checksum(datasets, facts)})
        folders = {folder: group.create_group(folder) for folder in {p.rpartition("/")[0] for p in datasets} - {""}}
        for path, values in datasets.items():
            folder, _, leaf = path.rpartition("/")
            self._write((folders[folder] if folder else group).id, leaf, path, values)
        self.splits["valid" if self._is_valid(episode) else "train"].append(name)
        self.count, self.samples = self.count + 1, self.samples + episode.steps

    def describe(self, facts: Facts, extra: Mapping[str, Any]) -> None:
        """Say what all episodes have in common, and which split each is of."""
        names = {"env_name": facts.env_name, "type": ENVIRONMENT_TYPE, "env_type": ENVIRONMENT_TYPE}
        self.data.attrs["total"] = self.samples
        self.data.attrs["env_args"] = json.dumps({**names, "env_kwargs": facts.env_config})
        self.data.attrs["handsight"] = json.dumps({"facts": asdict(facts), "extra": dict(extra)})
        for split, members in self.splits.items():
            self.file.create_dataset(f"mask/{split}", data=np.array(members, dtype="S"))

    def _write(self, place: Any, leaf: str, path: str, values: NDArray[Any]) -> None:
        """One dataset, by HDF5's own interface: h5py's takes as long again for the small ones."""
        form = (values.shape, values.dtype.str, path in self._plain)
        if form not in self._forms:
            self._forms[form] = _form(values, lzf=path not in self._plain)
        properties, space, kind = self._forms[form]
        dataset = h5d.create(place, leaf.encode(), kind, space, properties)
        dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values))
        if values.nbytes > LARGE and dataset.get_storage_size() > WORTH * values.nbytes:
            self._plain.add(path)

    def _is_valid(self, episode: Episode) -> bool:
        reset = f"{episode.seed} {episode.facts.get('world', 0)}".encode()
        return zlib.crc32(reset) / 2**32 < self.valid_share


def _form(values: NDArray[Any], lzf: bool) -> tuple[Any, Any, Any]:
    """HDF5's properties (chunks, LZF where it pays, Fletcher's checksum), space and type."""
    properties = h5p.create(h5p.DATASET_CREATE)
    rows = max(1, min(len(values), CHUNK_BYTES // max(1, values[:1].nbytes)))
    properties.set_chunk((rows, *values.shape[1:]))
    if lzf:
        properties.set_filter(h5z.FILTER_LZF, h5z.FLAG_OPTIONAL)
    properties.set_fletcher32()
    return properties, h5s.create_simple(values.shape), h5t.py_create(values.dtype)
