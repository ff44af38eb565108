"""The tutorials' blocks, pasted into a shell in an empty folder, at tiny sizes. Minutes each: `make learn`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..sims.robots.tiny_robot import write_robot
from .command_lines import FENCE, ROOT, shell_blocks
from .tiny import tiny

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
SMALL_PYTHON = ("deploy", "task")
"""Tutorials whose Python takes seconds as it is."""


def pasted(folder: Path, text: str) -> str:
    """What a shell that knows `handsight` at tiny sizes only says to the text; the text must not fail."""
    programs = folder / ".programs"
    programs.mkdir()
    command = programs / "handsight"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "tiny.py"}" "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-e"], input=text, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_can_be_followed_from_an_empty_folder(tutorial, tmp_path):
    if tutorial.stem == "robot":
        write_robot(tmp_path).unlink()  # arm.xml and hand.xml: what the reader brings
    text = tutorial.read_text()
    said = pasted(tmp_path, "\n".join(shell_blocks(text)))
    assert said.count("+ handsight") >= 3
    if tutorial.stem in SMALL_PYTHON:
        program = "\n".join(block for language, block in FENCE.findall(text) if language == "python")
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("asked", "done"),
    [
        ("train-teacher depth --iterations 800", "train-teacher depth --num-envs 8 --iterations 2"),
        ("train-teacher --resume RUN --iterations 260", "train-teacher --resume RUN --iterations 3"),
        ("train-student --data data", "train-student --data data --iterations 2"),
        ("inspect data", "inspect data"),
        ("study FILE", ""),
    ],
)
def test_commands_are_made_tiny_whatever_size_they_ask_for(asked, done):
    assert tiny(asked.split())[: len(done.split())] == done.split()
