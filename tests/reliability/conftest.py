"""Fixtures that these tests share."""

import pytest
import torch

from handsight import sims

from . import toy_training


@pytest.fixture(scope="module")
def toy():
    """Toy worlds and one thread, here as in other processes that train: sums depend on the number of threads."""
    make, threads = sims.make, torch.get_num_threads()
    toy_training.use_toy()
    yield
    sims.make = make
    torch.set_num_threads(threads)


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A program that leaves a trace, as if it were the interpreter of Isaac Gym: returns (program, trace)."""
    monkeypatch.delenv("HANDSIGHT_ISAAC_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    program, trace = tmp_path / "python3.8", tmp_path / "it-ran"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    return program, trace
