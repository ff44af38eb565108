"""How the C library treats freed memory."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> bool:
    """Let the process keep what it frees for its next tensors; whether the C library is one that can be told.

    By default glibc maps each block above 32 MiB on its own and gives it back when it is freed, so that every gradient
    step asks the kernel for its activations again, a page at a time. The process then stays as large as it once was.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    never_mapped, never_trimmed = (-3, 2**30), (-1, -1)  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h
    return mallopt is not None and all(mallopt(name, value) for name, value in (never_mapped, never_trimmed))
