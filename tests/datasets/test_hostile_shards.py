"""Shards that somebody made to do harm: sealed as ours are, and refused when they are opened."""

import json

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from handsight.datasets import DatasetError, Windows
from handsight.datasets.sequences import SequenceBuffer, SequenceBufferError
from handsight.datasets.shard import HEADER, Shard, seal, verify
from handsight.distill.training import offline
from handsight.distill.training.data_parallel import make_fabric
from handsight.distill.training.student_config import OfflineConfig, StudentRunConfig

from . import shards


def tampered(folder, change, **options):
    """A shard of three episodes, changed and sealed again: whole by its sums."""
    (path,) = shards.write(folder, shards=1, **options)
    with h5py.File(path, "r+") as file:
        change(file)
    path.write_bytes(b"\0" * HEADER + path.read_bytes()[HEADER:])
    seal(path, {"episodes": 3, "samples": 15})
    verify(path)
    return path


def _instead(file, make):
    """Put something in the place of an episode's proprioception."""
    del file["data/demo_0/obs/proprio"]
    make(file["data/demo_0/obs"])


def external_link(file):
    _instead(file, lambda obs: obs.__setitem__("proprio", h5py.ExternalLink("out.h5", "/x")))


def soft_link(file):
    _instead(file, lambda obs: obs.__setitem__("proprio", h5py.SoftLink("/data/demo_1/obs/proprio")))


def external_storage(file):
    outside = [("/etc/passwd", 0, 80)]
    _instead(file, lambda obs: obs.create_dataset("proprio", (5, 4), "f4", external=outside))


def virtual(file):
    layout = h5py.VirtualLayout((5, 4), "f4")
    layout[:] = h5py.VirtualSource("out.h5", "x", (5, 4))
    _instead(file, lambda obs: obs.create_virtual_dataset("proprio", layout))


def references(file):
    values = np.array([file["data"].ref] * 5, dtype=h5py.ref_dtype)
    _instead(file, lambda obs: obs.create_dataset("proprio", data=values, dtype=h5py.ref_dtype))


def strings_of_any_length(file):
    _instead(file, lambda obs: obs.create_dataset("proprio", data=["x"] * 5, dtype=h5py.string_dtype()))


def cycle(file):
    file["data/demo_0/obs/loop"] = file["data"]


def cycle_to_the_root(file):
    file["data/demo_0/obs/loop"] = file["/"]


def one_dataset_at_two_places(file):
    file["data/demo_0/obs/again"] = file["data/demo_0/obs/proprio"]


def many_groups_in_groups(file):
    file.create_group("data/demo_0/" + "/".join("x" * 40))


def huge_shape_without_data(file):
    _instead(file, lambda obs: obs.create_dataset("proprio", (10**12, 4), "f4", chunks=(5, 4)))


def huge_row_without_data(file):
    _instead(file, lambda obs: obs.create_dataset("proprio", (5, 10**11), "f4", chunks=(5, 4)))


def packed_beyond_what_we_pack(file):
    zeros = np.zeros((5, 10**6), "f4")
    _instead(file, lambda obs: obs.create_dataset("proprio", data=zeros, chunks=zeros.shape, compression="gzip"))


def more_rows_than_there_are(file):
    file["data/demo_0"].attrs["num_samples"] = 10**15


def named_type(file):
    file["data/demo_0/obs/kind"] = np.dtype("f4")


def a_type_that_numpy_has_not(file):
    space = h5s.create_simple((5, 4))
    _instead(file, lambda obs: h5d.create(obs.id, b"proprio", h5t.UNIX_D32LE, space))


def a_name_that_is_no_text(file):
    h5d.create(file["data/demo_0/obs"].id, b"\xff\xfe", h5t.NATIVE_FLOAT, h5s.create_simple((5, 10**9)))


def no_facts(file):
    file["data"].attrs["handsight"] = "[" * 100_000


def facts_of_another_form(file):
    file["data"].attrs["handsight"] = json.dumps({"facts": 3})


IN_FILE = "expected groups and numbers in this file, found"
HOSTILE = {
    external_link: "proprio: .* soft or external link",
    soft_link: "proprio: .* soft or external link",
    external_storage: f"proprio: {IN_FILE} data outside of it",
    virtual: f"proprio: {IN_FILE} data outside of it",
    references: f"proprio: {IN_FILE} references",
    strings_of_any_length: f"proprio: {IN_FILE} references",
    cycle: "loop: .* again",
    cycle_to_the_root: "loop: .* again",
    one_dataset_at_two_places: ": .* again",
    many_groups_in_groups: "too deep",
    huge_shape_without_data: f"proprio: {IN_FILE} .* float32 in 0 bytes",
    huge_row_without_data: f"proprio: {IN_FILE} .* float32 in 0 bytes",
    packed_beyond_what_we_pack: f"proprio: {IN_FILE} .* float32 in .* bytes",
    more_rows_than_there_are: "demo_0: expected 1000000000000000 rows",
    named_type: f"kind: {IN_FILE} TypeFloatID",
    a_type_that_numpy_has_not: f"proprio: {IN_FILE}",
    a_name_that_is_no_text: f"obs/.*: {IN_FILE} .* float32 in 0 bytes",
    no_facts: "HDF5 cannot read it",
    facts_of_another_form: "HDF5 cannot read it",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_what_leads_out_of_the_seal_or_holds_too_little_is_refused_at_opening(change, tmp_path):
    with pytest.raises(DatasetError, match=rf"shard_000000.hdf5: .*{HOSTILE[change]}"):
        Shard(tampered(tmp_path, change))


def test_a_split_that_names_a_missing_episode_is_an_error(tmp_path):
    def change(file):
        del file["mask/train"]
        file["mask/train"] = np.array([b"demo_0", b"demo_7"])

    path = tampered(tmp_path, change)
    with pytest.raises(DatasetError, match=r"split 'train' names demo_7; available: demo_0, demo_1, demo_2"):
        Windows([path], ["proprio"], 5, "train")


def test_constant_images_are_no_harm(tmp_path):
    def change(file):
        del file["data/demo_0/obs/left"]
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_chunk((5, 200, 200, 3))
        properties.set_filter(32000, 1)  # LZF, as the writer sets it
        space, values = h5s.create_simple((5, 200, 200, 3)), np.zeros((5, 200, 200, 3), np.uint8)
        place = file["data/demo_0/obs"].id
        h5d.create(place, b"left", h5t.NATIVE_UINT8, space, properties).write(h5s.ALL, h5s.ALL, values)

    assert Shard(tampered(tmp_path, change)).read("demo_0", "obs/left").shape == (5, 200, 200, 3)


def test_a_recordings_worlds_name_no_program(tmp_path, caplog, monkeypatch):
    worlds = {"engine": "isaacgym", "isaac": {"python": "/tmp/evil"}}
    obs = {"proprio": {"shape": [4], "dtype": "float32", "parts": {}}}
    facts = shards.Facts("grasp", {"obs": obs, "control_dt": 0.08, "rig": {}}, worlds, {})
    monkeypatch.setattr(shards, "FACTS", facts)
    shards.write(tmp_path)
    monkeypatch.setattr(offline, "Windows", lambda *_, **__: (_ for _ in ()).throw(DatasetError("far enough")))
    with pytest.raises(DatasetError, match="far enough"):
        offline.OfflineTraining(StudentRunConfig(data=tmp_path, offline=OfflineConfig()), make_fabric("cpu"))
    assert "shard_000000.hdf5: ignored isaac.python=/tmp/evil" in caplog.text


FORM = {"steps": 5, "sequences": 10**12, "columns": {"proprio": ["float32", [4]]}}


@pytest.mark.parametrize("form", [FORM, FORM | {"sequences": 1, "columns": {"proprio": ["load", [4]]}}])
def test_sequences_take_no_more_memory_than_they_may(form, tmp_path):
    def change(file):
        stored = json.loads(file["data"].attrs["handsight"])
        file["data"].attrs["handsight"] = json.dumps(stored | {"extra": {"form": form, "facts": {}}})

    path = tampered(tmp_path, change)
    entry = {"number": 0, "name": path.name, **{key: verify(path)[key] for key in ("bytes", "sha256")}}
    with pytest.raises(SequenceBufferError, match=r"shard_000000.hdf5"):
        SequenceBuffer.read(tmp_path, {"appended": 1, "evicted": 0, "rollouts": [entry]}, capacity=2**20)


@pytest.mark.parametrize("name", ["../a.hdf5", "/etc/passwd", ".."])
def test_a_checkpoint_names_no_sequences_elsewhere(name, tmp_path):
    entry = {"number": 0, "name": name, "bytes": 1, "sha256": "x"}
    with pytest.raises(SequenceBufferError, match="leads out of it; expected a place inside"):
        SequenceBuffer.read(tmp_path, {"appended": 1, "evicted": 0, "rollouts": [entry]}, capacity=2**20)
