"""LeRobotDatasets v3 read: one that lerobot 0.4.4 wrote (`lerobot_0_4_4`, 2 episodes, one camera as AV1, one as PNG in
the rows; row t of episode e: action (e/2, t/10), state (e, t, -t), top (20 t + 40, 100 e + 50, 128), wrist 255 - top),
our own exports, and what a hostile one would try.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from handsight.datasets import DatasetError, Windows, lerobot, whole_shards
from handsight.datasets.foreign import INFO, SPREAD, open_shard
from handsight.distill.commands.export_lerobot import ExportLeRobotArgs, export_lerobot

sys.path.insert(0, str(Path(__file__).parent))
from shards import episode, write

REAL = Path(__file__).parent / "lerobot_0_4_4"
NAMES = {"left": "observation.images.top", "right": "observation.images.wrist"}
LENGTHS = {"episode_0": 5, "episode_1": 7}


@pytest.fixture
def theirs(tmp_path):
    """A copy of the real one, to be spoilt."""
    return Path(shutil.copytree(REAL, tmp_path / "theirs"))


def told(folder, **changes):
    """Change what info.json says."""
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | changes))


def test_a_dataset_of_the_real_lerobot_is_read_by_the_names_it_has():
    (path,) = whole_shards(REAL, names=NAMES).whole
    shard = open_shard(path, NAMES)
    assert shard.steps == LENGTHS and (shard.split("train"), shard.split("valid")) == ([*LENGTHS], [])
    assert shard.facts.signature["task"] == "demonstrations of so101_follower"
    for e, (name, steps) in enumerate(LENGTHS.items()):
        t = np.arange(steps, dtype=np.float32)
        assert np.array_equal(shard.column(name, "mean"), np.stack([np.full_like(t, e / 2), t / np.float32(10)], 1))
        assert np.array_equal(shard.column(name, "proprio"), np.stack([np.full_like(t, e), t, -t], 1))
        assert (shard.column(name, "std") == np.float32(SPREAD)).all()
        top = np.stack([20 * t + 40, np.full_like(t, 100 * e + 50), np.full_like(t, 128)], 1)[..., None, None]
        stereo = shard.column(name, "stereo").astype(np.float32)
        assert stereo.shape == (steps, 2, 3, 32, 48)
        assert np.abs(stereo[:, 0] - top).max() <= 6  # AV1 at lerobot's own quality
        assert (stereo[:, 1] == 255 - top).all()
        middle = shard.column(name, "stereo", slice(2, 4))
        assert np.array_equal(middle, stereo[2:4])


def test_our_own_export_comes_back_as_it_was_recorded_without_any_names(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, "FILE_FRAMES", 10)  # two episodes a file
    write(tmp_path / "data", size=16)
    out = export_lerobot(ExportLeRobotArgs(tmp_path / "data", tmp_path / "out", quality=0))
    shard = open_shard(out)
    assert [*shard.steps.values()] == [5] * 6
    for number, name in enumerate(shard.names):
        columns = episode(number, size=16).columns
        for ours, theirs in (("action", "mean"), ("proprio",) * 2, ("depth",) * 2, ("stereo",) * 2):
            assert np.array_equal(shard.column(name, theirs), columns[ours]), theirs
    window = Windows([out], ("proprio", "mean"), 8, "train")[3]
    assert window["valid"].sum() == 5 and np.array_equal(window["mean"][:5], episode(3, size=16).columns["action"])


def test_what_is_missing_is_named_with_what_there_is_and_the_option():
    with pytest.raises(DatasetError, match=r"has no right \(--offline.map right=NAME\); available: observation.images"):
        open_shard(REAL, {"left": NAMES["left"]}).column("episode_0", "stereo")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v2.1"}, r"found: v2.1, .* \(lerobot itself makes v3.0 of older"),
        ({"fps": 0}, "0.0 frames a second"),
        ({"features": {}}, r"has no actions \(--offline.map actions=NAME\); available: "),
        ({"features": {"action": 3}}, "expected a LeRobotDataset v3.0, found"),
        ({"data_path": "../../{chunk_index:03d}/x.parquet"}, "leads out of it"),
        ({"data_path": "/etc/passwd"}, "leads out of it"),
        ({"data_path": "{chunk_index.__class__}.parquet"}, "cannot be read"),
        ({"data_path": "{chunk_index:999999999d}.parquet"}, "cannot be read"),
        ({"data_path": "{episode:03d}.parquet"}, "cannot be read"),
        ({"video_path": "../{video_key}/x.mp4"}, "leads out of it"),
        ({"video_path": None}, "cannot be read"),
    ],
)
def test_a_spoilt_info_is_refused_by_what_is_wrong_in_it(theirs, changes, message):
    told(theirs, **changes)
    with pytest.raises(DatasetError, match=message):
        shard = open_shard(theirs, NAMES)
        [shard.column("episode_1", column) for column in ("mean", "proprio", "stereo")]


def test_a_camera_whose_name_is_a_path_leads_nowhere(theirs):
    info = json.loads((theirs / INFO).read_text())
    info["features"]["../../../up"] = info["features"][NAMES["left"]]
    told(theirs, **info)
    with pytest.raises(DatasetError, match=r"leads out|cannot be read"):
        open_shard(theirs, {**NAMES, "left": "../../../up"}).column("episode_0", "stereo")


def test_a_link_out_of_the_folder_is_refused(theirs):
    video = next(theirs.rglob("*.mp4"))
    video.unlink()
    video.symlink_to("/etc/passwd")
    with pytest.raises(DatasetError, match="leads out of"):
        open_shard(theirs, NAMES)


def test_a_video_that_is_a_playlist_or_of_another_size_is_refused(theirs):
    info, video = json.loads((theirs / INFO).read_text()), next(theirs.rglob("*.mp4"))
    for height, width in ((64, 48), (48, 32)):  # it has 32 rows of 48 pixels
        info["features"][NAMES["left"]]["shape"] = [height, width, 3]
        told(theirs, **info)
        with pytest.raises(DatasetError, match=rf"stereo cannot be read: expected images \({height}, {width}, 3\)"):
            open_shard(theirs, NAMES)
    video.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n")
    with pytest.raises(DatasetError, match="stereo cannot be read"):
        open_shard(theirs, NAMES)


@pytest.mark.parametrize(("lengths", "message"), [((10**12, 7), "of 1000000000000 rows"), ((4, 7), "4 rows")])
def test_episodes_that_do_not_fit_the_rows_are_refused(theirs, lengths, message):
    path = next((theirs / "meta/episodes").rglob("*.parquet"))
    table = parquet.read_table(path)
    place = table.column_names.index("length")
    parquet.write_table(table.set_column(place, "length", pyarrow.array(lengths)), path)
    with pytest.raises(DatasetError, match=message):
        open_shard(theirs, NAMES)


def test_rows_that_are_fewer_others_or_too_many_for_memory_are_refused(theirs, monkeypatch):
    path = next((theirs / "data").rglob("*.parquet"))
    table = parquet.read_table(path)
    parquet.write_table(table.slice(0, 11), path)
    with pytest.raises(DatasetError, match=r"expected 12 rows, at most .* found 11 rows"):
        open_shard(theirs, NAMES)
    parquet.write_table(table.take(list(range(11, -1, -1))), path)
    with pytest.raises(DatasetError, match="expected rows 0 to 11, found others"):
        open_shard(theirs, NAMES)
    parquet.write_table(table, path)
    monkeypatch.setattr("handsight.datasets.foreign.MOST_BYTES", 100)
    with pytest.raises(DatasetError, match=r"at most 100 bytes, found 12 rows, [\d,]+ bytes"):
        open_shard(theirs, NAMES)


def test_a_video_with_too_few_frames_is_refused(theirs):
    path = next((theirs / "meta/episodes").rglob("*.parquet"))
    table = parquet.read_table(path)
    name = f"videos/{NAMES['left']}/from_timestamp"
    late = pyarrow.array([0.0, 0.5])
    parquet.write_table(table.set_column(table.column_names.index(name), name, late), path)
    with pytest.raises(DatasetError, match=r"expected 7 frames from 0.500 s on, found 2"):
        open_shard(theirs, NAMES).column("episode_1", "stereo")
