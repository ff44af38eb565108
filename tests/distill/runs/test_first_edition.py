"""What the first edition wrote loads unchanged. `tests/first_edition` was written by it, at commit a35a749."""

import hashlib
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from handsight.datasets import Shard, Windows
from handsight.datasets.shard import verify
from handsight.distill.evaluation.evaluation import Evaluation
from handsight.distill.report.study_results import Study
from handsight.distill.runs import checkpoint, zoo
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.train_teacher import train_teacher

from .test_checkpoint import DTYPES, PLAIN

ROOT = Path(__file__).resolve().parents[3]
OLD = ROOT / "tests" / "first_edition"


def weights_sum(policy):
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in policy.state_dict().values())).hexdigest()


def test_every_kind_of_value_of_a_checkpoint(tmp_path):
    back = checkpoint.load(OLD / "plain.ckpt")
    assert back["plain"] == PLAIN and repr(back["plain"]) == repr(PLAIN)
    ramp = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    for dtype in DTYPES:
        found, expected = back["tensors"][dtype], ramp.to(dtype)
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        assert found.reshape(-1).view(torch.uint8).equal(expected.reshape(-1).view(torch.uint8))
    arrays = back["arrays"]
    assert [array.dtype.str for array in arrays] == [">f4", "<f8", "<M8[ns]", "|V20", "<U4", "<u2", "<c16"]
    np.testing.assert_array_equal(arrays[0], np.arange(6).reshape(3, 2))
    assert arrays[3]["b"].tolist() == [[0.5, 2.0]] and arrays[4].tolist() == ["cube", "mug"]
    assert [type(scalar).__name__ for scalar in back["scalars"]] == ["float32", "int64", "bool", "uint16"]
    assert back["shared/name"].tolist() == [1] and back["shared"]["name"].tolist() == [0]
    checkpoint.save(tmp_path / "new.ckpt", back)
    assert repr(checkpoint.load(tmp_path / "new.ckpt")) == repr(back)


def test_a_run_its_metrics_and_its_policy():
    run = Run.open(OLD / "run")
    config = run.config(TeacherConfig)
    assert (config.num_envs, config.policy.hidden, config.env.scene.rig.height) == (2, (8,), 8)
    assert [row["step"] for row in run.metrics()] == [4, 8] and run.meta["git"]["commit"].startswith("a35a749")
    loaded = load_policy(OLD / "run")
    assert weights_sum(loaded.policy) == "894aa150062b048df457c6913556fceb8f40d5a9c70d1cb4f33116b869077362"


def test_a_run_is_gone_on_with(tmp_path):
    shutil.copytree(OLD / "run", tmp_path / "run")
    old = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").write_text(old.replace('"iterations": 2', '"iterations": 3', 1))
    run = train_teacher(resume=tmp_path / "run")
    assert [row["step"] for row in run.metrics()] == [4, 8, 12]


def test_a_shard():
    path = OLD / "shard_000000.hdf5"
    assert verify(path)["episodes"] == 1
    shard = Shard(path)
    shard.check_episode("demo_0")
    assert shard.steps == {"demo_0": 36} and shard.episode_facts("demo_0")["crc32"] == 2123645929
    batch = Windows([path], ["stereo", "depth", "proprio", "mean"], 36)[0]
    assert batch["stereo"].shape == (36, 2, 3, 8, 8) and batch["valid"].all()


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo(name):
    assert load_policy(f"zoo:{name}").policy


def test_committed_study_results():
    with warnings.catch_warnings(action="error"):
        study = Study.load(ROOT / "benchmarks" / "results" / "study")
    assert set(study.comparisons) == {"open", "occluded", "wrist"}
    assert all(isinstance(entry.evaluation, Evaluation) for one in study.comparisons.values() for entry in one.policies)
