"""Fixtures that the tests of hostile artefacts share."""

import pytest


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A program that leaves a trace, as if it were the interpreter of Isaac Gym: returns (program, trace)."""
    monkeypatch.delenv("HANDSIGHT_ISAAC_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    program, trace = tmp_path / "python3.8", tmp_path / "it-ran"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    return program, trace
