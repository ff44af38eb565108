"""The file of a shard: HDF5 behind a header that seals it.

HDF5 leaves the first bytes of a file (its user block) to the application, and every reader of HDF5 skips them. There
stands one line of JSON with the sizes and the sha256 of all that follows, and a digest of the line itself, so that a
flipped bit anywhere, or a cut, is noticed before HDF5 is asked to make sense of it. The seal proves that nothing was
damaged, not who wrote it: whatever of HDF5 leads out of the sealed bytes, or to more than these can hold, is refused
when a shard is opened.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from .schema import FORMAT, VERSION, DatasetError, Facts, check_dataset, checksum, memory_form, paths_of

HEADER = 1024
"""Bytes of the user block."""
SUFFIX = ".hdf5"
PATTERN = f"*_[0-9]*{SUFFIX}"
PACKED = 100
"""To one: LZF packs 88 bytes into one at most."""
DEEPEST = 8
"""Groups in groups; ours are three."""


def seal(path: Path, counts: Mapping[str, int]) -> dict[str, Any]:
    """Write the header of a finished HDF5 file; returns the header.

    Args:
        path: of a file with an empty user block.
        counts: what the header says beside size and digest: episodes, samples.
    """
    with path.open("r+b") as file:
        file.seek(HEADER)
        facts = {"format": FORMAT, "version": VERSION, "bytes": path.stat().st_size, **counts}
        facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        file.seek(0)
        file.write(_header_text(facts))
    return facts


def read_header(path: Path) -> dict[str, Any]:
    """The header of a shard.

    Raises:
        DatasetError: none there, altered, of another version, or the file was cut.
    """
    try:
        with path.open("rb") as file:
            raw, size = file.read(HEADER), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        there = ", ".join(sorted(p.name for p in path.parent.glob(PATTERN))[:20]) or "none"
        raise DatasetError(f"shard {path} is missing; available in that folder: {there}") from error
    try:
        facts = json.loads(raw)["header"]
        form, version, expected = facts["format"], facts["version"], facts["bytes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = "a file of another kind, or one that was cut or altered"
        raise DatasetError(f"shard {path}: expected {HEADER} bytes of header of {FORMAT}, found {what}") from error
    if raw != _header_text(facts):
        raise DatasetError(f"shard {path}: its header was altered; expected one that fits its digest")
    if (form, version) != (FORMAT, VERSION):
        raise DatasetError(f"shard {path}: expected {FORMAT} version {VERSION}, found {form} version {version}")
    if size != expected:
        raise DatasetError(f"shard {path} was cut or extended: expected {expected:,} bytes, found {size:,}")
    return facts


def verify(path: Path) -> dict[str, Any]:
    """Check every byte of a shard; returns its header.

    Raises:
        DatasetError: names the file, what was expected and what was found.
    """
    facts = read_header(path)
    with path.open("rb") as file:
        file.seek(HEADER)
        found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if found != facts["sha256"]:
        raise DatasetError(f"shard {path} was altered: expected sha256 {facts['sha256']}, found {found}")
    return facts


def _header_text(facts: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    text = json.dumps({"header": facts, "seal": digest}).encode()
    if len(text) >= HEADER:
        raise DatasetError(f"shard header of {len(text)} bytes: expected less than {HEADER}")
    return text.ljust(HEADER - 1) + b"\n"


class Shard:
    """A finished shard, open for reading."""

    def __init__(self, path: Path) -> None:
        """Open it; `verify` says beforehand whether it is whole.

        Raises:
            DatasetError: its header is not that of a whole file, or HDF5 cannot read it.
        """
        self.path, self.header = path, read_header(path)
        try:
            self.file: Any = h5py.File(path, "r")
            lengths = lengths_of(self.file, path)
            data = self.file["data"]
            self.names: list[str] = sorted(data.keys(), key=lambda name: int(name.removeprefix("demo_")))
            self.steps = {name: int(data[name].attrs["num_samples"]) for name in self.names}
            stored = json.loads(data.attrs["handsight"])
            self.facts, self.extra = Facts(**stored["facts"]), dict(stored["extra"])
        except (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise DatasetError(f"shard {path}: HDF5 cannot read it: {error}") from error
        for name, steps in self.steps.items():
            if lengths.get(name) != {steps}:
                raise DatasetError(
                    f"shard {path}: {name}: expected {steps} rows, found {sorted(lengths.get(name, []))}"
                )
        self._episode_facts: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """Close the file; what was read stays."""
        self.file.close()

    def episode_facts(self, name: str) -> dict[str, Any]:
        """What was noted of an episode: seed, success, world (number of the environment), randomization, ..."""
        if name not in self._episode_facts:
            attributes = self.file["data"][name].attrs
            own = {key: attributes[key].item() for key in ("num_samples", "seed", "success")}
            self._episode_facts[name] = own | json.loads(attributes["handsight"])
        return dict(self._episode_facts[name])

    def datasets(self, name: str) -> list[str]:
        """Paths of an episode's datasets, e.g. "obs/left"."""
        return list(_datasets(self.file["data"][name]))

    def read(self, name: str, path: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Rows of one dataset of one episode.

        Raises:
            DatasetError: no such dataset, its bytes are damaged, or they are not what the schema allows.
        """
        try:
            values = self.file[f"data/{name}/{path}"][rows]
        except KeyError as error:
            there = ", ".join(self.datasets(name))
            raise DatasetError(f"shard {self.path}: {name} has no {path}; available: {there}") from error
        except (OSError, RuntimeError) as error:
            raise DatasetError(f"shard {self.path}: {name}/{path} is damaged: {error}") from error
        check_dataset(path, values, f"shard {self.path}: {name}")
        return values

    def column(self, name: str, column: str, rows: slice = slice(None)) -> NDArray[Any]:
        """A column of one episode as learners know it, (L, ...).

        Raises:
            DatasetError: the shard does not hold it, or it is damaged.
        """
        return memory_form([self.read(name, path, rows) for path in paths_of(column)])

    def check_episode(self, name: str) -> None:
        """Compare an episode with its CRC.

        Raises:
            DatasetError: it differs.
        """
        where = f"shard {self.path}: {name}"
        try:
            facts = self.episode_facts(name)
            expected = facts.pop("crc32")
            values = {path: self.read(name, path) for path in self.datasets(name)}
        except (KeyError, ValueError, OSError, RuntimeError) as error:
            raise DatasetError(f"{where} is damaged: {error}") from error
        found = checksum(values, facts)
        if found != expected:
            raise DatasetError(f"{where} is damaged: expected CRC-32 {expected:08x}, found {found:08x}")

    def split(self, name: str) -> list[str]:
        """Names of the episodes of "train" or "valid".

        Raises:
            DatasetError: one of them is not there.
        """
        found = [word.decode() for word in self.file["mask"][name][:].tolist()] if name in self.file["mask"] else []
        missing = sorted(set(found) - set(self.names))
        if missing or len(set(found)) < len(found):
            what = f"names {', '.join(missing)}" if missing else "names an episode twice"
            raise DatasetError(f"shard {self.path}: split {name!r} {what}; available: {', '.join(self.names)}")
        return found


def lengths_of(file: Any, path: Path, packed: int = PACKED, foreign: bool = False) -> dict[str, set[int]]:
    """Rows of the datasets of each episode, after a look at every object in the file, by HDF5's own interface: h5py's
    takes ten times as long.

    Args:
        file: open HDF5 file.
        path: of it.
        packed: bytes that one stored byte may stand for.
        foreign: whether it may hold text and other objects, which are not read.

    Raises:
        DatasetError: something leads out of the file, to Python, in a circle, or to more than the file can hold.
    """
    lengths: dict[str, set[int]] = {}
    seen, room = {h5o.get_info(file.id).addr}, path.stat().st_size

    def look(path: bytes, link: Any) -> str | None:
        """What is wrong, at which HDF5 stops: it does not let errors through."""
        nonlocal room
        name = path.decode(errors="replace")
        if link.type != h5l.TYPE_HARD:
            return f"{name}: expected data in this file, found a soft or external link"
        if link.u in seen or name.count("/") > DEEPEST:
            return f"{name}: expected each object at one place, found it again, or too deep"
        seen.add(link.u)
        try:
            item = h5o.open(file.id, path)
            if isinstance(item, h5d.DatasetID):
                room -= item.get_storage_size()
                lengths.setdefault(name.split("/")[1] if name.startswith("data/") else "", set()).update(item.shape[:1])
                wrong = _wrong_storage(item, packed, foreign) or ("more than the file holds" if room < 0 else None)
            else:
                wrong = None if isinstance(item, h5g.GroupID) else type(item).__name__
        except (LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            wrong = str(error)
        return wrong and f"{name}: expected groups and numbers in this file, found {wrong}"

    wrong = file.id.links.visit(look, info=True)
    if wrong:
        raise DatasetError(f"shard {path}: {wrong}")
    return lengths


def _wrong_storage(item: Any, packed: int, foreign: bool) -> str | None:
    """Why a dataset is not plain data in its own file; None if it is."""
    form, kind, stored = item.get_create_plist(), item.dtype, item.get_storage_size()
    if form.get_layout() == h5d.VIRTUAL or form.get_external_count():
        return "data outside of it"
    if kind.kind not in "biufS":
        return None if foreign else "references or objects"
    too_large = math.prod(item.shape) * kind.itemsize > packed * stored
    return f"{item.shape} {kind} in {stored:,} bytes" if too_large else None


def _datasets(group: Any, prefix: str = "") -> Iterator[str]:
    for key, item in group.items():
        if isinstance(item, h5py.Group):
            yield from _datasets(item, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}"


def shards_in(path: Path) -> list[Path]:
    """The shards of a folder, by name, or the one at `path`; a folder with a LeRobotDataset is one.

    Raises:
        DatasetError: none there.
    """
    alone = path.is_file() or (path / "meta/info.json").is_file()
    found = [path] if alone else sorted(path.glob(PATTERN)) or sorted([*path.glob("*.hdf5"), *path.glob("*.h5")])
    if not found:
        what = "holds no shards" if path.is_dir() else "does not exist"
        raise DatasetError(
            f"data set {path} {what}: expected files like shard_000000{SUFFIX}, of `handsight record` or others"
        )
    return found
