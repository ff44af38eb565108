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
from collections.abc import Callable, Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ..errors import HandsightError
from ..files import write_json, written
from .schema import DatasetError
from .shard import Shard

VERSION = "v3.0"
FILE_FRAMES, CHUNK_FILES = 20_000, 1000
"""Frames after which a new file begins, and files in a chunk."""
VIDEO = "observation.images."
FEATURES = {
    "actions": "action",
    "obs/proprio": "observation.state",
    "obs/state": "observation.environment_state",
    "rewards": "next.reward",
    "dones": "next.done",
    "obs/depth": "observation.depth.left",
    "obs/left": f"{VIDEO}left",
    "obs/right": f"{VIDEO}right",
}
"""What the format calls our datasets."""
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""Where the files lie, as its readers fill it in."""


def check_installed() -> None:
    """Raise HandsightError where pyarrow is missing."""
    if importlib.util.find_spec("pyarrow") is None:
        command = "uv sync --extra lerobot, or pip install 'handsight[lerobot]'"
        raise HandsightError(f"LeRobot's format needs pyarrow: {command}")


def write_lerobot(
    shards: list[Path], out: Path, task: str, quality: int, tick: Callable[[], None] = lambda: None,
    privileged: bool = False,
) -> tuple[int, int]:  # fmt: skip
    """Write all episodes of some shards, to a folder that has its name only once it is whole.

    Args:
        shards: whole ones; the first one says what columns there are.
        out: the folder; must not exist.
        task: what the episodes are about, in words.
        quality: H.264's constant rate factor, 1 to 51; 0: every pixel as it was recorded.
        tick: called after each episode.
        privileged: also write the group `state`, which the format's policies would learn from.

    Returns:
        The numbers of episodes and frames.

    Raises:
        HandsightError: the folder exists, pyarrow is missing, there are no episodes, or a shard is damaged.
    """
    check_installed()
    if out.exists():
        raise DatasetError(f"{out} exists already; expected a new folder")
    columns = [path for path in FEATURES if privileged or path != "obs/state"]
    with written(out) as draft, closing(LeRobotWriter(draft, Shard(shards[0]), task, quality, columns)) as writer:
        for shard in map(Shard, shards):
            for name in shard.names:
                writer.add(shard, name)
                tick()
            shard.close()
        writer.finish()
    return len(writer.episodes), writer.frames


class LeRobotWriter:
    """Episodes into the folder `draft`; arguments as for `write_lerobot`, `first` being a shard."""

    def __init__(self, draft: Path, first: Shard, task: str, quality: int, columns: list[str]) -> None:
        self.draft, self.facts, self.task, self.quality = draft, first.facts, task, quality
        self.fps = _rate(1 / first.facts.signature["control_dt"])
        there = first.datasets(first.names[0])
        self.keys = {path: FEATURES[path] for path in columns if path in there}
        obs = first.facts.signature["obs"]
        self.names = {key: _part_names(obs.get(path.removeprefix("obs/"), {})) for path, key in self.keys.items()}
        self.features: dict[str, Any] = {}
        self.rows: dict[str, list[NDArray[Any]]] = {}
        """What the next file will hold by feature: (T, ...) of each episode."""
        self.videos: dict[str, tuple[Any, Any]] = {}
        """Container and stream of each video under way, by feature."""
        self.episodes: list[dict[str, Any]] = []
        self.frames = self.file = self.file_begin = 0

    def add(self, shard: Shard, name: str) -> None:
        """Append the episode of this name in a shard. Raises DatasetError: what the shard holds of it is damaged."""
        if self.frames - self.file_begin >= FILE_FRAMES:
            self._end_file()
            self.file, self.file_begin = self.file + 1, self.frames
        steps, rows, images = shard.steps[name], {}, {}
        for path, key in self.keys.items():
            values = shard.read(name, path)
            if key.startswith(VIDEO):
                images[key] = values
            else:
                rows[key] = values > 0 if path == "dones" else values
        index = np.arange(steps)
        rows |= {
            "timestamp": (index / self.fps).astype(np.float32), "frame_index": index, "index": index + self.frames,
            "episode_index": np.full(steps, len(self.episodes)), "task_index": np.zeros(steps, np.int64),
        }  # fmt: skip
        for key, values in rows.items():
            form = {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": self.names.get(key)}
            self.features.setdefault(key, form)
            self.rows.setdefault(key, []).append(values)
        for key, frames in images.items():
            self._encode(key, frames)
        self._note(shard.episode_facts(name), steps, rows, images)
        self.frames += steps

    def finish(self) -> None:
        """Write what is left. Raises DatasetError: there are no episodes."""
        if not self.episodes:
            raise DatasetError("no episodes to write")
        self._end_file()
        table = {column: [episode[column] for episode in self.episodes] for column in self.episodes[0]}
        _write_table(self.draft / "meta/episodes/chunk-000/file-000.parquet", table)
        _write_tasks(self.draft / "meta/tasks.parquet", self.task)
        write_json(self.draft / "meta/stats.json", {key: _pooled(table, f"stats/{key}/") for key in self.features})
        write_json(self.draft / "meta/info.json", self._info())

    def close(self) -> None:
        """Close the videos, whole or not."""
        for container, _ in self.videos.values():
            container.close()

    def _end_file(self) -> None:
        for container, stream in self.videos.values():
            container.mux(stream.encode())
        self.close()
        table = {key: np.concatenate(pieces) for key, pieces in self.rows.items()}
        _write_table(self.draft / DATA.format(**self._place), table)
        self.videos, self.rows = {}, {}

    @property
    def _place(self) -> dict[str, int]:
        """Numbers of the file under way, as the format counts."""
        return dict(zip(("chunk_index", "file_index"), divmod(self.file, CHUNK_FILES), strict=True))

    def _note(
        self, facts: Mapping[str, Any], steps: int, rows: dict[str, NDArray[Any]], images: dict[str, NDArray[Any]]
    ) -> None:
        row: dict[str, Any] = {
            "episode_index": len(self.episodes), "tasks": [self.task], "length": steps,
            "dataset_from_index": self.frames, "dataset_to_index": self.frames + steps,
            **{f"data/{name}": number for name, number in self._place.items()},
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
            "handsight/success": bool(facts["success"]), "handsight/seed": int(facts["seed"]),
        }  # fmt: skip
        begin = (self.frames - self.file_begin) / self.fps
        for key in images:
            row |= {f"videos/{key}/{name}": number for name, number in self._place.items()}
            row |= {f"videos/{key}/from_timestamp": begin, f"videos/{key}/to_timestamp": begin + steps / self.fps}
        for key, values in rows.items():
            row |= _stats(f"stats/{key}/", values)
        for key, frames in images.items():
            row |= _stats(f"stats/{key}/", frames.transpose(0, 3, 1, 2) / 255.0, axes=(0, 2, 3))
        self.episodes.append(row)

    def _encode(self, key: str, frames: NDArray[np.uint8]) -> None:
        if key not in self.videos:
            draft = self.draft / VIDEOS.format(video_key=key, **self._place)
            draft.parent.mkdir(parents=True, exist_ok=True)
            container = av.open(str(draft), "w")
            options, rate = {"crf": str(self.quality), "g": "2"}, Fraction(self.fps).limit_denominator(1000)
            codec, pixels = _pixels(self.quality, *frames.shape[1:3])
            stream: Any = container.add_stream(codec, rate=rate, options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
            self.videos[key] = container, stream
            stored = pixels.replace("rgb24", "gbrp")
            self.features[key] = {
                "dtype": "video", "shape": list(frames.shape[1:]), "names": ["height", "width", "channels"],
                "info": {
                    "video.height": frames.shape[1], "video.width": frames.shape[2], "video.codec": "h264",
                    "video.pix_fmt": stored, "video.is_depth_map": False, "video.fps": self.fps,
                    "video.channels": 3, "has_audio": False,
                },
            }  # fmt: skip
        container, stream = self.videos[key]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION, "robot_type": str(self.facts.signature.get("task", "")),
            "total_episodes": len(self.episodes), "total_frames": self.frames, "total_tasks": 1,
            "chunks_size": CHUNK_FILES, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200, "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": DATA, "video_path": VIDEOS if any(key.startswith(VIDEO) for key in self.features) else None,
            "features": self.features,
            "handsight": {"signature": self.facts.signature, "origin": self.facts.origin},
        }  # fmt: skip


def _pixels(quality: int, height: int, width: int) -> tuple[str, str]:
    """Encoder and pixels: RGB as it is where nothing may be lost; colour at half the size needs even sides."""
    if quality == 0:
        return "libx264rgb", "rgb24"
    return "libx264", "yuv444p" if height % 2 or width % 2 else "yuv420p"


def _rate(value: float) -> int | float:
    return round(value) if abs(value - round(value)) < 1e-6 else round(value, 6)


def _part_names(spec: Mapping[str, Any]) -> list[str] | None:
    return [f"{part}.{i}" for part, width in spec.get("parts", {}).items() for i in range(width)] or None


def _stats(prefix: str, values: NDArray[Any], axes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """min, max, mean and std along the axes, which are kept for images, and the number of rows, as lists."""
    x, keep = values.astype(np.float64), len(axes) > 1
    figures = {name: getattr(x, name)(axis=axes, keepdims=keep) for name in ("min", "max", "mean", "std")}
    shaped = {name: np.atleast_1d(figure[0] if keep else figure) for name, figure in figures.items()}
    return {prefix + name: value.tolist() for name, value in shaped.items()} | {f"{prefix}count": [len(x)]}


def _pooled(table: Mapping[str, list[Any]], prefix: str) -> dict[str, list[Any]]:
    """The statistics of all episodes from those of each, which the table has under this prefix."""
    count, low, high, means, stds = (np.array(table[prefix + name]) for name in ("count", "min", "max", "mean", "std"))
    weights = count[:, 0].astype(np.float64)
    mean, square = (np.average(each, axis=0, weights=weights) for each in (means, stds**2 + means**2))
    return {
        "min": low.min(axis=0).tolist(),
        "max": high.max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(np.maximum(square - mean**2, 0)).tolist(),
        "count": [int(count.sum())],
    }


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
