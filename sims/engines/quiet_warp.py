"""Warp without a word: no banner when it starts, and no warning on a machine that has no NVIDIA driver."""

from __future__ import annotations

import ctypes
import os

import warp

LACKS_DRIVER = b"Warp CUDA warning: Could not find or load the NVIDIA CUDA driver"


def start() -> None:
    """Start Warp, once in a process. Where there is no driver its library says so on file descriptor 2, behind Python's
    back; all else that is written there meanwhile goes on to where it was meant for."""
    try:
        ctypes.CDLL("libcuda.so.1")
        warp.config.log_level = max(warp.config.log_level, warp.LOG_WARNING)
        return
    except OSError:
        warp.config.log_level = warp.LOG_ERROR
    meant, (heard, said) = os.dup(2), os.pipe()
    os.dup2(said, 2)
    os.close(said)
    try:
        warp.init()
    finally:
        os.dup2(meant, 2)
        lines = os.fdopen(heard, "rb").readlines()
        os.write(meant, b"".join(line for line in lines if not line.startswith(LACKS_DRIVER)))
        os.close(meant)


start()
