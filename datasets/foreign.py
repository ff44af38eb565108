"""Demonstrations that others recorded, as they are found, with no teacher's spread and no word of their origin: in the
layout of robomimic and Isaac Lab (other names, gzip, any order, no splits, no states), or as a LeRobotDataset v3.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from ..files import check_links, inside, read_json
from .lerobot import FEATURES, check_installed
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
INFO, PLACES = "meta/info.json", ("episode_index", "length", "dataset_", "data/", "videos/")
MOST_EPISODES, MOST_BYTES, MOST_PIXELS = 10**6, 2**32, 2**24
"""Of a LeRobotDataset: where it says what it holds, columns of its episodes that say where each lies, most episodes,
bytes that a feature of one file may take in memory, and numbers of an image."""
Names = Mapping[str, str]
"""What stands for left, right, proprio, ...: names of their datasets, several of a vector joined by "+"."""


def open_shard(path: Path, names: Names | None = None, whole: bool = False) -> Shard:
    """A shard of ours, a foreign file or a LeRobotDataset as one. whole: also check every byte of ours.

    Raises:
        DatasetError: it is damaged, or holds no episodes.
    """
    if path.is_dir():
        return LeRobot(path, names or {})
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
        first = self.file["data"][self.names[0]]
        self.there = {path: first[path].shape[1:] for path in self.datasets(self.names[0])}
        self.splits = self.file.get("mask", {})
        task = str(env.get("env_name", "")) if isinstance(env, dict) else ""
        self.facts = Facts(task, {"task": f"{FOREIGN} {task}".strip(), "obs": self._forms()}, {})

    @cached_property
    def header(self) -> dict[str, Any]:
        """As a shard's: {"sha256" of the whole file, or of all in the folder}."""
        found = []
        for path in sorted(one for one in (self.path, *self.path.rglob("*")) if one.is_file()):
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        return {"sha256": found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()}

    def has(self, column: str) -> bool:
        """Whether a column can be read."""
        return column in ("mean", "std") or None not in self._parts(column).values()

    def values(self, name: str, path: str, rows: slice) -> NDArray[Any]:
        """Rows of one dataset of one episode, (L, ...)."""
        return self.file[f"data/{name}/{path}"][rows]

    def column(self, name: str, column: str, rows: slice = slice(None)) -> NDArray[Any]:
        """As a shard's; `mean`: the actions, `std`: `SPREAD`. Raises DatasetError: no such dataset; says what is."""
        for part, paths in (parts := self._parts("actions" if column in ("mean", "std") else column)).items():
            if paths is None:
                there = ", ".join(f"{path} {shape}" for path, shape in self.there.items())
                raise DatasetError(f"{self.path}: {name} has no {part} (--offline.map {part}=NAME); available: {there}")
        try:
            values = [[self.values(name, one, rows) for one in paths or ()] for paths in parts.values()]
            if column in ("stereo", "depth"):
                return memory_form([self._image(part[0], column) for part in values])
            found = np.concatenate([part.reshape(len(part), -1) for part in values[0]], axis=1).astype(np.float32)
            return np.full_like(found, SPREAD) if column == "std" else found
        except (FFmpegError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise DatasetError(f"{self.path}: {name}: {column} cannot be read: {error}") from error

    def split(self, name: str) -> list[str]:
        """As a shard's; without splits all episodes are to train on."""
        return super().split(name) if name in self.splits else self.names * (name == "train" and not len(self.splits))

    def _parts(self, column: str) -> dict[str, list[str] | None]:
        """Datasets of each eye, or of a column, by our name for it; None for what is not there."""
        found = {}
        for role in EYES if column == "stereo" else [column]:
            wanted = self.map.get(role, role).split("+")
            known = [(one, f"obs/{one}", FEATURES.get(one), FEATURES.get(f"obs/{one}")) for one in wanted]
            paths = [next((path for path in paths if path in self.there), "") for paths in known]
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


class LeRobot(Foreign):
    """The folder of a LeRobotDataset v3 as one shard. Vectors stay in memory from their first use on, images do not."""

    def __init__(self, path: Path, names: Names) -> None:
        """Raises HandsightError: another version, no episodes, links that lead out, or pyarrow is missing."""
        check_installed()
        check_links(path, DatasetError)
        self.path, self.map, self.extra, self.splits, self.read_before = path, names, {}, {}, {}
        self.file = BytesIO()  # to be closed: nothing stays open
        self.info = read_json(path / INFO, DatasetError)
        try:
            version, self.fps = str(self.info["codebase_version"]), float(self.info["fps"])
            if not version.startswith("v3.") or not 0 < self.fps < math.inf:
                raise ValueError(f"{version}, {self.fps} frames a second (lerobot itself makes v3.0 of older versions)")
            self.there = {name: tuple(form["shape"]) for name, form in self.info["features"].items()}
            self.kinds = {name: form["dtype"] for name, form in self.info["features"].items()}
            self.episodes = {f"episode_{row['episode_index']}": row for row in self._rows()}
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: expected a LeRobotDataset v3.0, found: {error}") from error
        self.names, self.steps = [*self.episodes], {name: row["length"] for name, row in self.episodes.items()}
        task = str(self.info.get("robot_type") or path.name)
        self.facts = Facts(task, {"task": f"{FOREIGN} {task}", "obs": self._forms()}, {})

    def values(self, name: str, path: str, rows: slice) -> NDArray[Any]:
        """Rows of one feature of one episode, (L, ...); images (L, H, W, 3) uint8."""
        row, shape, (start, stop, _) = self.episodes[name], self.there[path], rows.indices(self.steps[name])
        if self.kinds[path] == "video":
            begin = row[f"videos/{path}/from_timestamp"] + start / self.fps
            return decoded(self._file(row, path), "mp4", shape, begin, stop - start, self.fps)
        if (key := (self._file(row), path)) not in self.read_before:
            there = [one for one in self.episodes.values() if self._file(one) == key[0]]
            index = range(there[0]["dataset_from_index"], there[-1]["dataset_to_index"])
            self.read_before[key] = index[0], column_of(*key, self.kinds[path] == "image", shape, index)
        first, found = self.read_before[key]
        found = found[row["dataset_from_index"] - first :][start:stop]
        pngs = [BytesIO(one.as_py()) for one in found] if self.kinds[path] == "image" else []  # no path is followed
        return np.concatenate([decoded(one, "png_pipe", shape) for one in pngs]) if pngs else found

    def _file(self, row: Mapping[str, Any], video: str = "") -> Path:
        """Where an episode's rows or frames are, by the templates of info.json: not by str.format, which runs more."""
        template, place = ("video_path", f"videos/{video}") if video else ("data_path", "data")
        numbers = {name: int(row[f"{place}/{name}"]) for name in ("chunk_index", "file_index")}
        name = re.sub(r"\{(\w+):03d\}", lambda found: f"{numbers[found[1]]:03d}", self.info[template])
        return inside(self.path, name.replace("{video_key}", video), DatasetError)

    def _rows(self) -> list[dict[str, Any]]:
        """What meta/episodes says of where each episode lies, in the order of their rows."""
        from pyarrow import parquet

        tables = [parquet.ParquetFile(file) for file in sorted(self.path.glob("meta/episodes/*/*.parquet"))]
        if not 0 < (count := sum(table.metadata.num_rows for table in tables)) <= MOST_EPISODES:
            raise ValueError(f"{count:,} episodes")
        chosen = [[name for name in table.schema_arrow.names if name.startswith(PLACES)] for table in tables]
        found = [row for table, names in zip(tables, chosen, strict=True) for row in table.read(names).to_pylist()]
        if wrong := [r for r in found if not 0 < r["length"] == r["dataset_to_index"] - r["dataset_from_index"]]:
            raise ValueError(f"episode {wrong[0]['episode_index']} of {wrong[0]['length']} rows")
        return sorted(found, key=lambda row: row["dataset_from_index"])


def column_of(file: Path, name: str, pictures: bool, shape: tuple[int, ...], index: range) -> Any:
    """A feature of a Parquet file, (L, ...), or L encoded pictures; its rows have the numbers `index`. Raises
    ValueError: it has other rows, no such feature, nothing in one of them, or more than `MOST_BYTES`."""
    from pyarrow import parquet

    meta = (table := parquet.ParquetFile(file)).metadata
    chunks = [meta.row_group(g).column(c) for g in range(meta.num_row_groups) for c in range(meta.num_columns)]
    size = sum(max(c.total_uncompressed_size, 8 * c.num_values) for c in chunks if c.path_in_schema.startswith(name))
    if meta.num_rows != len(index) or size > MOST_BYTES:
        what = f"{meta.num_rows:,} rows, {size:,} bytes"
        raise ValueError(f"{file}: {name}: expected {len(index):,} rows, at most {MOST_BYTES:,} bytes, found {what}")
    read = table.read([name, "index"])
    found: Any = read[name].combine_chunks()
    if found.null_count or not np.array_equal(read["index"], index):
        raise ValueError(f"{file}: {name}: expected rows {index[0]} to {index[-1]}, found others, or empty ones")
    while hasattr(found.type, "value_type"):
        found = found.flatten()
    return found.field("bytes") if pictures else np.array(found).reshape(len(index), *shape)


def decoded(
    source: Path | BytesIO, form: str, shape: tuple[int, ...], begin: float = 0.0, count: int = 1, fps: float = 1.0
) -> NDArray[np.uint8]:
    """(count, H, W, 3) uint8: frames of a video or picture from `begin` (s) on. form: the container that it must be, as
    FFmpeg would follow a playlist to other places; shape: of a frame, channels first or last. Raises ValueError: other
    or fewer frames, or FFmpegError."""
    with av.open(source, mode="r", format=form) as container:
        stream = container.streams.video[0]
        size, found = (stream.height, stream.width, 3), {}
        if math.prod(size) > MOST_PIXELS or size not in (shape, (*shape[1:], *shape[:1])):
            raise ValueError(f"expected images {shape} of at most {MOST_PIXELS:,} numbers, found {size}")
        container.seek(int(max(0.0, begin - 0.5 / fps) * av.time_base))
        for frame in container.decode(stream):
            place = round(((frame.time or 0.0) - begin) * fps)
            if place >= count:
                break
            found |= {place: frame.to_ndarray(format="rgb24")} if place >= 0 else {}
    if len(found) < count:
        raise ValueError(f"expected {count} frames from {begin:.3f} s on, found {len(found)}")
    return np.stack([found[place] for place in range(count)])
