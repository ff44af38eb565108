"""JSON, arrays and exported models that somebody made to do harm: bounded, named, and no program runs."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from handsight.distill.commands import cli
from handsight.distill.evaluation.disagreement import Disagreement
from handsight.distill.evaluation.evaluation import Evaluation
from handsight.distill.report.store import load_decisions
from handsight.files import FileError, read_arrays, read_json

DEEP = "[" * 200_000 + "]" * 200_000


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# -- JSON and arrays -----------------------------------------------------------------------------------------------


def test_json_is_read_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("handsight.files.MOST_TEXT", 100)
    with pytest.raises(FileError, match=r"a.json: expected at most 100 bytes, found more"):
        read_json(_written(tmp_path / "a.json", "[" + "1," * 100 + "1]"))


def npz(path: Path, shape: str, data: bytes = b"\0" * 8, descr: str = "'<f8'") -> Path:
    """An archive with an array of this declared shape."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    return path


READERS = {
    "arrays": read_arrays,
    "evaluation": lambda path: Evaluation.load(path.parent),
    "disagreement": Disagreement.load,
    "decisions": load_decisions,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("shape", "descr"), [("(100000000000,)", "'<f8'"), ("(1,)", "'|O'"), ("(1,)", "'nonsense'"), ("x", "'<f8'")]
)
def test_arrays_that_were_never_saved_are_named(read, shape, descr, tmp_path):
    with pytest.raises(FileError, match=r"episodes.npz"):
        read(npz(tmp_path / "episodes.npz", shape, descr=descr))


def test_room_is_made_for_no_element_that_is_wider_than_the_file(tmp_path):
    with pytest.raises(FileError, match=r"x.npy: \|S1000000 \(1,\) in \d+ bytes"):
        read_arrays(npz(tmp_path / "a.npz", "(1,)", descr="'|S1000000'"))


def test_what_a_small_archive_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("handsight.files.MOST_ARRAYS", 1000)
    with pytest.raises(FileError, match=r"episodes.npz: expected arrays .* more than 1,000 bytes"):
        read_arrays(npz(tmp_path / "episodes.npz", "(1000,)", b"\0" * 8000))


def test_arrays_that_are_whole_come_back(tmp_path):
    assert read_arrays(npz(tmp_path / "a.npz", "(1,)"))["x"].tolist() == [0.0]
    with pytest.raises(FileError, match=r"b.npz"):
        read_arrays(_written(tmp_path / "b.npz", "no archive"))


# -- exported policies ---------------------------------------------------------------------------------------------


def onnx_file(path: Path, metadata: str, outside: str | None = None) -> Path:
    """A model y = w, with its weights in another file if asked, and what stands in its metadata."""
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "w")
    if outside:
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", outside
    form = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [form], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    entry = model.metadata_props.add()
    entry.key, entry.value = "handsight", metadata
    path.write_bytes(model.SerializeToString())
    return path


FACTS = {"format": "handsight-policy", "version": 1, "inputs": {}, "hidden": 0, "action_dim": 6, "signature": {}}


def test_deploy_runs_no_program_that_a_model_names(tmp_path, trap, capfd):
    worlds = {"engine": "isaacgym", "isaac": {"python": str(trap[0])}}
    path = onnx_file(tmp_path / "foreign.onnx", json.dumps(FACTS | {"env_config": worlds}))
    assert cli.main(["deploy", str(path)]) == 2
    assert not trap[1].exists()
    said = capfd.readouterr().err
    assert f"{path}: ignored isaac.python={trap[0]}" in said and "and none is named" in said


@pytest.mark.parametrize("outside", ["secret.bin", "../secret.bin", "/tmp/secret.bin"])
def test_a_model_reads_no_other_file(outside, tmp_path, monkeypatch):
    from handsight.distill.runs.onnx_policy import OnnxPolicy, OnnxPolicyError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for place in (tmp_path, tmp_path / "in"):
        (place / "secret.bin").write_bytes(b"\0\0\x80\x3f")
    with pytest.raises(OnnxPolicyError, match=r"m.onnx"):
        OnnxPolicy(onnx_file(tmp_path / "in/m.onnx", json.dumps(FACTS), outside))


@pytest.mark.parametrize("metadata", [DEEP, "[]", "{}", json.dumps(FACTS | {"inputs": {"x": {"dtype": "O"}}})])
def test_metadata_that_are_none_are_named(metadata, tmp_path):
    from handsight.distill.runs.onnx_policy import OnnxPolicy, OnnxPolicyError

    with pytest.raises(OnnxPolicyError, match=r"m.onnx"):
        OnnxPolicy(onnx_file(tmp_path / "m.onnx", metadata))


def test_deploy_names_a_model_without_worlds(tmp_path, capfd):
    path = onnx_file(tmp_path / "m.onnx", json.dumps(FACTS | {"env_config": 3}))
    assert cli.main(["deploy", str(path)]) == 2
    assert str(path) in capfd.readouterr().err
