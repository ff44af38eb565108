"""Shards as a LeRobotDataset v3.0: Parquet for what is written down, mp4 for what is seen.

    meta/info.json, stats.json, tasks.parquet    what there is, its statistics, the task in words
    meta/episodes/chunk-000/file-000.parquet     where each episode lies
    data/chunk-000/file-000.parquet              one row for each step
    videos/<camera>/chunk-000/file-000.mp4       H.264, one frame for each step

Both eyes become videos. Depth stays exact: int16 millimetres (H, W, 1) in the rows, since a video of eight bits would
lose what it is for.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ..files import discard, draft_of, put_in_place, write_json
from .episodes import read_column
from .schema import EYES, DatasetError
from .shard import Shard

VERSION = "v3.0"
FILE_FRAMES, CHUNK_FILES = 20_000, 1000
"""Frames after which a new file begins, and files in a chunk."""
NAMES = {"action": "action", "proprio": "observation.state", "state": "observation.environment_state"}
"""Columns as the format calls them."""


def check_installed() -> None:
    """Raise DatasetError where pyarrow is missing."""
    if importlib.util.find_spec("pyarrow") is None:
        command = "uv sync --extra lerobot, or pip install 'handsight[lerobot]'"
        raise DatasetError(f"LeRobot's format needs pyarrow: {command}")


class LeRobotWriter:
    """Episodes into a folder that has its name only once it is whole."""

    def __init__(self, out: Path, first: Shard, task: str, quality: int) -> None:
        """Begin.

        Args:
            out: the folder; must not exist.
            first: a shard, which says what columns there are.
            task: what the episodes are about, in words.
            quality: H.264's constant rate factor, 0 (lossless) to 51.

        Raises:
            DatasetError: the folder exists, or pyarrow is missing.
        """
        check_installed()
        if out.exists():
            raise DatasetError(f"{out} exists already; expected a new folder")
        self.out, self.draft = out, draft_of(out)
        self.task, self.quality, self.fps = task, quality, _rate(1 / first.facts.signature["control_dt"])
        paths = first.datasets(first.names[0])
        self.eyes = [eye for eye in EYES if f"obs/{eye}" in paths]
        self.columns = [c for c in NAMES if c == "action" or f"obs/{c}" in paths]
        self.depth = "obs/depth" in paths
        self.facts = first.facts
        self.rows: dict[str, list[Any]] = {}
        self.features: dict[str, Any] = {}
        self.episodes: list[dict[str, Any]] = []
        self.stats: list[dict[str, dict[str, NDArray[Any]]]] = []
        self.frames = self.file = self.file_begin = 0
        self.videos: dict[str, tuple[Any, Any]] = {}

    def add(self, shard: Shard, name: str) -> None:
        """Append the episode of this name in a shard. Raises DatasetError: what the shard holds of it is damaged."""
        if self.frames - self.file_begin >= FILE_FRAMES:
            self._close_file()
            self.file, self.file_begin = self.file + 1, self.frames
        steps = shard.steps[name]
        columns = {NAMES[c]: read_column(shard, name, c) for c in self.columns}
        columns |= {
            "next.reward": read_column(shard, name, "reward"),
            "next.done": read_column(shard, name, "done") > 0,
        }
        if self.depth:
            columns["observation.depth.left"] = shard.read(name, "obs/depth")
        index = np.arange(steps)
        columns |= {
            "timestamp": (index / self.fps).astype(np.float32), "frame_index": index, "index": index + self.frames,
            "episode_index": np.full(steps, len(self.episodes)), "task_index": np.zeros(steps, np.int64),
        }  # fmt: skip
        images = {f"observation.images.{eye}": shard.read(name, f"obs/{eye}") for eye in self.eyes}
        for key, values in columns.items():
            self.features.setdefault(key, _feature(values, self._part_names(key)))
            self.rows.setdefault(key, []).append(values)
        for key, frames in images.items():
            self._encode(key, frames)
        self._note(shard, name, steps, columns, images)
        self.frames += steps

    def finish(self) -> None:
        """Write what is left, and give the folder its name. Raises DatasetError: there are no episodes."""
        if not self.episodes:
            raise DatasetError("no episodes to write")
        self._close_file()
        where = {"chunk_index": 0, "file_index": 0}
        table = {key: [episode[key] for episode in self.episodes] for key in self.episodes[0]}
        _write_table(self.draft / "meta/episodes" / _file(**where, suffix="parquet"), table)
        _write_tasks(self.draft / "meta/tasks.parquet", self.task)
        write_json(self.draft / "meta/stats.json", _aggregate(self.stats))
        write_json(self.draft / "meta/info.json", self._info())
        put_in_place(self.draft, self.out)

    def abandon(self) -> None:
        """Delete the draft: nothing of the folder is left behind."""
        for container, _ in self.videos.values():
            container.close()
        discard(self.draft)

    def _note(
        self,
        shard: Shard,
        name: str,
        steps: int,
        columns: Mapping[str, NDArray[Any]],
        images: Mapping[str, NDArray[Any]],
    ) -> None:
        chunk, file = divmod(self.file, CHUNK_FILES)
        row: dict[str, Any] = {
            "episode_index": len(self.episodes), "tasks": [self.task], "length": steps,
            "dataset_from_index": self.frames, "dataset_to_index": self.frames + steps,
            "data/chunk_index": chunk, "data/file_index": file,
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
            "handsight/success": bool(shard.episode_facts(name)["success"]),
            "handsight/seed": int(shard.episode_facts(name)["seed"]),
        }  # fmt: skip
        begin = (self.frames - self.file_begin) / self.fps
        for key in images:
            row |= {f"videos/{key}/chunk_index": chunk, f"videos/{key}/file_index": file}
            row |= {f"videos/{key}/from_timestamp": begin, f"videos/{key}/to_timestamp": begin + steps / self.fps}
        stats = {key: _stats(values) for key, values in columns.items()}
        stats |= {key: _stats(frames.transpose(0, 3, 1, 2) / 255.0, axes=(0, 2, 3)) for key, frames in images.items()}
        for key, figures in stats.items():
            row |= {f"stats/{key}/{figure}": value.tolist() for figure, value in figures.items()}
        self.episodes.append(row)
        self.stats.append(stats)

    def _encode(self, key: str, frames: NDArray[np.uint8]) -> None:
        if key not in self.videos:
            draft = self.draft / "videos" / key / _file(*divmod(self.file, CHUNK_FILES), suffix="mp4")
            draft.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(draft), "w")
            options = {"crf": str(self.quality), "g": "2"}
            stream: Any = container.add_stream("libx264", rate=_fraction(self.fps), options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            self.videos[key] = container, stream
            self.features[key] = {
                "dtype": "video", "shape": list(frames.shape[1:]), "names": ["height", "width", "channels"],
                "info": {
                    "video.height": frames.shape[1], "video.width": frames.shape[2], "video.codec": "h264",
                    "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": self.fps,
                    "video.channels": 3, "has_audio": False,
                },
            }  # fmt: skip
        container, stream = self.videos[key]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

    def _close_file(self) -> None:
        for container, stream in self.videos.values():
            container.mux(stream.encode())
            container.close()
        table = {key: np.concatenate(pieces) for key, pieces in self.rows.items()}
        _write_table(self.draft / "data" / _file(*divmod(self.file, CHUNK_FILES), suffix="parquet"), table)
        self.videos, self.rows = {}, {}

    def _part_names(self, key: str) -> list[str] | None:
        group = {"observation.state": "proprio", "observation.environment_state": "state"}.get(key)
        parts = self.facts.signature["obs"].get(group, {}).get("parts", {}) if group else {}
        return [f"{part}.{i}" for part, width in parts.items() for i in range(width)] or None

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION, "robot_type": str(self.facts.signature.get("task", "")),
            "total_episodes": len(self.episodes), "total_frames": self.frames, "total_tasks": 1,
            "chunks_size": CHUNK_FILES, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200, "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if self.eyes else None,
            "features": self.features,
            "handsight": {"signature": self.facts.signature, "origin": self.facts.origin},
        }  # fmt: skip


def write_lerobot(
    shards: list[Path], out: Path, task: str, quality: int, tick: Callable[[], None] = lambda: None
) -> tuple[int, int]:
    """All episodes of some shards; returns the numbers of episodes and frames. tick: called after each episode.

    Raises:
        DatasetError: the folder exists, or pyarrow is missing.
    """
    writer: LeRobotWriter | None = None
    try:
        for shard in map(Shard, shards):
            writer = writer or LeRobotWriter(out, shard, task, quality)
            for name in shard.names:
                writer.add(shard, name)
                tick()
            shard.close()
        assert writer is not None
        writer.finish()
        return len(writer.episodes), writer.frames
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise


def _rate(value: float) -> int | float:
    return round(value) if abs(value - round(value)) < 1e-6 else round(value, 6)


def _fraction(value: float) -> Any:
    from fractions import Fraction

    return Fraction(value).limit_denominator(1000)


def _file(chunk_index: int, file_index: int, suffix: str) -> str:
    return f"chunk-{chunk_index:03d}/file-{file_index:03d}.{suffix}"


def _feature(values: NDArray[Any], names: list[str] | None) -> dict[str, Any]:
    return {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": names}


def _stats(values: NDArray[Any], axes: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
    """min, max, mean and std along the axes, which are kept for images, and the number of rows."""
    x, keep = values.astype(np.float64), len(axes) > 1
    figures = {name: getattr(x, name)(axis=axes, keepdims=keep) for name in ("min", "max", "mean", "std")}
    shaped = {name: np.atleast_1d(figure[0] if keep else figure) for name, figure in figures.items()}
    return shaped | {"count": np.array([len(x)])}


def _aggregate(stats: list[dict[str, dict[str, NDArray[Any]]]]) -> dict[str, Any]:
    """Of all episodes, from those of each, weighted by their rows."""
    return {key: dict(_pooled([episode[key] for episode in stats])) for key in stats[0]}


def _pooled(parts: list[dict[str, NDArray[Any]]]) -> Iterator[tuple[str, Any]]:
    weights = np.array([part["count"][0] for part in parts], dtype=np.float64)
    mean, square = (
        np.average([function(part) for part in parts], axis=0, weights=weights)
        for function in (lambda part: part["mean"], lambda part: part["std"] ** 2 + part["mean"] ** 2)
    )
    yield "min", np.min([part["min"] for part in parts], axis=0).tolist()
    yield "max", np.max([part["max"] for part in parts], axis=0).tolist()
    yield "mean", mean.tolist()
    yield "std", np.sqrt(np.maximum(square - mean**2, 0)).tolist()
    yield "count", [int(weights.sum())]


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({key: _arrow(values) for key, values in columns.items()}), path)


def _arrow(values: Any) -> Any:
    """(N, ...) as nested lists of fixed depth."""
    import pyarrow

    if not isinstance(values, np.ndarray):
        return pyarrow.array(values)
    array = pyarrow.array(values.reshape(-1))
    for width in reversed(values.shape[1:]):
        offsets = np.arange(0, len(array) + 1, width, dtype=np.int32)
        array = pyarrow.ListArray.from_arrays(offsets, array)
    return array


def _write_tasks(path: Path, task: str) -> None:
    """A table indexed by the task's words, as its readers expect of pandas."""
    import pyarrow
    import pyarrow.parquet

    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": stored, "metadata": None}
        for name, (kind, stored) in kinds.items()
    ]
    note = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "creator": {}, "pandas_version": "2.0"}
    table = pyarrow.table({"task_index": [0], "task": [task]})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"pandas": json.dumps(note)}), path)
