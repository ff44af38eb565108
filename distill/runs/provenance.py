"""Where a result comes from: source version, packages, machine, command line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ... import __version__, plugins

_PACKAGES = (
    *("torch", "lightning", "tensordict", "timm", "kornia"),
    *("mujoco", "mujoco-warp", "warp-lang", "numpy", "scipy"),
)
ROOMS = ("policies", "sims", "teachers", "students", "datasets", "distill")
"""Folders of the package's modules."""


def provenance() -> dict[str, Any]:
    """JSON-able facts about this process: {"git", "versions", "hardware", "command", "started"}."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": git_commit(Path(__file__).resolve().parents[2]),
        "versions": versions(),
        "hardware": hardware(),
    }


def git_commit(checkout: Path) -> dict[str, Any] | None:
    """{"commit": 40 hex digits, "dirty": whether tracked or new files differ from it}; None outside a checkout."""
    try:
        top = _git(checkout, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != checkout:  # installed somewhere inside another project's repository
            return None
        return {"commit": _git(checkout, "rev-parse", "HEAD"), "dirty": bool(_git(checkout, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Python, Handsight and the packages that results depend on."""
    found = {"python": platform.python_version(), "handsight": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def sources_digest() -> str:
    """sha256 of every module of the package, with the packages' versions: what an evaluation's figures depend on beside
    its checkpoints and settings."""
    root = Path(__file__).resolve().parents[2]
    own = [Path(str(sys.modules[name].__file__)) for name in plugins.loaded()]
    sources = [*root.glob("*.py"), *(source for room in ROOMS for source in (root / room).rglob("*.py"))]
    named = (f"{source.relative_to(root)} ".encode() + source.read_bytes() for source in sorted(sources))
    return f"{hashlib.sha256(b''.join([*named, *(one.read_bytes() for one in own)])).hexdigest()} {versions()}"


def hardware() -> dict[str, Any]:
    """{"system", "cpu", "cores": usable by this process, "memory_gib", "gpus": names}."""
    import torch  # three seconds, which whoever only reads a run does without

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gib": round(pages / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
