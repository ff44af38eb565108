"""Learning from recorded rollouts on the toy environment."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from handsight import sims
from handsight.datasets import DatasetError, SeededBatches, SequenceBuffer, Windows, collate, whole_shards
from handsight.distill.commands import record
from handsight.distill.commands.record import RecordArgs
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import LoadedPolicy, SignatureError, facts_of, load_policy
from handsight.distill.training import offline, train_student
from handsight.distill.training.dagger import DaggerConfig, collect
from handsight.distill.training.distiller import Distiller
from handsight.distill.training.student_config import OfflineConfig, StudentRunConfig
from handsight.errors import HandsightError
from handsight.sims import EnvConfig
from handsight.students import StereoStudent, StudentConfig

from ...datasets.test_foreign import NAMES, robomimic
from ...datasets.test_lerobot_in import REAL as LEROBOT
from ..toy_env import Scripted, ToyEnv
from .test_train_student import assert_same, saved

SMALL = StudentConfig(memory_size=32, hidden=32, image_features=64)
QUICK = DaggerConfig(gradient_steps=4, batch_sequences=4)


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """The path of a teacher that needs no training; it sees depth."""
    path = tmp_path / "teacher" / "best.ckpt"
    checkpoint.save(path, {"seal": 1})
    loaded = LoadedPolicy(
        Scripted("depth"), ToyEnv(("depth", "proprio"), 1).signature, EnvConfig(), "Scripted", path, None
    )
    for module in (record, train_student):
        monkeypatch.setattr(module, "load_policy", lambda path, device="cpu": loaded)
    return path


@pytest.fixture
def data(toy_sims, teacher, tmp_path):
    args = RecordArgs(teacher, episodes=48, num_envs=16, shard_mib=0, out=tmp_path / "data", valid_share=0.3)
    return record.record(args)


def quick(data: Path, **changes) -> StudentRunConfig:
    return replace(StudentRunConfig(data=data, student=SMALL, dagger=QUICK, iterations=3), **changes)


@pytest.mark.parametrize("loss", ["sigma", "nll"])
def test_online_and_offline_have_equal_loss_on_equal_data(toy_sims, tmp_path, loss):
    """The same rollout as DAgger's columns and, through shards, as windows: other rows, the same sums."""
    torch.manual_seed(0)
    env = ToyEnv(("state", "proprio", "stereo"), 12, end_on_success=True, diverge=[(3, 2)])
    student = StereoStudent(SMALL, env.obs_spec, env.action_dim).eval()
    config = DaggerConfig(beta_start=0.5, loss=loss)
    columns, _ = collect(env, Scripted("state"), student, config, 0, seed=3)
    assert (~columns["valid"]).any() and columns["first"][1:].any()  # or the two would have the same rows
    buffer = SequenceBuffer(10**9, facts_of(env, EnvConfig(), {}))
    buffer.append(columns)
    buffer.write(tmp_path)
    windows = Windows(whole_shards(tmp_path).whole, ("mean", "std", "object", "stereo", "proprio"), env.episode_steps)
    offline_batch = collate([windows[i] for i in range(len(windows))])
    assert offline_batch["valid"].sum() == columns["valid"].sum() and len(windows) > 12
    module = Distiller(student, config, 1)
    with torch.no_grad():
        online, recorded = module.losses(columns), module.losses(offline_batch)
    for name in online:
        torch.testing.assert_close(online[name], recorded[name], rtol=1e-5, atol=1e-6)
    offline_batch["mean"] += 0.1
    assert not torch.allclose(module.losses(offline_batch)["action"], online["action"], rtol=1e-3)


def test_a_student_learns_from_a_recording_without_a_simulator(data, toy_sims, tmp_path, monkeypatch):
    monkeypatch.setattr(sims, "make", None)
    dagger = DaggerConfig(gradient_steps=16, batch_sequences=16, learning_rate=3e-3)
    run = train_student.train_student(quick(data, dagger=dagger, iterations=6), run_root=tmp_path / "runs")
    rows = run.metrics()
    assert run.name == "student-stereo-from-data" and len(rows) == 6
    assert rows[-1]["validation/action"] < 0.5 * rows[0]["validation/action"]
    assert rows[-1]["loss/action"] < 0.5 * rows[0]["loss/action"]
    loaded = load_policy(run.path)
    assert loaded.kind == "StereoStudent" and loaded.policy.normalize["proprio"].count > 200
    loaded.check(toy_sims[-1].signature)


def test_a_resumed_run_ends_bit_for_bit_like_one_that_went_through(data, tmp_path, monkeypatch):
    config = quick(data, iterations=4, dagger=replace(QUICK, batch_sequences=9))  # passes end within iterations
    whole = train_student.train_student(config, run_root=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(self, save=offline.OfflineTraining.save):
        save(self)
        if self.iteration == 2:
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(offline.OfflineTraining, "save", stop)
        train_student.train_student(config, run_root=tmp_path / "broken")
    (folder,) = (tmp_path / "broken").glob("*/*")
    halves = train_student.train_student(resume=folder)
    assert_same(saved(whole), saved(halves))
    assert [row["loss/action"] for row in whole.metrics()] == [row["loss/action"] for row in halves.metrics()]


def test_workers_change_nothing(data, tmp_path):
    one = train_student.train_student(quick(data), run_root=tmp_path / "one")
    workers = OfflineConfig(workers=2)
    other = train_student.train_student(quick(data, offline=workers), run_root=tmp_path / "two")
    assert_same(saved(one)["policy"]["weights"], saved(other)["policy"]["weights"])


def test_dagger_leaves_shards_that_a_student_learns_from(toy_sims, teacher, tmp_path):
    tiny = replace(QUICK, spill=True, buffer_gib=1.5 * 16 * 8 * 1700 / 2**30)
    config = StudentRunConfig(teacher, student=SMALL, dagger=tiny, num_envs=16, iterations=3)
    run = train_student.train_student(config, run_root=tmp_path / "runs")
    assert [row["buffer/sequences"] for row in run.metrics()] == [16, 32, 48]
    assert [row["buffer/spilled"] for row in run.metrics()] == [0, 16, 32] and run.metrics()[-1]["buffer/evicted"] == 0
    pupil = train_student.train_student(quick(run.path / "sequences"), run_root=tmp_path / "runs")
    assert len(pupil.metrics()) == 3 and saved(pupil)["teacher"]["path"] == str(teacher)


def test_spilling_changes_nothing_but_memory(toy_sims, teacher, tmp_path):
    config = StudentRunConfig(teacher, student=SMALL, dagger=QUICK, num_envs=16, iterations=3)
    roomy = train_student.train_student(config, run_root=tmp_path / "roomy")
    tiny = replace(QUICK, spill=True, buffer_gib=1.5 * 16 * 8 * 1700 / 2**30)
    spilled = train_student.train_student(replace(config, dagger=tiny), run_root=tmp_path / "tiny")
    assert_same(saved(roomy)["policy"]["weights"], saved(spilled)["policy"]["weights"])


def test_changed_shards_are_not_gone_on_with(data, tmp_path):
    run = train_student.train_student(quick(data), run_root=tmp_path / "runs")
    sorted(data.glob("*.hdf5"))[-1].unlink()
    with pytest.raises(HandsightError, match=r"the shards in .* changed since it began"):
        train_student.train_student(resume=run.path)


def test_what_was_not_recorded_is_named(toy_sims, teacher, tmp_path):
    out = record.record(RecordArgs(teacher, episodes=4, num_envs=4, groups=("proprio",), out=tmp_path / "data"))
    with pytest.raises(DatasetError, match=r"has no obs/left; available: .*obs/proprio"):
        train_student.train_student(quick(out), run_root=tmp_path / "runs")


def test_a_damaged_shard_stops_unless_it_is_allowed(data, tmp_path):
    path = sorted(data.glob("*.hdf5"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"1 of 3 shards are damaged"):
        train_student.train_student(quick(data), run_root=tmp_path / "runs")
    allowed = quick(data, iterations=1, offline=OfflineConfig(max_damaged=0.4))
    with pytest.warns(UserWarning, match=r"left out a damaged shard"):
        train_student.train_student(allowed, run_root=tmp_path / "runs")


@pytest.mark.parametrize("both", [{}, {"teacher": Path("t"), "data": Path("d")}, {"data": Path("d"), "control": True}])
def test_a_student_learns_from_a_teacher_or_from_data(both):
    with pytest.raises(HandsightError, match="either a teacher or data"):
        StudentRunConfig(**both)


def test_validation_is_of_episodes_that_are_not_learnt_from_and_in_evaluation_mode(data, monkeypatch):
    training = offline.OfflineTraining(quick(data), Fabric(accelerator="cpu", devices=1))
    own = [{(w.shard, w.episode) for w in one.windows} for one in (training.train_windows, training.valid_windows)]
    assert not own[0] & own[1] and len(own[0]) + len(own[1]) == 48 and own[1]
    seen, losses = [], Distiller.losses

    def watched(self, batch):
        seen.append((self.student.training, int(batch["valid"].sum())))
        return losses(self, batch)

    monkeypatch.setattr(Distiller, "losses", watched)
    training.distiller.student.train()
    first = training.validate()
    assert not any(mode for mode, _ in seen) and first == training.validate()
    assert sum(rows for _, rows in seen) == 2 * 8 * len(own[1])  # twice every row of the split


def test_iterations_go_through_passes_and_draw_augmentation_of_their_own(data, toy_sims, tmp_path, monkeypatch):
    batches, seeds, fit = [], [], Distiller.fit

    def watched(self, given, tick):
        given = list(given)
        batches.append(given)
        seeds.append(torch.initial_seed())
        return fit(self, given, tick)

    monkeypatch.setattr(Distiller, "fit", watched)
    items, getitem = [], Windows.__getitem__
    monkeypatch.setattr(Windows, "__getitem__", lambda self, i: items.append(i) or getitem(self, i))
    train_student.train_student(quick(data, seed=5), run_root=tmp_path)
    assert len(set(seeds)) == 3 and [len(one) for one in batches] == [4] * 3
    windows = len(Windows(whole_shards(data).whole, ("mean",), 8, "train"))
    expected = [item for batch in SeededBatches(windows, 4, 12, 5) for item in batch]
    drawn = iter(items)
    assert all(item in drawn for item in expected)  # in this order, between those that are validated


def test_demonstrations_that_others_recorded_train_a_student_that_goes_on_and_loads(tmp_path, caplog):
    caplog.set_level("INFO", "handsight")
    robomimic(tmp_path / "image.hdf5", size=32)
    names = tuple(f"{ours}={theirs}" for ours, theirs in NAMES.items())
    config = quick(tmp_path / "image.hdf5", offline=OfflineConfig(map=(",".join(names),)), iterations=2)
    run = train_student.train_student(config, run_root=tmp_path / "runs")
    assert "object positions were not recorded" in caplog.text
    assert f"next: handsight export {run.path} --check-steps 0" in caplog.text  # no environment here takes it
    assert {"loss/action", "loss/spread"} <= set(run.metrics()[-1]) and "loss/object" not in run.metrics()[-1]
    loaded = load_policy(run.path)
    assert loaded.signature["task"] == "demonstrations of Lift" and loaded.signature["obs"]["proprio"]["shape"] == [5]
    assert loaded.policy.head.mean.out_features == 7
    with pytest.raises(SignatureError, match="learnt from demonstrations of Lift: no environment here"):
        loaded.check_scene(loaded.env_config)
    train_student.train_student(resume=run.path, iterations=3)
    assert run.metrics()[-1]["iteration"] == 3


def test_a_student_learns_from_a_dataset_that_lerobot_wrote(tmp_path):
    names = "left=observation.images.top,right=observation.images.wrist"
    config = quick(LEROBOT, offline=OfflineConfig(map=(names,)), iterations=1)
    run = train_student.train_student(config, run_root=tmp_path / "runs")
    loaded = load_policy(run.path)
    assert loaded.signature["task"] == "demonstrations of so101_follower"
    assert loaded.policy.head.mean.out_features == 2
    train_student.train_student(resume=run.path, iterations=2)
    assert run.metrics()[-1]["iteration"] == 2


def test_a_name_for_foreign_data_that_is_no_pair_is_refused():
    with pytest.raises(HandsightError, match=r"offline.map: expected OURS=THEIRS, .* found 'left='"):
        _ = OfflineConfig(map=("left=",)).names
