"""Fixtures that the tests of distill/ share."""

import pytest

from handsight import sims

from .toy_env import ToyEnv


@pytest.fixture
def toy_sims(monkeypatch):
    """`sims.make` builds the toy environment; the fixture is the list of those built so far."""
    made: list[ToyEnv] = []

    def make(config, observe, num_envs, world_offset=0, device="cpu"):
        made.append(ToyEnv(observe, num_envs, world_offset))
        return made[-1]

    monkeypatch.setattr(sims, "make", make, raising=False)
    return made
