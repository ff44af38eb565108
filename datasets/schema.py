"""What a shard holds, version 1: names, shapes, dtypes and units. The layout is robomimic's, so that its readers, and
Isaac Lab's, open a shard as it is.

    /data              attrs: total, env_args (JSON: env_name, type, env_type, env_kwargs), handsight (JSON: `Facts`)
    /data/demo_<k>     attrs: num_samples, seed, success, handsight (JSON: who acted, what was drawn, ..., the CRC)
    /data/demo_<k>/*   the datasets of `COLUMNS` and `IMAGES`; every other observation group is obs/<group> (T, D)
    /mask/train|valid  names of the episodes of each split

T steps of one episode; row t is what was seen, what the teacher answered, what was done and what came of it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import HandsightError

FORMAT, VERSION = "handsight-rollouts", 1
ENVIRONMENT_TYPE = 2
"""Robomimic's number for environments behind Gym's interface; Isaac Lab writes the same."""
NEXT = "next_"
"""Before the name of a group: the observation after the step."""
MAX_DAMAGED = 0.001
"""Share of damaged shards beyond which reading stops."""


class DatasetError(HandsightError):
    """A shard or a data set that cannot be written or read: says which file, what was expected and what was found."""


class Stored(NamedTuple):
    """A dataset of an episode."""

    name: str
    dtype: str
    axes: str
    unit: str


COLUMNS = {
    "action": Stored("actions", "float32", "(T, A)", "[-1, 1], as executed"),
    "reward": Stored("rewards", "float32", "(T,)", "reward of the step"),
    "done": Stored("dones", "uint8", "(T,)", "1: the episode ended with this step"),
    "physics": Stored("states", "float64", "(T, D)", "time s, positions m and rad, velocities m/s and rad/s"),
    "mean": Stored("teacher_mean", "float32", "(T, A)", "[-1, 1], what the teacher would have done"),
    "std": Stored("teacher_std", "float32", "(T, A)", "the teacher's standard deviation, same unit"),
    "by_teacher": Stored("by_teacher", "uint8", "(T,)", "1: the teacher acted in this step, 0: the recorded policy"),
    "object": Stored("object_position", "float32", "(T, 3)", "m in the palm's frame"),
    "depth": Stored("obs/depth", "int16", "(T, H, W, 1)", "mm along the left eye's optical axis, 0 = no return"),
}
"""By the name that learners know. In memory `depth` is (T, 1, H, W)."""
EYES = ("left", "right")
IMAGES = {eye: Stored(f"obs/{eye}", "uint8", "(T, H, W, 3)", f"RGB of the {eye} eye") for eye in EYES}
"""In memory the group `stereo` (T, 2, 3, H, W)."""
FORMS = {stored.name: stored for stored in (*COLUMNS.values(), *IMAGES.values())}
"""What the schema says of each dataset, by its path."""
ROW_FLAGS = frozenset({"first", "valid", "success"})
"""Columns of a rollout that say where its episodes lie and how they end; a shard says so by its layout."""


@dataclass(frozen=True)
class Facts:
    """What all episodes of a shard have in common; JSON-able."""

    env_name: str
    """Name of the task, e.g. "grasp"."""
    signature: Mapping[str, Any]
    """`VecEnv.signature` of the environment: action space, observation parts, camera rig with its intrinsics."""
    env_config: Mapping[str, Any]
    """Configuration from which the environment was made."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Policy, teacher, git commit, package versions, hardware."""


@dataclass(frozen=True)
class Episode:
    """One episode, as it is written and read."""

    columns: Mapping[str, NDArray[Any]]
    """By the name that learners know, (T, ...)."""
    success: bool
    """Whether the task was done at its last step."""
    seed: int
    """Seed of the reset; with `facts["world"]`, the number of the environment, it says which reset it was."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able: `world`, `beta`, `policy_version`, `randomization`, `mount_from_eye`, ..."""

    @property
    def steps(self) -> int:
        """T, the steps of the episode."""
        return len(next(iter(self.columns.values())))

    @property
    def nbytes(self) -> int:
        """Bytes that its arrays take."""
        return sum(column.nbytes for column in self.columns.values())


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


def form_of(path: str) -> Stored:
    """What the schema says of a dataset: a group that it does not name is a vector."""
    return FORMS.get(path.replace("next_obs/", "obs/"), Stored(path, "float32", "(T, D)", ""))


def paths_of(column: str) -> list[str]:
    """The datasets of which a column is made."""
    if column in COLUMNS:
        return [COLUMNS[column].name]
    folder, group = "next_obs" if column.startswith(NEXT) else "obs", column.removeprefix(NEXT)
    return [f"{folder}/{part}" for part in (EYES if group == "stereo" else [group])]


def stored_form(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Columns (T, ...) of one episode as datasets by path: images (T, H, W, C), one for each eye; see `COLUMNS`."""
    datasets = {}
    for name, values in columns.items():
        paths = paths_of(name)
        parts = values.swapaxes(0, 1) if len(paths) > 1 else [values]
        for path, part in zip(paths, parts, strict=True):
            if part.ndim == 4:
                datasets[path] = _channels_last(part)
            else:
                datasets[path] = part.astype(COLUMNS[name].dtype, copy=False) if name in COLUMNS else part
    return datasets


def memory_form(datasets: list[NDArray[Any]]) -> NDArray[Any]:
    """A column (L, ...) again, from the datasets that `paths_of` names, each (L, ...)."""
    values = np.stack(datasets, axis=1) if len(datasets) > 1 else datasets[0]
    return np.moveaxis(values, -1, -3) if datasets[0].ndim == 4 else values


def _channels_last(images: NDArray[Any]) -> NDArray[Any]:
    """(T, C, H, W) to (T, H, W, C), channel by channel: numpy is four times as slow with C in its inner loop."""
    count, channels, height, width = images.shape
    copy = np.empty((count, height, width, channels), images.dtype)
    for channel in range(channels):
        copy[..., channel] = images[:, channel]
    return copy


def check_dataset(path: str, values: NDArray[Any], where: str) -> None:
    """Refuse what the schema does not allow.

    Raises:
        DatasetError: another dtype or number of axes than `COLUMNS` and `IMAGES` say, numbers that are not finite, or
            actions out of range.
    """
    expected = form_of(path)
    axes = expected.axes.count(",") + (not expected.axes.endswith(",)"))
    if values.dtype != expected.dtype or values.ndim != axes:
        found = f"{values.dtype} {values.shape}"
        raise DatasetError(f"{where}: {path}: expected {expected.dtype} {expected.axes}, found {found}")
    if values.dtype.kind == "f" and len(wrong := np.argwhere(~np.isfinite(values))):
        found = f"{values[tuple(wrong[0])]} in row {wrong[0][0]}, {len(wrong):,} such in all"
        raise DatasetError(f"{where}: {path}: expected finite numbers, found {found}")
    if path == "actions" and values.size and np.abs(values).max() > 1:
        raise DatasetError(f"{where}: actions: expected [-1, 1], found up to {np.abs(values).max():.3g}")


def checksum(datasets: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> int:
    """CRC-32 of an episode: every dataset by path, with its form, and its facts."""
    crc = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    for path in sorted(datasets):
        values = np.ascontiguousarray(datasets[path])
        crc = zlib.crc32(f"{path} {values.dtype.str} {values.shape}".encode(), crc)
        crc = zlib.crc32(values.reshape(-1).view(np.uint8).data, crc) if values.size else crc
    return crc
