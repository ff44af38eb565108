"""Checkpoints that are whole or not there: a folder `NAME.ckpt/` of

    tensors.safetensors   every array, under the path at which it stood in the tree
    tree.json             everything else, typed (integer keys, tuples and dtypes come back as they were)
    manifest.json         format version, size and sha256 of the two files, and a digest of itself

It is written beside its final place, flushed to disk and renamed, so a name that ends in `.ckpt` is never half-written.
Nothing in it can execute code when it is read, nothing outside its folder is read for it, and it takes no more memory
than its files do. The sums prove that no byte was damaged since it was written, not who wrote it: whoever alters a
checkpoint on purpose can write new sums.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from ...errors import HandsightError
from ...files import listed, read_json, standing, sweep, written
from ...files import remove as remove
from .tree import pack, unpack

FORMAT = "handsight-checkpoint"
VERSION = 1
SUFFIX = ".ckpt"
TENSORS, TREE, MANIFEST = "tensors.safetensors", "tree.json", "manifest.json"
PERIODIC = f"iteration_*{SUFFIX}"
"""Names of the checkpoints from which a run is gone on with."""
WEIGHTS = "policy/weights/"
"""Where a policy's weights stand in the tree."""
_MOST_MANIFEST = 1 << 16


class CheckpointError(HandsightError):
    """A checkpoint that is missing, incomplete, altered or of another format."""


def save(path: Path | str, tree: Mapping[str, Any]) -> None:
    """Write the tree to the folder `path`, replacing an older checkpoint of that name.

    Args:
        path: the folder; its name ends in `.ckpt`.
        tree: nested dicts (any plain keys), lists, tuples, None, bool, int, float, str, bytes, Path, numpy and torch
            arrays, scalars and dtypes; they come back with the same types (a dict subclass comes back as a dict,
            a tensor on the CPU).

    Raises:
        CheckpointError: the name or a value cannot be saved, or a weight of its policy is NaN or infinite; nothing was
            written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise CheckpointError(f"checkpoint {path}: expected a name that ends in {SUFFIX}, e.g. {path.name}{SUFFIX}")
    try:
        body, tensors = pack(tree)
    except TypeError as error:
        raise CheckpointError(f"checkpoint {path} cannot be saved: {error}") from error
    _check_finite(path, tensors)
    sweep(path.parent, f"*{SUFFIX}")
    with written(path) as draft:
        draft.mkdir()
        safetensors.torch.save_file(tensors, draft / TENSORS)
        (draft / TREE).write_text(json.dumps(body))
        files = {name: _facts(draft / name) for name in (TENSORS, TREE)}
        (draft / MANIFEST).write_bytes(_manifest_text(files, time.time_ns()))


def load(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint back after checking every byte of it.

    Raises:
        CheckpointError: names the file, what was expected, what was found, and the folder's other complete checkpoints;
            one of a policy with NaN or infinite weights is no more complete than a damaged one.
    """
    path = Path(path)
    for _ in range(10):
        folder = standing(path)
        inode = folder.stat().st_ino if folder.is_dir() else None
        try:
            return _read(folder)
        except CheckpointError as error:
            again = standing(path)
            if not again.is_dir() or again.stat().st_ino == inode:
                others = [other.name for other in complete(path.parent) if other != path]
                raise CheckpointError(
                    f"{error}; other complete checkpoints in {path.parent}: {', '.join(others) or 'none'}"
                ) from error
            # Replaced by its writer while we read it (best.ckpt of a run that still trains): read the new one.
    raise CheckpointError(f"checkpoint {path} was replaced again and again while it was read")


def verify(path: Path | str) -> None:
    """Check every byte of a checkpoint without building its tree.

    Raises:
        CheckpointError: names the file, what was expected and what was found.
    """
    _check(standing(Path(path)))


def digest(path: Path | str) -> str:
    """sha256 of a checkpoint's manifest, which holds the sums of all its files; equal for equal bytes."""
    return hashlib.sha256((standing(Path(path)) / MANIFEST).read_bytes()).hexdigest()


def complete(folder: Path | str, pattern: str = f"*{SUFFIX}") -> list[Path]:
    """Checkpoints in the folder whose every byte is as it was written, oldest first (see `latest`)."""
    return [path for path in _ordered(Path(folder), pattern) if not _damage(path)]


def latest(folder: Path | str, pattern: str = f"*{SUFFIX}") -> Path:
    """The newest complete checkpoint in the folder; damaged ones are passed over with a warning.

    That is the one with the highest number in its name, e.g. iteration_000009.ckpt, whatever the clock said; names
    without a number come after all with one, by their time of saving.

    Args:
        folder: where the checkpoints lie.
        pattern: which of them may be taken, e.g. "iteration_*.ckpt" to leave out best.ckpt.

    Raises:
        CheckpointError: there is none; the message says what there is instead.
    """
    folder = Path(folder)
    damaged = []
    for path in reversed(_ordered(folder, pattern)):
        error = _damage(path)
        if not error:
            return path
        damaged.append(error)
        warnings.warn(f"passed over a damaged checkpoint: {error}", stacklevel=2)
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else None
    found = "no such folder" if there is None else f"the folder holds: {', '.join(there) or 'nothing'}"
    raise CheckpointError("; ".join([f"no complete checkpoint {pattern} in {folder}", found, *damaged]))


def keep_last(folder: Path | str, count: int, pattern: str = f"*{SUFFIX}", written: Path | None = None) -> list[Path]:
    """Remove the oldest checkpoints that match until `count` complete ones are left; returns what was removed.

    Damaged ones do not count and are left for their owner to look at; neither the newest complete one nor that which
    was just `written` is ever removed.
    """
    whole = complete(folder, pattern)
    removed = [path for path in whole[: max(0, len(whole) - max(1, count))] if path != written]
    for path in removed:
        remove(path)
    return removed


def rng_state() -> dict[str, Any]:
    """The state of every global random stream: torch on the CPU and on each GPU, numpy and Python."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": np.random.get_state(legacy=False),
        "python": random.getstate(),
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the global random streams back to what `rng_state` returned. GPUs that are not here are left out."""
    torch.set_rng_state(state["torch"])
    for index, stream in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(stream, index)
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])


def _facts(path: Path) -> dict[str, Any]:
    """{"bytes", "sha256"} of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _manifest_text(files: dict[str, Any], saved_ns: int) -> bytes:
    facts = {"format": FORMAT, "version": VERSION, "saved_ns": saved_ns, "files": files}
    seal = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return json.dumps({**facts, "seal": seal}, indent=1).encode()


def _ordered(folder: Path, pattern: str) -> list[Path]:
    """Checkpoints by name, oldest first; among equal numbers, those whose manifest cannot be read come first."""
    return sorted(listed(folder, pattern), key=lambda path: (_number(path), _saved_ns(path), path.name))


def _number(path: Path) -> float:
    """The last number in a checkpoint's name; infinite if it has none."""
    return float((re.findall(r"\d+", path.stem) or ["inf"])[-1])


def _saved_ns(path: Path) -> int:
    try:
        return _manifest(standing(path))["saved_ns"]
    except CheckpointError:
        return -1


def _damage(path: Path) -> str:
    """What `verify` says of a checkpoint; nothing of a complete one."""
    try:
        verify(path)
    except CheckpointError as error:
        return str(error)
    return ""


def _read(folder: Path) -> dict[str, Any]:
    _check(folder)
    node = read_json(folder / TREE, CheckpointError)
    try:
        mapped = safetensors.torch.load_file(folder / TENSORS)  # read-only views of a file that may be pruned any time
        tree = unpack(node, {name: tensor.clone() for name, tensor in mapped.items()})
    except (SafetensorError, AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} holds what was never saved: {type(error).__name__}: {error}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{folder / TREE}: expected a tree of names, found a {type(tree).__name__}")
    return tree


def _check_finite(where: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A policy that lost itself is not kept, and not taken for one that does badly."""
    lost = [name for name, one in tensors.items() if name.startswith(WEIGHTS) and not one.isfinite().all()]
    if lost:
        raise CheckpointError(f"checkpoint {where}: expected finite weights, found NaN or infinite ones in {lost[0]}")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise CheckpointError(f"checkpoint {folder}: expected a folder with {MANIFEST}, found {found}")
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "an empty folder"
        raise CheckpointError(f"{path} is missing: expected {TENSORS}, {TREE} and {MANIFEST}, found {there}")
    with path.open("rb") as file:
        raw = file.read(_MOST_MANIFEST)
    try:
        facts = json.loads(raw)
        form, version = facts["format"], facts["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a JSON manifest, found {len(raw)} bytes that are none") from error
    if form != FORMAT or version != VERSION:
        raise CheckpointError(f"{path}: expected format {FORMAT} version {VERSION}, found {form} version {version}")
    try:
        sealed = _manifest_text(facts["files"], facts["saved_ns"])
    except KeyError:
        sealed = b""
    if raw != sealed:
        raise CheckpointError(f"{path} was altered: expected the seal {facts.get('seal')} to fit its content")
    files = facts["files"]
    if not isinstance(files, dict) or set(files) != {TENSORS, TREE}:
        raise CheckpointError(f"{path}: expected the files {TENSORS} and {TREE}, found {files}")
    sized = all(isinstance(one, dict) and isinstance(one.get("bytes"), int) for one in files.values())
    if not isinstance(facts["saved_ns"], int) or not sized or any("sha256" not in one for one in files.values()):
        raise CheckpointError(f"{path}: expected a time of saving, and size and sum of each file")
    return facts


def _check(folder: Path) -> None:
    """Compare both files with the manifest, and look at the weights of a policy."""
    for name, expected in _manifest(folder)["files"].items():
        path = folder / name
        if path.is_symlink():
            raise CheckpointError(f"{path}: expected a file, found a link to {os.readlink(path)}")
        if not path.is_file():
            there = ", ".join(sorted(entry.name for entry in folder.iterdir()))
            raise CheckpointError(f"{path} is missing: expected {expected['bytes']:,} bytes, found only {there}")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{path} was cut or extended: expected {expected['bytes']:,} bytes, found {size:,}")
        found = _facts(path)["sha256"]
        if found != expected["sha256"]:
            raise CheckpointError(f"{path} was altered: expected sha256 {expected['sha256']}, found {found}")
    try:
        with safe_open(folder / TENSORS, "pt") as file:
            _check_finite(folder, {name: file.get_tensor(name) for name in file.keys() if name.startswith(WEIGHTS)})  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{folder / TENSORS} holds what was never saved: {error}") from error
