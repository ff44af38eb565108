"""That large arrays are not fetched from the kernel again and again; in processes of their own: it is not undone."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from handsight.distill.training.allocator import keep_freed_memory

if {keep}:
    assert keep_freed_memory()
for _ in range(5):
    np.ones(8 * 2**20)  # 64 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(8 * 2**20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Pages that the kernel had to hand out for the last array."""
    return int(subprocess.check_output([sys.executable, "-c", PROGRAM.format(keep=keep)], text=True).split()[-1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_serves_the_next_array():
    assert faults(keep=False) >= 32  # the least that 64 MiB can be made of: huge pages of 2 MiB
    assert faults(keep=True) < 8
