"""`ShardWriter`: episodes into shards that are whole or not there, and are never touched again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from ..files import discard, draft_of, put_in_place
from .schema import ENVIRONMENT_TYPE, DatasetError, Episode, Facts, check_dataset, checksum, stored_form
from .shard import HEADER, SUFFIX, empty_string_array, seal

CHUNK_BYTES = 1 << 20
"""A chunk is a whole episode of one dataset, or about this much of it."""
LARGE = 1 << 12
"""Bytes of a dataset from which on its compression is looked at."""
WORTH = 0.67
"""LZF is left out for the rest of a shard where it keeps more than this share of the bytes, as it does of grainy
images: it would take up to half of the time for little."""


@dataclass
class Written:
    """What a finished shard says of itself."""

    path: Path
    header: dict[str, Any]


class ShardWriter:
    """One shard under way: a hidden temporary file until `finish`, which flushes it to the disk and renames it."""

    def __init__(self, path: Path, facts: Facts, valid_share: float = 0.0) -> None:
        """Open the temporary file.

        Args:
            path: of the finished shard; must not exist.
            facts: what its episodes have in common.
            valid_share: share of the resets whose episodes go to the split "valid"; the same resets in every data set.

        Raises:
            DatasetError: the shard exists already.
        """
        if path.suffix != SUFFIX:
            raise DatasetError(f"shard {path}: expected a name that ends in {SUFFIX}")
        if path.exists():
            raise DatasetError(f"shard {path} exists already; a finished shard is never touched again")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.facts, self.valid_share = path, facts, valid_share
        self.draft = draft_of(path)
        self.file: Any = h5py.File(self.draft, "w", userblock_size=HEADER, rdcc_nbytes=0)
        self.data = self.file.create_group("data")
        self.splits: dict[str, list[str]] = {"train": [], "valid": []}
        self.samples = self.nbytes = 0
        self._forms: dict[tuple[Any, ...], tuple[Any, Any, Any]] = {}
        self._plain: set[str] = set()
        """Datasets for which LZF is not worth its time."""

    @property
    def episodes(self) -> int:
        """Number of episodes written so far."""
        return sum(map(len, self.splits.values()))

    def add(self, episode: Episode) -> None:
        """Write one episode into the temporary file.

        Raises:
            DatasetError: a column is not of the form that the schema gives it, or columns differ in length.
        """
        name = f"demo_{self.episodes}"
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
        self.samples += episode.steps
        self.nbytes += sum(values.nbytes for values in datasets.values())

    def finish(self, extra: Mapping[str, Any]) -> Written:
        """Seal the shard, flush it to the disk and give it its name.

        Args:
            extra: JSON-able facts about this shard, e.g. which rounds it holds.
        """
        facts = self.facts
        names = {"env_name": facts.env_name, "type": ENVIRONMENT_TYPE, "env_type": ENVIRONMENT_TYPE}
        self.data.attrs["total"] = self.samples
        self.data.attrs["env_args"] = json.dumps({**names, "env_kwargs": facts.env_config})
        self.data.attrs["handsight"] = json.dumps({"facts": asdict(facts), "extra": dict(extra)})
        for split, members in self.splits.items():
            words = np.array(members, dtype="S") if members else empty_string_array()
            self.file.create_dataset(f"mask/{split}", data=words)
        self.file.close()
        header = seal(self.draft, {"episodes": self.episodes, "samples": self.samples})
        put_in_place(self.draft, self.path)
        return Written(self.path, header)

    def abandon(self) -> None:
        """Delete the temporary file: nothing of the shard is left behind."""
        self.file.close()
        discard(self.draft)

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


def write_shard(path: Path, facts: Facts, episodes: Iterable[Episode], extra: Mapping[str, Any]) -> Written:
    """Write a whole shard; nothing is left behind if it fails. extra: see `ShardWriter.finish`.

    Raises:
        DatasetError: the shard exists already, or an episode does not fit the schema.
    """
    writer = ShardWriter(path, facts)
    try:
        for episode in episodes:
            writer.add(episode)
        return writer.finish(extra)
    except BaseException:
        writer.abandon()
        raise


def _form(values: NDArray[Any], lzf: bool) -> tuple[Any, Any, Any]:
    """HDF5's properties (chunks, LZF where it pays, Fletcher's checksum), space and type."""
    properties = h5p.create(h5p.DATASET_CREATE)
    rows = max(1, min(len(values), CHUNK_BYTES // max(1, values[:1].nbytes)))
    properties.set_chunk((rows, *values.shape[1:]))
    if lzf:
        properties.set_filter(h5z.FILTER_LZF, h5z.FLAG_OPTIONAL)
    properties.set_fletcher32()
    return properties, h5s.create_simple(values.shape), h5t.py_create(values.dtype)
