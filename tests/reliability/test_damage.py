"""A changed or missing byte anywhere in a checkpoint is noticed."""

import random

import numpy as np
import pytest
import torch

from handsight.distill.runs import checkpoint
from handsight.distill.runs.checkpoint import CheckpointError

FILES = (checkpoint.TENSORS, checkpoint.TREE, checkpoint.MANIFEST)


@pytest.fixture
def saved(tmp_path):
    tree = {"weights": torch.randn(500), "buffer": np.arange(300, dtype=np.int16), "steps": 7, "text": "x" * 200}
    checkpoint.save(tmp_path / "a.ckpt", tree)
    return tmp_path / "a.ckpt"


def _positions(size: int) -> list[int]:
    """Both ends, and as many in between as are quick."""
    return sorted({0, 1, size - 2, size - 1, *random.Random(0).sample(range(size), min(size, 60))})


def _is_noticed(path) -> bool:
    try:
        checkpoint.load(path)
    except CheckpointError as error:
        return path.name in str(error)
    return False


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(saved, name):
    file = saved / name
    whole = file.read_bytes()
    for position in _positions(len(whole)):
        for bit in (0, 5, 7):
            file.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            assert _is_noticed(saved), f"bit {bit} of byte {position} of {name}"
    file.write_bytes(whole)
    assert checkpoint.load(saved)["steps"] == 7


@pytest.mark.parametrize("name", FILES)
def test_every_cut_is_noticed(saved, name):
    file = saved / name
    whole = file.read_bytes()
    for position in _positions(len(whole)):
        file.write_bytes(whole[:position])
        assert _is_noticed(saved), f"{name} cut after {position} bytes"
    file.write_bytes(whole + b"\0")
    assert _is_noticed(saved), f"{name} with a byte too many"


def test_files_of_two_checkpoints_do_not_mix(saved):
    other = saved.parent / "b.ckpt"
    checkpoint.save(other, {"weights": torch.randn(500), "steps": 8})
    for name in FILES:
        mixed = saved.parent / "mixed.ckpt"
        checkpoint.remove(mixed)
        mixed.mkdir()
        for part in FILES:
            (mixed / part).write_bytes(((other if part == name else saved) / part).read_bytes())
        assert _is_noticed(mixed), name
