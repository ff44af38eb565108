import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from handsight.datasets import DatasetError, SeededBatches, Windows, collate, survey, whole_shards, write_shard, writer
from handsight.distill.commands.export_lerobot import ExportLeRobotArgs, export_lerobot
from handsight.distill.commands.inspect import InspectArgs, inspect
from handsight.sims.tasks.signature import as_today

sys.path.insert(0, str(Path(__file__).parent))
from shards import FACTS, episode, write

READERS = [
    pytest.param(survey, id="survey"),
    pytest.param(lambda folder: whole_shards(folder, 1.0), id="train-student --data"),
    pytest.param(lambda folder: inspect(InspectArgs(folder)), id="inspect"),
    pytest.param(
        lambda folder: export_lerobot(ExportLeRobotArgs(folder, folder.with_name("lerobot"))), id="export-lerobot"
    ),
]
"""Everything that reads the shards of a folder together."""


def windows(folder, **changes) -> Windows:
    shards = write(folder, **{key: changes.pop(key) for key in ("steps", "valid_share", "episodes") if key in changes})
    return Windows(shards, ("reward", "stereo", "depth"), **{"length": 5, **changes})


def test_an_item_is_an_episode_padded_to_the_length(tmp_path):
    data = windows(tmp_path, length=8)
    item, expected = data[4], episode(4).columns
    assert len(data) == 6 and item["valid"].tolist() == [True] * 5 + [False] * 3
    assert item["first"].tolist() == [True] + [False] * 7
    for name in ("reward", "stereo", "depth"):
        assert item[name].shape[1:] == expected[name].shape[1:]
        assert np.array_equal(item[name][:5].numpy(), expected[name]) and not item[name][5:].any()


def test_longer_episodes_are_cut_into_windows_that_miss_nothing(tmp_path):
    data = windows(tmp_path, length=3, steps=8)
    rewards = torch.cat([item["reward"][item["valid"]] for item in (data[i] for i in range(3))])
    assert len(data) == 6 * 3 and np.array_equal(rewards.numpy(), episode(0, steps=8).columns["reward"])
    overlapping = windows(tmp_path / "again", length=4, steps=8, hop=2)
    assert [w.rows for w in overlapping.windows[:3]] == [slice(0, 4), slice(2, 6), slice(4, 8)]


def test_splits_are_those_of_the_mask(tmp_path):
    shards = write(tmp_path, valid_share=0.4, episodes=10)
    train, valid = (Windows(shards, ("reward",), 5, split) for split in ("train", "valid"))
    assert len(train) + len(valid) == 20 and 0 < len(valid) < 15


def test_several_workers_read_what_one_process_reads(tmp_path):
    data = windows(tmp_path)
    loaded = DataLoader(data, batch_sampler=SeededBatches(len(data), 2, 5, seed=1), collate_fn=collate, num_workers=2)
    own = [collate([data[i] for i in batch]) for batch in SeededBatches(len(data), 2, 5, seed=1)]
    for one, other in zip(loaded, own, strict=True):
        assert one["stereo"].shape == (5, 2, 2, 3, 8, 10)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_item_comes_once_before_any_comes_again():
    items = [item for batch in SeededBatches(7, 3, 7, seed=0) for item in batch]
    assert sorted(items[:7]) == sorted(items[7:14]) == sorted(items[14:]) == list(range(7))
    assert items[:7] != items[7:14]
    assert items != [item for batch in SeededBatches(7, 3, 7, seed=1) for item in batch]


@pytest.mark.parametrize("done", [1, 2, 5])
def test_batches_go_on_in_the_middle_of_a_pass(done):
    whole = list(SeededBatches(7, 3, 9, seed=0))
    later = SeededBatches(7, 3, 9 - done, seed=0)
    assert list(SeededBatches(7, 3, done, seed=0)) == whole[:done]
    later.position = done
    assert list(later) == whole[done:]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damaged_shards_are_named_left_out_and_counted(tmp_path):
    paths = write(tmp_path, shards=3)
    damage(paths[1])
    found = survey(tmp_path)
    assert found.whole == (paths[0], paths[2]) and set(found.damaged) == {paths[1]}
    with pytest.warns(UserWarning, match=r"left out a damaged shard: .*shard_000001.hdf5 was altered"):
        assert whole_shards(tmp_path, max_damaged=0.5).whole == found.whole


def test_more_damage_than_allowed_stops_and_names_everything(tmp_path):
    paths = write(tmp_path, shards=3)
    damage(paths[0]), damage(paths[2])
    with pytest.raises(DatasetError, match=r"(?s)2 of 3 shards are damaged, more than 0.1%.*000000.*000002"):
        whole_shards(tmp_path)


def test_an_empty_folder_and_a_missing_one_are_told_apart(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no shards: expected files like shard_000000.hdf5"):
        survey(tmp_path)
    with pytest.raises(DatasetError, match=r"does not exist"):
        survey(tmp_path / "nowhere")


def test_shards_of_different_worlds_do_not_mix(tmp_path):
    shards = write(tmp_path, shards=1)
    other = replace(FACTS, signature={**FACTS.signature, "control_dt": 0.1})
    shards.append(tmp_path / "shard_000009.hdf5")
    write_shard(shards[-1], other, [episode(0)], {})
    with pytest.raises(DatasetError, match=r"shard_000009.hdf5 comes from another environment .* differ in control_dt"):
        Windows(shards, ("reward",), 5)


def wall(height):
    return {"scene": {"wall": None if height is None else {"height": height}, "rig": {}}}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"signature": {**FACTS.signature, "rig": {"width": 64}}}, r"rig.width \(None and 64\)"),
        ({"signature": {**FACTS.signature, "obs": {"left": {"shape": [2]}}}}, r"obs.left.shape \(None and \[2\]\)"),
        ({"signature": {**FACTS.signature, "task": "reach"}}, r"task \(None and reach\)"),
        ({"env_config": wall(0.2)}, r"scene.wall.height \(None and 0.2\)"),
    ],
)
def test_every_reader_refuses_shards_of_different_environments_and_says_in_what(read, facts, named, tmp_path):
    write(tmp_path, shards=1)
    write_shard(tmp_path / "shard_000009.hdf5", replace(FACTS, **facts), [episode(0)], {})
    with pytest.raises(DatasetError, match=f"shard_000009.hdf5 comes from another environment .* differ in {named}"):
        read(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_wall_that_no_shard_has_is_no_difference(tmp_path):
    write(tmp_path, shards=1)
    write_shard(tmp_path / "shard_000009.hdf5", replace(FACTS, env_config=wall(None)), [episode(0)], {})
    assert len(survey(tmp_path).whole) == 2


@pytest.mark.parametrize("column", ["mean", "std", "reward", "proprio", "physics", "action"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_neither_written_nor_read(column, value, tmp_path, monkeypatch):
    bad = episode(0)
    bad.columns[column][3] = value
    path = tmp_path / "shard_000000.hdf5"
    with pytest.raises(DatasetError, match=r"demo_0: .*: expected finite numbers, found (nan|inf) in row 3"):
        write_shard(path, FACTS, [bad], {})
    assert not path.exists()
    with monkeypatch.context() as patch:  # as a version before this one would have written it
        patch.setattr(writer, "check_dataset", lambda *_: None)
        write_shard(path, FACTS, [bad], {})
    for read in (lambda folder: inspect(InspectArgs(folder)), lambda folder: Windows([path], (column,), 5)):
        with pytest.raises(DatasetError, match=r"shard_000000.hdf5: demo_0: .*: expected finite numbers, found"):
            read(tmp_path)


def test_a_column_that_was_not_recorded_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"has no obs/state; available: .*obs/proprio"):
        Windows(write(tmp_path), ("state",), 5)


def test_no_episode_of_a_split_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no episodes of split 'valid' in 2 shards"):
        Windows(write(tmp_path), ("reward",), 5, "valid")


def test_shards_of_the_first_edition_mix_with_those_of_today(tmp_path):
    """The first edition did not name robot and objects, which were always the same."""
    facts = {"task": "grasp", "obs": {}, "control_dt": 0.08, "rig": {}}
    for number, signature in enumerate((facts, as_today(facts), {**facts, "robot": {"name": "other"}})):
        write_shard(tmp_path / f"shard_{number:06d}.hdf5", replace(FACTS, signature=dict(signature)), [episode(0)], {})
    shards = sorted(tmp_path.iterdir())
    assert len(Windows(shards[:2], ("reward",), 5)) == 2
    with pytest.raises(DatasetError, match=r"shard_000002.hdf5 comes from another environment .* differ in robot"):
        Windows(shards, ("reward",), 5)
