"""Warp says nothing where there is no GPU, and nothing else is swallowed."""

import ast
import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from handsight.distill.runs import provenance

ROOT = Path(provenance.__file__).parents[2]


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def test_warp_is_begun_by_one_module():
    """Whoever imports it elsewhere may begin it first, and then it speaks."""
    sources = [path for room in provenance.ROOMS for path in (ROOT / room).rglob("*.py")]
    nodes = [(path.name, node) for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    found = {name for name, node in nodes if isinstance(node, ast.Import) and any(a.name == "warp" for a in node.names)}
    assert found == {"quiet_warp.py"}


@pytest.mark.skipif(has_driver(), reason="there is a GPU here, and Warp may say so")
def test_warp_begins_without_a_word_and_other_words_come_through():
    program = (
        "import os, handsight.sims.engines.quiet_warp as quiet\n"
        "quiet.warp.init = lambda: os.write(2, quiet.LACKS_DRIVER + b' ...\\nheard\\n')\nquiet.start()\n"
        "os.write(2, b'after\\n')\nprint(quiet.warp.get_devices())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\nafter\n" and "cpu" in done.stdout and "Warp" not in done.stdout
