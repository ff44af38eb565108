"""Demonstrations that others recorded, written as robomimic and Isaac Lab leave them."""

import json

import h5py
import numpy as np
import pytest

from handsight.datasets import DatasetError, Windows, whole_shards
from handsight.datasets.foreign import SPREAD, Foreign, open_shard

NAMES = {
    "left": "agentview_image",
    "right": "robot0_eye_in_hand_image",
    "proprio": "robot0_eef_pos+robot0_gripper_qpos",
}


def robomimic(path, demos=("demo_10", "demo_2", "demo_1"), mask=False, size=12, steps=6):
    """As robomimic 0.3 writes them: no header, gzip, demos in no order, env_args as a string, no splits, no states."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        data.attrs["total"] = steps * len(demos)
        for name in demos:
            draws, demo = np.random.default_rng(int(name[5:])), data.create_group(name)
            demo.attrs["model_file"] = "<mujoco/>"
            demo["actions"] = draws.uniform(-1, 1, (steps, 7))  # float64
            obs = demo.create_group("obs")
            for camera in ("agentview_image", "robot0_eye_in_hand_image"):
                image = draws.integers(0, 256, (steps, size, size, 3), dtype=np.uint8)
                obs.create_dataset(camera, data=image, compression="gzip", chunks=(1, size, size, 3))
            obs["robot0_eef_pos"] = draws.normal(size=(steps, 3))
            obs["robot0_gripper_qpos"] = draws.normal(size=(steps, 2))
        if mask:
            file["mask/train"] = np.array([b"demo_1", b"demo_10"])
            file["mask/valid"] = np.array([b"demo_2"])
    return path


def isaac_lab(path, steps=5):
    """As Isaac Lab writes them: nested initial state of one row, text, images with alpha and channels first."""
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = json.dumps({"env_name": "Isaac-Stack-v0", "type": 2})
        demo = file["data"].create_group("demo_0")
        demo.attrs["num_samples"], demo.attrs["success"] = steps, True
        demo["actions"] = np.full((steps, 7), 1.5, np.float32)
        demo["initial_state/articulation/robot/joint_position"] = np.zeros((1, 9), np.float32)
        demo["instruction"] = "stack the cubes"
        demo["obs/table_cam"] = np.full((steps, 8, 8, 4), 7, np.uint8)
        demo["obs/wrist_cam"] = np.full((steps, 3, 8, 8), 9, np.uint8)
        demo["obs/joint_pos"] = np.ones((steps, 9), np.float32)
    return path


def test_demonstrations_of_robomimic_are_read_by_the_names_they_have(tmp_path):
    shard = open_shard(robomimic(tmp_path / "image.hdf5"), NAMES)
    assert isinstance(shard, Foreign) and shard.names == ["demo_1", "demo_2", "demo_10"]
    assert (shard.split("train"), shard.split("valid")) == (shard.names, [])
    with h5py.File(shard.path) as file:
        demo = file["data/demo_2"]
        eyes = [demo[f"obs/{NAMES[eye]}"][1:3] for eye in ("left", "right")]
        assert np.array_equal(shard.column("demo_2", "stereo", slice(1, 3)), np.stack(eyes, 1).transpose(0, 1, 4, 2, 3))
        felt = np.concatenate([demo["obs/robot0_eef_pos"][:], demo["obs/robot0_gripper_qpos"][:]], 1)
        assert np.array_equal(shard.column("demo_2", "proprio"), felt.astype(np.float32))
        assert np.array_equal(shard.column("demo_2", "mean"), demo["actions"][:].astype(np.float32))
    assert (shard.column("demo_2", "std") == np.float32(SPREAD)).all()
    obs = {name: (form["shape"], form["dtype"]) for name, form in shard.facts.signature["obs"].items()}
    assert obs == {"stereo": ([2, 3, 12, 12], "uint8"), "proprio": ([5], "float32")}
    assert shard.facts.env_name == "Lift"


def test_their_splits_are_kept_where_there_are_some(tmp_path):
    shard = open_shard(robomimic(tmp_path / "image.hdf5", mask=True), NAMES)
    assert (shard.split("train"), shard.split("valid")) == (["demo_1", "demo_10"], ["demo_2"])


def test_demonstrations_of_isaac_lab_are_read_with_alpha_text_and_channels_first(tmp_path):
    names = {"left": "table_cam", "right": "wrist_cam", "proprio": "joint_pos"}
    found = whole_shards(isaac_lab(tmp_path / "dataset.hdf5"), names=names)
    window = Windows(found.whole, ("stereo", "proprio", "mean"), 5, "train", names=names)[0]
    assert window["stereo"].shape == (5, 2, 3, 8, 8)
    assert [int(window["stereo"][:, eye].float().mean()) for eye in (0, 1)] == [7, 9]
    assert window["proprio"].shape == (5, 9) and float(window["mean"][0, 0]) == 1.5


def test_other_actions_than_those_of_the_episode_are_learnt_where_they_are_named(tmp_path):
    path, absolute = robomimic(tmp_path / "image.hdf5"), np.full((6, 7), 0.25, np.float32)
    with h5py.File(path, "r+") as file:
        file["data/demo_1/actions_abs"] = absolute
    shard = open_shard(path, {**NAMES, "actions": "actions_abs"})
    assert np.array_equal(shard.column("demo_1", "mean"), absolute)
    assert shard.column("demo_1", "std").shape == (6, 7)


def test_what_is_missing_is_named_with_what_there_is_and_the_option(tmp_path):
    shard = open_shard(robomimic(tmp_path / "image.hdf5"), {"left": "agentview_image"})
    with pytest.raises(
        DatasetError, match=r"has no right \(--offline.map right=NAME\); available: .*agentview_image \(12"
    ):
        shard.column("demo_1", "stereo")
    assert shard.has("mean") and not shard.has("stereo") and not shard.has("object")


def test_eyes_of_different_sizes_are_refused_by_name(tmp_path):
    path = robomimic(tmp_path / "image.hdf5")
    with h5py.File(path, "r+") as file:
        del file["data/demo_1/obs/agentview_image"]
        file["data/demo_1/obs/agentview_image"] = np.zeros((6, 8, 8, 3), np.uint8)
    with pytest.raises(
        DatasetError, match=r"image.hdf5: demo_1: stereo cannot be read: all input arrays must have the"
    ):
        open_shard(path, NAMES)


def test_links_out_of_a_foreign_file_and_more_than_it_can_hold_are_refused(tmp_path):
    for number, spoil in enumerate(
        (
            lambda file: file.__setitem__("data/demo_1/obs/secret", h5py.ExternalLink("/etc/passwd", "/")),
            lambda file: file.__setitem__("data/demo_1/obs/again", h5py.SoftLink("/data")),
            lambda file: file["data/demo_1/obs"].create_dataset("huge", (10**9, 100), "f4", chunks=(1, 100)),
        )
    ):
        path = robomimic(tmp_path / f"{number}.hdf5")
        with h5py.File(path, "r+") as file:
            spoil(file)
        with pytest.raises(DatasetError, match="expected"):
            open_shard(path, NAMES)


def test_black_images_that_gzip_packs_well_are_no_reason_to_refuse(tmp_path):
    path = robomimic(tmp_path / "image.hdf5")
    with h5py.File(path, "r+") as file:
        for camera in ("agentview_image", "robot0_eye_in_hand_image"):
            del file[f"data/demo_1/obs/{camera}"]
            black = np.zeros((6, 240, 320, 3), np.uint8)
            file["data/demo_1/obs"].create_dataset(camera, data=black, compression="gzip", compression_opts=9)
            assert black.nbytes > 300 * file[f"data/demo_1/obs/{camera}"].id.get_storage_size()
    assert "demo_1" in open_shard(path, NAMES).names


def test_a_cut_file_and_one_without_demonstrations_are_refused_by_name(tmp_path):
    path = robomimic(tmp_path / "image.hdf5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=rf"{path}: expected demonstrations"):
        open_shard(path)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(DatasetError, match="expected demonstrations in /data/<name>/actions"):
        open_shard(tmp_path / "other.hdf5")
