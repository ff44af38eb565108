"""How the C library treats freed memory: kept, so that the next gradient step need not ask the kernel for it again."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of the settings in glibc's malloc.h; mallopt(3) explains them."""
NEVER, LARGEST = -1, 2**30
"""Never give the top of the heap back; bytes from which a block is mapped on its own."""


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, for its next tensors.

    By default glibc maps each block above 32 MiB on its own and gives it back when it is freed, so that every gradient
    step asks the kernel for its activations again, a page at a time. The process then stays as large as it once was.

    Returns:
        whether the C library is one that can be told; others are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(setting, value) for setting, value in ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, NEVER))
    )
