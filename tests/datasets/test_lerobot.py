"""The files of a LeRobotDataset v3.0, read by pyarrow and av; `benchmarks/lerobot_reads.py` reads them by lerobot."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as parquet
import pytest

from handsight.datasets import DatasetError, lerobot, write_shard
from handsight.distill.commands.export_lerobot import ExportLeRobotArgs, export_lerobot
from handsight.errors import HandsightError

sys.path.insert(0, str(Path(__file__).parent))
from shards import FACTS, episode, write


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Six episodes of five steps, a new file every ten frames."""
    monkeypatch.setattr(lerobot, "FILE_FRAMES", 10)
    write(tmp_path / "data", size=16)
    return export_lerobot(ExportLeRobotArgs(tmp_path / "data", tmp_path / "out", quality=0))


def test_the_folder_says_what_is_in_it(exported):
    info = json.loads((exported / "meta/info.json").read_text())
    counts = [info[key] for key in ("codebase_version", "total_episodes", "total_frames", "fps")]
    assert counts == ["v3.0", 6, 30, 12.5]
    features = info["features"]
    assert features["observation.images.left"]["dtype"] == "video"
    assert features["observation.images.right"]["shape"] == [16, 18, 3]
    assert features["observation.depth.left"] == {"dtype": "int16", "shape": [16, 18, 1], "names": None}
    assert features["action"]["shape"] == [3] and features["observation.state"]["shape"] == [4]
    tasks = parquet.read_table(exported / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0], "task": ["grasp the object and lift it"]}


def test_rows_are_the_steps_that_were_recorded(exported):
    paths = sorted((exported / "data").rglob("*.parquet"))
    assert [path.name for path in paths] == [f"file-{k:03d}.parquet" for k in range(3)]
    rows = [row for path in paths for row in parquet.read_table(path).to_pylist()]
    assert [row["index"] for row in rows] == list(range(30))
    for row in (rows[0], rows[17], rows[29]):
        number, t = row["episode_index"], row["frame_index"]
        assert (number, t) == divmod(row["index"], 5) and row["timestamp"] == pytest.approx(t * 0.08)
        columns = episode(number, size=16).columns
        assert np.array_equal(row["action"], columns["action"][t])
        assert np.array_equal(row["observation.state"], columns["proprio"][t])
        assert np.array_equal(row["observation.depth.left"], columns["depth"][t].transpose(1, 2, 0))
        assert row["next.done"] == (t == 4) and row["next.reward"] == columns["reward"][t]


def test_videos_show_what_was_seen_and_episodes_say_where(exported):
    episodes = parquet.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    rows = [(e["dataset_from_index"], e["dataset_to_index"]) for e in episodes]
    assert rows == [(5 * k, 5 * k + 5) for k in range(6)]
    for number in (0, 3):
        key = "videos/observation.images.right/"
        chosen = episodes[number]
        place = f"chunk-{chosen[key + 'chunk_index']:03d}/file-{chosen[key + 'file_index']:03d}.mp4"
        with av.open(str(exported / key / place)) as video:
            frames = {round(float(f.pts * f.time_base), 4): f.to_ndarray(format="rgb24") for f in video.decode(video=0)}
        begin = chosen[key + "from_timestamp"]
        assert begin == pytest.approx(0.4 * (number % 2))
        seen = episode(number, size=16).columns["stereo"][:, 1].transpose(0, 2, 3, 1)
        for t in range(5):
            assert np.array_equal(frames[round(begin + 0.08 * t, 4)], seen[t])


@pytest.mark.parametrize("size", [16, 15])  # images of 16 x 18 and of 15 x 17 pixels
def test_a_lossy_video_looks_like_what_was_seen_at_any_size(size, tmp_path):
    write(tmp_path / "data", shards=1, episodes=1, size=size)
    out = export_lerobot(ExportLeRobotArgs(tmp_path / "data", tmp_path / "out", quality=1))
    with av.open(str(out / "videos/observation.images.right/chunk-000/file-000.mp4")) as video:
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    seen = episode(0, size=size).columns["stereo"][:, 1].transpose(0, 2, 3, 1)
    for pair in zip(shown, seen, strict=True):  # chroma may be halved, so noise is kept in brightness only
        grey = [image.astype(float) @ [0.299, 0.587, 0.114] for image in pair]
        assert np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1] > 0.95


def test_statistics_are_those_of_all_steps(exported):
    stats = json.loads((exported / "meta/stats.json").read_text())
    actions = np.concatenate([episode(number, size=16).columns["action"] for number in range(6)])
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(stats["action"][name], getattr(actions, name)(axis=0), rtol=1e-5)
    assert stats["action"]["count"] == [30] and np.shape(stats["observation.images.left"]["mean"]) == (3, 1, 1)
    assert 0.4 < stats["observation.images.left"]["mean"][0][0][0] < 0.6


def test_an_existing_folder_is_left_alone_and_a_failure_leaves_none(tmp_path, exported, monkeypatch):
    with pytest.raises(DatasetError, match="out exists already"):
        export_lerobot(ExportLeRobotArgs(tmp_path / "data", exported))
    monkeypatch.setattr(lerobot, "_write_tasks", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_lerobot(ExportLeRobotArgs(tmp_path / "data", tmp_path / "other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HandsightError, match=r"needs pyarrow: uv sync --extra lerobot"):
        export_lerobot(ExportLeRobotArgs(tmp_path, tmp_path / "out"))


def test_what_no_camera_shows_stays_out_unless_it_is_asked_for(tmp_path):
    plain = episode(0)
    told = replace(plain, columns={**plain.columns, "state": np.ones((5, 3), np.float32)})
    write_shard(tmp_path / "shard_000000.hdf5", FACTS, iter([told]), {}, 0.0)
    for privileged in (False, True):
        out = tmp_path / str(privileged)
        export_lerobot(ExportLeRobotArgs(tmp_path / "shard_000000.hdf5", out, privileged=privileged))
        features = json.loads((out / "meta/info.json").read_text())["features"]
        assert ("observation.environment_state" in features) == privileged
