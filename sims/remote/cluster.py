"""`start_ray`: a Ray of our own, for this machine only, or an existing cluster by its address."""

from __future__ import annotations

import atexit
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import is_alive
from . import spares

LOOPBACK = "127.0.0.1"
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # as on those systems, bind to the loopback address only
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a simulator is given its GPU by name, so it must see all of them
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it copies the project for every process, and starts uv
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Read by Ray when it is imported."""
SYSTEM = {
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
    "worker_niceness": 0,  # Ray's 15 would let whatever else runs go before the simulators, for which the learner waits
}
STORE_BYTES = 2 * 2**30
"""Most shared memory for observations on their way; taken up only as it is used."""
QUIET = 40
"""Ray's level of logging: that of `logging.ERROR`."""
FOLDER = "handsight-ray-"
CLEANUP_SCRIPT = """
folder=$1
agents=$(cat /proc/$2/task/*/children)
read _
kill -9 $agents
for process in /proc/[0-9]*; do
    [ ${process#/proc/} != $$ ] && grep -qs default_worker $process/cmdline && grep -qsF "$folder" $process/cmdline &&
        kill -9 ${process#/proc/}
done
"""
"""Shell script that `_watch_over` leaves behind: $1 the folder, $2 the process of Ray's raylet."""
_folder: Path | None = None
_guard: subprocess.Popen | None = None
"""Waits for the end of this process; see `_watch_over`."""


class RayError(HandsightError):
    """Ray is missing, or cannot be started as it must be."""


def start_ray(address: str | None = None) -> None:
    """Start Ray, or do nothing where this was done before.

    Our own listens on the loopback address only, asks every caller for a random token that the child processes of this
    one inherit, shows no dashboard, and keeps its files in a private folder that goes when it stops. It stops with this
    process, however that ends.

    Args:
        address: of an existing cluster to join, "host:port"; its token is looked up where Ray does. None: our own.

    Raises:
        RayError: Ray is not installed, was started by someone else, or would listen to the network.
    """
    if importlib.util.find_spec("ray") is None:
        raise RayError("remote simulators need Ray, which is not installed: pip install 'handsight[distributed]'")
    started = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if started and (address is not None or _folder is not None):
        return
    if started:
        raise RayError("Ray runs already in this process: pass its address to join it, or call ray.shutdown() first")
    if address is None:
        _start_own()
    else:
        import ray

        ray.init(address=address, log_to_driver=False, logging_level=QUIET)


def _start_own() -> None:
    global _folder, _guard
    os.environ.update(SETTINGS | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
    _sweep()
    _folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
    import ray
    from ray._private import worker as internals

    atexit.register(stop_ray)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    context: Any = ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=min(STORE_BYTES, memory // 4),
        log_to_driver=False,
        logging_level=QUIET,
        _temp_dir=str(_folder / "ray"),  # below the private folder: Ray opens its own one to everybody
        _system_config=SYSTEM,
    )
    internals.print_to_stdstream = lambda *_, **__: None  # its essay on every process that dies
    node: Any = internals._global_node
    _guard = _watch_over(node.all_processes["raylet"][0].process.pid, _folder)
    host = context.address_info["node_ip_address"]
    if host != LOOPBACK:
        stop_ray()
        raise RayError(
            f"Ray would listen on {host}, expected {LOOPBACK} only: it was imported before start_ray(). "
            "Import ray later, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 and RAY_AUTH_MODE=token for the process."
        )


def stop_ray() -> None:
    """Stop our own Ray and remove its folder. May be called twice, and where Ray was never started."""
    global _folder, _guard
    if _folder is None:
        return
    import ray

    spares.forget()
    ray.shutdown()
    if _guard:
        _guard.communicate()
        _guard = None
    shutil.rmtree(_folder, ignore_errors=True)
    _folder = None


def _watch_over(raylet: int, folder: Path) -> subprocess.Popen:
    """A shell that waits for the end of this process and then of what would outlive it by a minute: Ray's agents, which
    try to tell a dead learner of their raylet's death, and workers that are just starting."""
    words = ["sh", "-c", CLEANUP_SCRIPT, "handsight-guard", str(folder), str(raylet)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def _sweep() -> None:
    """Remove the folders of processes that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        owner = folder.name.removeprefix(FOLDER).partition("-")[0]
        if not (owner.isdecimal() and is_alive(int(owner))):
            shutil.rmtree(folder, ignore_errors=True)
