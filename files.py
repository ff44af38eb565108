"""Files and folders: written whole or not at all, and read within bounds.

What is written has its name once all of it is on the disk, and not before. What somebody else may have written is read
without leaving its folder, and takes no more memory than was agreed on.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import glob
import json
import math
import os
import re
import resource
import shutil
import socket
import time
import tomllib
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .errors import HandsightError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's numbers for a disk, a quota or a file that takes no more."""
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


def read_toml(path: Path, what: str, error: type[HandsightError] = FileError) -> dict[str, Any]:
    """The tree of a TOML file. what: it is, for messages, e.g. "study"; raises `error`: missing, or not TOML."""
    try:
        return tomllib.loads(read_text(path, error))
    except OSError as failure:
        raise error(f"{what} {path}: expected a TOML file, found {failure}") from failure
    except (tomllib.TOMLDecodeError, RecursionError) as failure:
        raise error(f"{what} {path} is not TOML: {failure}") from failure


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


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays to an npz file, compressed. Raises OSError."""
    with written(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """An array's header may not declare more than follows it: numpy makes room for all of it first."""
    with archive.open(member) as file:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, _, dtype = read(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename}: {dtype} {shape} in {member.file_size:,} bytes")


@contextmanager
def explained(where: Path | str, error: type[HandsightError] = FileError) -> Iterator[None]:
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


# -- written whole -------------------------------------------------------------------------------------------------


def write(path: Path, content: str | bytes) -> None:
    """Write a text (UTF-8, as it is) or bytes; folders above are made. Raises OSError."""
    with written(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Write JSON for people and programs. default: says JSON for what has none. Raises OSError or TypeError."""
    write(path, json.dumps(content, indent=2, default=default) + "\n")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file or folder, written whole: the block makes it at the place that it is given.

    When the block is left it is on the disk under the name `path`, instead of an older one; nothing of it is left if
    the block fails. A device or pipe is written to directly.

    Raises:
        OSError: it cannot be written; names `path`. A full disk is one, whatever library met it and whatever it said.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, glob.escape(path.name))
    draft = draft_of(path)
    try:
        yield draft
        put_in_place(draft, path)
    except BaseException as failure:
        full = _full_disk(failure)
        discard(draft)
        if full is None:
            raise
        raise OSError(
            full, f"{os.strerror(full)}, while this was written; nothing of it is kept", str(path)
        ) from failure


def _full_disk(failure: BaseException | None) -> int | None:
    """The system's number for a disk or quota that is full, if that is behind a failure: HDF5 and safetensors tell of
    it in their messages only, and what fails next while a file is closed hides the first one."""
    while failure is not None:
        for number in FULL:
            if getattr(failure, "errno", None) == number or os.strerror(number) in str(failure):
                return number
        failure = failure.__context__
    return None


def is_writable(path: Path) -> bool:
    """Whether a file or folder of this name can be made or replaced, as far as the system tells beforehand."""
    first = path.absolute().parent if path.is_file() else path.absolute()
    there = next(one for one in (first, *first.parents) if one.exists())
    return os.access(there, os.W_OK) and (there.is_dir() or there == first)


def check_writable(path: Path) -> None:
    """Ask before long work whether its result can be written. Raises FileError."""
    if not is_writable(path):
        raise FileError(f"{path} cannot be written; expected a place that can be: give another --out")


def draft_of(path: Path) -> Path:
    """A name beside `path` for a draft of it, hidden and of nobody else; it tells `sweep` who writes it."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def put_in_place(draft: Path, path: Path) -> None:
    """Bring a finished draft, a file or a folder, to the disk and give it its name. Raises OSError.

    A file is replaced in one step. A folder cannot be: if killed between two, the older one is what `standing` finds.
    """
    _flush(draft)
    older = _previous(path)
    if path.exists() and (path.is_dir() or draft.is_dir()):
        discard(older)
        path.rename(older)
    draft.replace(path)
    _flush_one(path.parent)
    discard(older)


def standing(path: Path) -> Path:
    """Where the folder of this name can be read: its older one if a writer was killed while it was replaced."""
    return _previous(path) if not path.exists() and _previous(path).is_dir() else path


def listed(folder: Path, pattern: str) -> set[Path]:
    """What has a name of this pattern in a folder, `standing` ones too."""
    older = {path.name[1:].removesuffix(".previous") for path in folder.glob(f".{pattern}.previous")}
    return {*folder.glob(pattern), *(folder / name for name in older)}


def remove(path: Path) -> None:
    """Delete a file or folder: its name is gone in one step, then what it holds. None there is no error."""
    discard(_previous(path))
    grave = draft_of(path)
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    discard(grave)


def discard(path: Path) -> None:
    """Delete a draft, file or folder, as far as it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path, pattern: str) -> list[Path]:
    """Remove the drafts of names of this pattern that killed writers of this machine left; returns them."""
    owner = re.compile(rf"\..+\.(?:{re.escape(socket.gethostname())}-)?(\d+)(?:-[0-9a-f]{{8}})?\.tmp")
    owners = {path: owner.fullmatch(path.name) for path in folder.glob(f".{pattern}.*.tmp")}
    left = sorted(path for path, found in owners.items() if found and not is_alive(int(found[1])))
    for path in left:
        discard(path)
    return left


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def memory_limits(proc: Path = Path("/proc/self"), cgroups: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes that this process may take by the limits that are set: of each control group (version 1 or 2) that it is
    in, its container's among them; and what is left of RLIMIT_AS and RLIMIT_DATA. Empty where there are none.

    proc, cgroups: where the system tells of the process and of control groups.
    """
    found = []
    for line in _lines(proc / "cgroup"):
        _, controllers, place = line.split(":", 2)
        kind, name = ("memory", "memory.limit_in_bytes") if controllers else (".", "memory.max")
        if not controllers or "memory" in controllers.split(","):
            inside = cgroups / kind / place.lstrip("/")  # in a container often a place of the host's, not to be seen
            above = [one for one in (inside, *inside.parents) if one.is_relative_to(cgroups / kind)]
            found += [int(text) for one in above for text in _lines(one / name) if text.isdecimal()]
    taken = {line.partition(":")[0]: line.split()[1] for line in _lines(proc / "status") if line.endswith(" kB")}
    for limit, what in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        found += [max(0, most - 1024 * int(taken.get(what, 0)))] if most != resource.RLIM_INFINITY else []
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


@contextmanager
def owned(folder: Path, error: type[HandsightError] = FileError) -> Iterator[None]:
    """Be the only process that works in a folder, which is made; the system ends the ownership of a killed one.

    Raises:
        HandsightError: as `error`; another process owns it, with its machine, number and start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".owner").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise error(f"{folder}: another process is at work in this folder: {file.read(1000).strip()}") from None
        file.truncate(0)
        file.write(f"{socket.gethostname()}, process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def is_owned(folder: Path) -> bool:
    """Whether another process is at work in a folder, as `owned` has it."""
    try:
        with (folder / ".owner").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _previous(path: Path) -> Path:
    """Where an older folder of the same name waits while its successor takes its place."""
    return path.with_name(f".{path.name}.previous")


def _flush(path: Path) -> None:
    """Bring a file, or a folder with all that is in it, to the disk."""
    for place in (*path.rglob("*"), path):
        _flush_one(place)


def _flush_one(path: Path) -> None:
    """A rename is only on the disk once the folder around it is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
