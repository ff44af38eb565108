"""Files that somebody else may have written, read within bounds: nothing outside, no more memory than was agreed on."""

from __future__ import annotations

import csv
import json
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .errors import HandsightError

MOST_TEXT, MOST_ARRAYS = 64 * 2**20, 2**30
"""Bytes of a text file, and of all arrays in an npz file once unpacked; ours take less than a tenth of that."""


class FileError(HandsightError):
    """A file that is not what it should be, or leads out of the folder that it came in."""


def read_text(path: Path, error: type[HandsightError] = FileError) -> str:
    """A text file. Raises OSError, or `error` if it is too large or no text."""
    with path.open("rb") as file:
        raw = file.read(MOST_TEXT + 1)
    if len(raw) > MOST_TEXT:
        raise error(f"{path}: expected at most {MOST_TEXT:,} bytes, found more")
    try:
        return raw.decode()
    except UnicodeDecodeError as wrong:
        raise error(f"{path}: expected text, found {wrong}") from wrong


def read_json(path: Path, error: type[HandsightError] = FileError) -> Any:
    """What a JSON file holds. Raises OSError, or `error` if it is too large, too deep, or no JSON."""
    try:
        return json.loads(read_text(path, error))
    except (ValueError, RecursionError) as wrong:
        raise error(f"{path}: expected a JSON file, found {wrong}") from wrong


def read_arrays(path: Path, error: type[HandsightError] = FileError) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by name, none of them of Python objects.

    Raises:
        OSError: no such file.
        HandsightError: as `error`; no npz file, or it declares more than it holds or than may be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MOST_ARRAYS:
                raise ValueError(f"more than {MOST_ARRAYS:,} bytes of arrays")
            for member in members:
                _check_array(archive, member)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, KeyError, EOFError, RecursionError, zipfile.BadZipFile, NotImplementedError) as wrong:
        raise error(f"{path}: expected arrays (npz), found {wrong}") from wrong


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """An array's header may not declare more than follows it: numpy makes room for all of it first."""
    with archive.open(member) as file:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, _, dtype = read(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename}: {dtype} {shape} in {member.file_size:,} bytes")


@contextmanager
def explained(where: Path, error: type[HandsightError] = FileError) -> Iterator[None]:
    """Whatever fails inside, because of what an artefact holds, is an `error` that names it."""
    try:
        yield
    except (csv.Error, AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError) as wrong:
        raise error(f"{where} is not what this version writes: {type(wrong).__name__}: {wrong}") from wrong


def check_links(folder: Path, error: type[HandsightError] = FileError) -> None:
    """Raise `error` if a link anywhere in the folder leads out of it."""
    root = folder.resolve()
    for place, folders, files in os.walk(root):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise error(f"{path} leads out of {folder}, to {path.resolve()}; expected everything in its folder")


def inside(folder: Path, name: str | Path, error: type[HandsightError] = FileError) -> Path:
    """The place in a folder that a file names; raises `error` where that is not in the folder."""
    path = Path(folder, name)
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise error(f"{folder}: {str(name)!r} leads out of it; expected a place inside")
    return path
