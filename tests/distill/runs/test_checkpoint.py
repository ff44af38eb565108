"""Checkpoints: what goes in comes out, and what is damaged is named."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from handsight.distill.runs import checkpoint
from handsight.distill.runs.checkpoint import CheckpointError

PLAIN = {
    "words": {"none": None, "yes": True, "int": 2**80, "float": 0.1, "text": "depth → stereo", "path": Path("a/b")},
    "odd floats": [float("inf"), float("-inf")],
    3: {"nested": (1, (2, "x"), [3.0])},
    (0, "tuple key"): b"\x00\xff" * 3,
    "$marker-like": {"$tuple": 1},
    "types": [torch.bfloat16, np.dtype(">f4"), np.dtype([("a", "<i4"), ("b", "<f8", (2,))]), torch.device("cpu")],
    "empty": [{}, [], (), b"", torch.Size([2, 3]), bytearray(b"ab")],
}
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64),
    *(torch.complex128, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool),
]


def test_plain_values_come_back_with_their_types(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", PLAIN)
    back = checkpoint.load(tmp_path / "a.ckpt")
    assert back == PLAIN
    assert repr(back) == repr(PLAIN)  # 1 == True == 1.0, but their reprs differ


def test_nan_comes_back(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", {"x": float("nan")})
    assert np.isnan(checkpoint.load(tmp_path / "a.ckpt")["x"])


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
def test_tensors_of_every_dtype_come_back_bit_for_bit(tmp_path, shape):
    ramp = torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)
    tree = {dtype: ramp.to(dtype) for dtype in DTYPES}
    checkpoint.save(tmp_path / "a.ckpt", tree)
    back = checkpoint.load(tmp_path / "a.ckpt")
    for dtype, tensor in tree.items():
        assert (back[dtype].dtype, back[dtype].shape) == (dtype, tensor.shape)
        assert back[dtype].reshape(-1).view(torch.uint8).equal(tensor.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=">f4").reshape(3, 2),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["2026-01-01"], dtype="datetime64[ns]"),
        np.array([(1, [0.5, 2.0])], dtype=[("a", "<i4"), ("b", "<f8", (2,))]),
        np.array(["cube", "mug"]),
        np.array(7, dtype=np.uint16),
        np.zeros((0, 4), dtype=np.complex128),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_numpy_array_comes_back_with_dtype_and_shape(tmp_path, array):
    checkpoint.save(tmp_path / "a.ckpt", {"x": array})
    back = checkpoint.load(tmp_path / "a.ckpt")["x"]
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable  # a restored simulator writes into its arrays


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.int64(-3), np.bool_(True), np.uint16(9)], ids=repr)
def test_numpy_scalar_stays_one(tmp_path, scalar):
    checkpoint.save(tmp_path / "a.ckpt", {"x": scalar})
    back = checkpoint.load(tmp_path / "a.ckpt")["x"]
    assert type(back) is type(scalar)
    assert back == scalar


def test_optimiser_state_goes_on_exactly(tmp_path):
    def train(net, optimiser, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            net(torch.randn(4, 3)).square().mean().backward()
            optimiser.step()

    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    train(net, adam, 3)
    state = {"net": net.state_dict(), "adam": adam.state_dict(), "rng": checkpoint.rng_state()}
    checkpoint.save(tmp_path / "a.ckpt", state)
    train(net, adam, 3)

    torch.manual_seed(99)
    again = torch.nn.Linear(3, 2)
    adam_again = torch.optim.Adam(again.parameters(), lr=0.5)
    back = checkpoint.load(tmp_path / "a.ckpt")
    again.load_state_dict(back["net"])
    adam_again.load_state_dict(back["adam"])
    checkpoint.set_rng_state(back["rng"])
    train(again, adam_again, 3)
    assert again.weight.equal(net.weight)


def test_tensors_that_share_memory_come_back_apart(tmp_path):
    whole, array = torch.arange(6.0), np.arange(4)
    tree = {"whole": whole, "again": whole, "half": whole[3:], "array": array, "part": array[:2]}
    checkpoint.save(tmp_path / "a.ckpt", tree)
    back = checkpoint.load(tmp_path / "a.ckpt")
    assert all(back[name].tolist() == value.tolist() for name, value in tree.items())
    back["whole"].zero_(), back["array"].fill(9)
    assert back["again"].tolist() == [0, 1, 2, 3, 4, 5] and back["part"].tolist() == [0, 1]


def test_random_streams_go_on_where_they_were(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", checkpoint.rng_state())
    expected = torch.rand(3), np.random.rand(3), random.random()
    checkpoint.set_rng_state(checkpoint.load(tmp_path / "a.ckpt"))
    found = torch.rand(3), np.random.rand(3), random.random()
    assert found[0].equal(expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[2] == expected[2]


def test_value_that_would_change_is_refused_by_place_and_type(tmp_path):
    with pytest.raises(CheckpointError, match=r"policy/parts/1 is a builtins.set, which would not come back"):
        checkpoint.save(tmp_path / "a.ckpt", {"policy": {"parts": [1, {2}]}})
    assert list(tmp_path.iterdir()) == []


def test_array_of_objects_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="x is a numpy array of Python objects"):
        checkpoint.save(tmp_path / "a.ckpt", {"x": np.array([{}], dtype=object)})


def test_name_without_suffix_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected a name that ends in \.ckpt, e\.g\. best\.ckpt"):
        checkpoint.save(tmp_path / "best", {})


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path):
    for value in (1, 2):
        checkpoint.save(tmp_path / "best.ckpt", {"value": value})
    assert checkpoint.load(tmp_path / "best.ckpt") == {"value": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.ckpt"]


def test_writer_killed_between_its_two_renames_leaves_the_older_one_readable(tmp_path):
    path = tmp_path / "best.ckpt"
    checkpoint.save(path, {"value": 1})
    path.rename(tmp_path / ".best.ckpt.previous")
    assert checkpoint.load(path) == {"value": 1}
    assert checkpoint.latest(tmp_path) == path
    checkpoint.save(path, {"value": 2})
    assert checkpoint.load(path) == {"value": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.ckpt"]


def test_missing_checkpoint_names_the_complete_ones(tmp_path):
    checkpoint.save(tmp_path / "iteration_5.ckpt", {})
    checkpoint.save(tmp_path / "best.ckpt", {})
    with pytest.raises(CheckpointError, match=r"found nothing; other complete .*: iteration_5\.ckpt, best\.ckpt"):
        checkpoint.load(tmp_path / "iteration_6.ckpt")


@pytest.mark.parametrize("name", ["tensors.safetensors", "tree.json", "manifest.json"])
def test_missing_file_is_named(tmp_path, name):
    checkpoint.save(tmp_path / "a.ckpt", {"x": torch.ones(3)})
    (tmp_path / "a.ckpt" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing: expected .* found"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_truncated_file_gives_both_sizes(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", {"x": torch.ones(1000)})
    file = tmp_path / "a.ckpt" / "tensors.safetensors"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"tensors\.safetensors was cut .* {size:,} bytes, found {size - 1:,}"):
        checkpoint.load(tmp_path / "a.ckpt")


@pytest.mark.parametrize(("key", "value"), [("version", 2), ("format", "other-checkpoint")])
def test_other_format_is_named(tmp_path, key, value):
    checkpoint.save(tmp_path / "a.ckpt", {})
    manifest = tmp_path / "a.ckpt" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=rf"expected format handsight-checkpoint version 1, found .*{value}"):
        checkpoint.load(tmp_path / "a.ckpt")


def test_single_file_of_another_tool_is_no_checkpoint(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match=r"expected a folder with manifest\.json, found a file"):
        checkpoint.load(tmp_path / "model.ckpt")


def clock_set_back(monkeypatch):
    """Each save says that it happened an hour before the one before."""
    hours = iter(range(10**6, 0, -1))
    monkeypatch.setattr(checkpoint.time, "time_ns", lambda: 3600 * 10**9 * next(hours))


def test_latest_has_the_highest_number_whatever_the_clock_says(tmp_path, monkeypatch):
    clock_set_back(monkeypatch)
    for name in ("iteration_8.ckpt", "iteration_9.ckpt", "iteration_10.ckpt"):
        checkpoint.save(tmp_path / name, {})
    assert checkpoint.latest(tmp_path).name == "iteration_10.ckpt"
    checkpoint.save(tmp_path / "best.ckpt", {})
    assert checkpoint.latest(tmp_path, "iteration_*.ckpt").name == "iteration_10.ckpt"


def test_keep_last_keeps_the_highest_numbers_whatever_the_clock_says(tmp_path, monkeypatch):
    clock_set_back(monkeypatch)
    for index in range(8, 12):
        checkpoint.save(tmp_path / f"iteration_{index}.ckpt", {})
        checkpoint.keep_last(tmp_path, 1)
        assert (tmp_path / f"iteration_{index}.ckpt").exists()
    assert checkpoint.latest(tmp_path).name == "iteration_11.ckpt"


def test_a_clock_set_back_after_the_first_prunes_the_first(tmp_path, monkeypatch):
    hours = iter([10, 9, 9.5])
    monkeypatch.setattr(checkpoint.time, "time_ns", lambda: int(3600 * 10**9 * next(hours)))
    for index in (1, 2, 3):
        checkpoint.save(tmp_path / f"iteration_{index}.ckpt", {})
    assert [path.name for path in checkpoint.keep_last(tmp_path, 2)] == ["iteration_1.ckpt"]
    assert checkpoint.latest(tmp_path).name == "iteration_3.ckpt"


def test_keep_last_never_removes_what_was_written_last(tmp_path):
    for index in (9, 10, 3):  # a run that was taken up at an earlier point
        checkpoint.save(tmp_path / f"iteration_{index}.ckpt", {})
    removed = checkpoint.keep_last(tmp_path, 1, written=tmp_path / "iteration_3.ckpt")
    assert [path.name for path in removed] == ["iteration_9.ckpt"]
    assert {path.name for path in tmp_path.iterdir()} == {"iteration_3.ckpt", "iteration_10.ckpt"}


def test_latest_passes_over_a_damaged_one_and_says_so(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        checkpoint.save(tmp_path / name, {"x": torch.ones(3)})
    (tmp_path / "b.ckpt" / "tensors.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"passed over a damaged checkpoint: .*b\.ckpt"):
        assert checkpoint.latest(tmp_path).name == "a.ckpt"


def test_latest_of_nothing_says_what_is_there(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"no complete checkpoint \*\.ckpt in .*; the folder holds: notes\.txt"):
        checkpoint.latest(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpoint.latest(tmp_path / "nowhere")


def test_keep_last_never_removes_the_newest_complete_one(tmp_path):
    for index in range(4):
        checkpoint.save(tmp_path / f"iteration_{index}.ckpt", {"x": torch.ones(3)})
    checkpoint.save(tmp_path / "best.ckpt", {})
    (tmp_path / "iteration_3.ckpt" / "tree.json").write_bytes(b"")
    removed = checkpoint.keep_last(tmp_path, 0, "iteration_*.ckpt")
    assert [path.name for path in removed] == ["iteration_0.ckpt", "iteration_1.ckpt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "iteration_2.ckpt", "iteration_3.ckpt"]


def test_two_hundred_megabytes_are_saved_within_two_seconds(tmp_path):
    tree = {"simulator": np.random.default_rng(0).bytes(100_000_000), "buffer": torch.zeros(25_000_000)}
    start = time.perf_counter()
    checkpoint.save(tmp_path / "a.ckpt", tree)
    seconds = time.perf_counter() - start
    assert checkpoint.load(tmp_path / "a.ckpt")["simulator"] == tree["simulator"]
    assert seconds < 2.0 or seconds < 10 * _plain_write_seconds(tmp_path / "plain")


def _plain_write_seconds(path: Path) -> float:
    """A slow disk is not our fault: the same bytes in one plain write."""
    start = time.perf_counter()
    path.write_bytes(bytes(200_000_000))
    return time.perf_counter() - start
