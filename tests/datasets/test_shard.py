import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from handsight.datasets import DatasetError, Episode, Shard, write_shard
from handsight.datasets.schema import checksum, episodes_of
from handsight.datasets.shard import verify
from handsight.files import sweep

sys.path.insert(0, str(Path(__file__).parent))
from shards import FACTS, episode, write


def test_what_was_written_is_read_back_bit_for_bit(tmp_path):
    (path, _) = write(tmp_path)
    shard = Shard(path)
    assert shard.names == ["demo_0", "demo_1", "demo_2"] and shard.facts == FACTS
    for number, name in enumerate(shard.names):
        for column, values in episode(number).columns.items():
            stored = shard.column(name, column)
            assert np.array_equal(stored, values), column
        facts = shard.episode_facts(name)
        assert (facts["seed"], facts["world"], facts["success"]) == (100 + number, number, number % 2 == 0)
        shard.check_episode(name)


def test_the_layout_is_what_robomimic_and_isaac_lab_open(tmp_path):
    """Their own calls: attributes, demo_<k>, obs/<key>, images height x width x channels, masks of names."""
    path = write(tmp_path, valid_share=0.5, episodes=8)[0]
    with h5py.File(path, "r", swmr=True, libver="latest") as file:  # as robomimic's SequenceDataset opens it
        demos = list(file["data"].keys())
        assert sorted(demos, key=lambda name: int(name[5:])) == [f"demo_{k}" for k in range(8)]
        args = json.loads(file["data"].attrs["env_args"])
        assert args["env_name"] == "grasp" and args["type"] == args["env_type"] == 2
        assert file["data"].attrs["total"] == sum(file["data"][name].attrs["num_samples"] for name in demos) == 40
        demo = file["data/demo_3"]
        assert demo.attrs["seed"] == 103 and not demo.attrs["success"] and demo.attrs["num_samples"] == 5
        assert demo["obs/left"].shape == demo["obs/right"].shape == (5, 8, 10, 3) and demo["obs/left"].dtype == "uint8"
        assert demo["obs/depth"].shape == (5, 8, 10, 1) and demo["obs/depth"].dtype == "int16"
        assert np.array_equal(demo["obs/right"][2, :, :, 0], episode(3).columns["stereo"][2, 1, 0])
        assert demo["states"].dtype == "float64" and demo["dones"][:].tolist() == [0, 0, 0, 0, 1]
        masks = {split: {word.decode("utf-8") for word in file[f"mask/{split}"][:]} for split in ("train", "valid")}
        assert masks["train"] | masks["valid"] == set(demos) and not masks["train"] & masks["valid"]
        assert all(masks.values())
        for name in demo["obs"]:
            assert demo["obs"][name].fletcher32
        assert demo["rewards"].compression == "lzf"


def test_the_split_belongs_to_the_reset_not_to_the_shard(tmp_path):
    for folder, order in (("a", range(20)), ("b", reversed(range(20)))):
        write_shard(tmp_path / folder / "shard_0.hdf5", FACTS, map(episode, order), {}, valid_share=0.3)
    one, other = (Shard(tmp_path / folder / "shard_0.hdf5") for folder in "ab")
    chosen = [{s.episode_facts(name)["world"] for name in s.split("valid")} for s in (one, other)]
    assert chosen[0] == chosen[1] and 1 <= len(chosen[0]) <= 12


def test_a_shard_has_no_name_until_it_is_whole(tmp_path):
    def episodes():
        yield episode(0)
        assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]

    write_shard(tmp_path / "shard_0.hdf5", FACTS, episodes(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["shard_0.hdf5"]
    verify(tmp_path / "shard_0.hdf5")


def test_a_finished_shard_is_never_touched_again(tmp_path):
    write(tmp_path)
    with pytest.raises(DatasetError, match=r"shard_000000.hdf5 exists already; .*never touched"):
        write_shard(tmp_path / "shard_000000.hdf5", FACTS, [episode(0)], {})


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield episode(0)
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "shard_0.hdf5", FACTS, broken(), {})
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_swept_and_the_living_are_left_alone(tmp_path):
    dead, living = tmp_path / ".shard_1.hdf5.4194305.tmp", tmp_path / f".shard_2.hdf5.{os.getpid()}.tmp"
    dead.touch(), living.touch()
    assert sweep(tmp_path, "*.hdf5") == [dead] and living.exists()


WRONG = {
    "actions beyond the range": ("action", lambda a: 2 * np.sign(a), r"actions: expected \[-1, 1\], found up to 2"),
    "images of floats": ("stereo", lambda a: a.astype(np.float32), r"obs/left: expected uint8 \(T, H, W, 3\)"),
    "depth in metres": ("depth", lambda a: a.astype(np.float32), r"obs/depth: expected int16"),
    "a column that is too short": ("reward", lambda a: a[1:], r"columns of one length .*'rewards': 4"),
    "vectors of doubles": ("proprio", lambda a: a.astype(np.float64), r"obs/proprio: expected float32 \(T, D\)"),
}  # fmt: skip


@pytest.mark.parametrize(("column", "change", "message"), WRONG.values(), ids=WRONG)
def test_what_the_schema_does_not_allow_is_refused(tmp_path, column, change, message):
    right = episode(0)
    wrong = Episode({**right.columns, column: change(right.columns[column])}, True, 0)
    with pytest.raises(DatasetError, match=message):
        write_shard(tmp_path / "shard_0.hdf5", FACTS, [wrong], {})


def test_a_changed_episode_does_not_fit_its_crc(tmp_path):
    path = write(tmp_path)[0]
    with h5py.File(path, "r+") as file:
        file["data/demo_1/rewards"][2] += 1
    with pytest.raises(DatasetError, match=r"shard_000000.hdf5 was altered: expected sha256"):
        verify(path)
    shard = Shard(path)
    shard.check_episode("demo_0")
    with pytest.raises(DatasetError, match=r"demo_1 is damaged: expected CRC-32"):
        shard.check_episode("demo_1")


def test_a_changed_fact_does_not_fit_the_crc_either(tmp_path):
    path = write(tmp_path)[0]
    with h5py.File(path, "r+") as file:
        file["data/demo_1"].attrs["success"] = True
    with pytest.raises(DatasetError, match="demo_1 is damaged"):
        Shard(path).check_episode("demo_1")


def test_a_missing_dataset_names_those_there_are(tmp_path):
    with pytest.raises(DatasetError, match=r"demo_0 has no obs/touch; available: .*obs/proprio"):
        Shard(write(tmp_path)[0]).column("demo_0", "touch")


def test_next_observations_have_the_form_of_observations(tmp_path):
    right = episode(0)
    columns = {**right.columns, "next_stereo": right.columns["stereo"], "next_proprio": right.columns["proprio"]}
    path = tmp_path / "shard_0.hdf5"
    write_shard(path, FACTS, [Episode(columns, True, 0)], {})
    with h5py.File(path, "r") as file:
        assert file["data/demo_0/next_obs/left"].shape == (5, 8, 10, 3)
    for name in ("next_stereo", "next_proprio"):
        assert np.array_equal(Shard(path).column("demo_0", name), columns[name])


def test_a_rollout_is_cut_where_episodes_open_and_rows_that_do_not_count_are_left_out():
    first = np.array([[1, 1], [0, 0], [0, 1], [1, 0], [0, 0]], dtype=bool)
    valid = np.array([[1, 1], [1, 0], [0, 1], [1, 1], [1, 1]], dtype=bool)
    success = np.array([[0, 1], [1, 0], [0, 0], [0, 0], [0, 1]], dtype=bool)
    columns = {"first": first, "valid": valid, "success": success, "reward": np.arange(10.0).reshape(5, 2)}
    pieces = list(episodes_of(columns, {"seed": 7, "beta": 0.5}))
    found = [(p.facts["sequence"], p.facts["row"], p.columns["reward"].tolist(), p.success) for p in pieces]
    assert found == [
        (0, 0, [0, 2], True), (0, 3, [6, 8], False), (1, 0, [1], True), (1, 2, [5, 7, 9], True),
    ]  # fmt: skip
    assert all(p.seed == 7 and p.facts["beta"] == 0.5 and "first" not in p.columns for p in pieces)


def test_the_crc_knows_form_place_and_facts():
    values = np.arange(6, dtype=np.float32)
    whole = {"obs/a": values.reshape(2, 3)}
    others = [({"obs/a": values.reshape(3, 2)}, {}), ({"obs/b": whole["obs/a"]}, {}), (whole, {"seed": 1})]
    others += [({"obs/a": whole["obs/a"].view(np.int32)}, {}), ({"obs/a": whole["obs/a"][::-1]}, {})]
    assert len({checksum(*one) for one in [(whole, {}), *others]}) == 6
    assert checksum({"obs/a": np.asfortranarray(whole["obs/a"])}, {}) == checksum(whole, {})


def test_episodes_come_in_the_order_in_which_they_were_written(tmp_path):
    (path,) = write(tmp_path, shards=1, episodes=12)
    shard = Shard(path)
    assert shard.names == [f"demo_{k}" for k in range(12)]
    assert [shard.episode_facts(name)["world"] for name in shard.names] == list(range(12))


def test_what_was_appended_to_a_shard_is_noticed_when_it_is_opened(tmp_path):
    path = write(tmp_path, shards=1)[0]
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DatasetError, match=r"was cut or extended: expected [\d,]+ bytes, found"):
        Shard(path)


@pytest.mark.parametrize("alike", ["seed", "world"])
def test_resets_that_share_a_seed_or_a_world_are_split_all_the_same(tmp_path, alike):
    own = episode(0)
    many = (
        Episode(own.columns, True, seed=7 if alike == "seed" else k, facts={"world": 7 if alike == "world" else k})
        for k in range(40)
    )
    write_shard(tmp_path / "shard_0.hdf5", FACTS, many, {}, valid_share=0.4)
    assert 4 <= len(Shard(tmp_path / "shard_0.hdf5").split("valid")) <= 28  # all or none of them otherwise
