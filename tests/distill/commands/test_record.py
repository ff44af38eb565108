"""Recording from end to end on the toy environment."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handsight.datasets import DatasetError, Shard, survey
from handsight.distill.commands import record
from handsight.distill.commands.inspect import InspectArgs, inspect
from handsight.distill.commands.record import RECORD_SEED, RecordArgs
from handsight.distill.runs import checkpoint
from handsight.distill.runs.interrupt import Interrupted
from handsight.distill.runs.policy_io import LoadedPolicy
from handsight.errors import HandsightError
from handsight.sims import EnvConfig

from ..toy_env import Scripted, ToyEnv

NAMES = ("state", "depth")


@pytest.fixture
def policies(tmp_path, monkeypatch):
    """A policy that sees depth and a teacher that knows the state, by path."""
    loaded = {}
    for number, name in enumerate(NAMES):
        path = tmp_path / name / "best.ckpt"
        checkpoint.save(path, {"seal": number})
        signature = ToyEnv((name, "proprio"), 1).signature
        loaded[path] = LoadedPolicy(Scripted(name), signature, EnvConfig(), "Scripted", path, None)
    monkeypatch.setattr(record, "load_policy", lambda path, device="cpu": loaded[path])
    return dict(zip(NAMES, loaded, strict=True))


@pytest.fixture
def args(toy_sims, policies, tmp_path):
    return RecordArgs(
        policies["depth"], policies["state"], episodes=20, num_envs=8, shard_mib=0, out=tmp_path / "data", act="sample"
    )


def episodes(folder: Path) -> list[tuple[Shard, str]]:
    return [(shard, name) for shard in map(Shard, survey(folder).whole) for name in shard.names]


def everything(folder: Path) -> list[dict[str, np.ndarray]]:
    return [{path: shard.read(name, path) for path in shard.datasets(name)} for shard, name in episodes(folder)]


def assert_same(one, other) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


def test_whole_episodes_of_known_resets_are_recorded(args):
    record.record(args)
    found = episodes(args.out)
    assert [shard.path.name for shard, _ in found[::8]] == [f"shard_{k:06d}.hdf5" for k in range(3)]
    resets = [(shard.episode_facts(name)["seed"], shard.episode_facts(name)["world"]) for shard, name in found]
    assert resets == [(RECORD_SEED + r, w) for r in range(3) for w in range(8)][:20]
    for shard, name in found:
        assert shard.read(name, "dones").tolist() == [0] * 7 + [1]
        shard.check_episode(name)


def test_what_is_recorded_is_what_happened(args):
    record.record(replace(args, beta=0.5, next_obs="vectors"))
    shard, name = episodes(args.out)[3]
    env = ToyEnv(("state", "proprio", "depth", "stereo"), 8)
    env.mix = {"wide": 1.0}
    obs = env.reset(RECORD_SEED)
    rows = {column: shard.column(name, column) for column in ("stereo", "depth", "state", "action", "reward")}
    for t in range(8):
        assert np.array_equal(rows["depth"][t], obs["depth"][3]) and np.array_equal(rows["stereo"][t], obs["stereo"][3])
        assert np.array_equal(rows["state"][t], obs["state"][3])
        label = Scripted("state")(obs, torch.zeros(8, 0))[0][3]
        assert np.array_equal(shard.column(name, "mean")[t], label)
        step = env.step(torch.from_numpy(rows["action"][t]).expand(8, -1))  # only world 3 is looked at
        obs = step.obs
        assert rows["reward"][t] == step.reward[3]
        assert np.array_equal(shard.column(name, "next_state")[t], obs["state"][3])
    assert shard.episode_facts(name)["success"] == bool(step.log["success"][3])
    assert (shard.column(name, "std") == np.float32(0.1)).all()


def test_who_acted_is_noted(args):
    record.record(replace(args, beta=0.5, episodes=64, num_envs=32))
    acted = [np.unique(shard.read(name, "by_teacher")).tolist() for shard, name in episodes(args.out)]
    assert {tuple(a) for a in acted} == {(0,), (1,)} and 16 < sum(a == [1] for a in acted) < 48
    facts = episodes(args.out)[0][0].facts
    assert facts.origin["policy"]["path"].endswith("depth/best.ckpt") and len(facts.origin["teacher"]["sha256"]) == 64
    assert {"git", "versions", "hardware"} <= set(facts.origin) and facts.signature["action_space"] == "toy3"


def test_only_the_groups_asked_for_are_written(args):
    record.record(replace(args, groups=("stereo,proprio",), episodes=4))
    ((shard, name), *_) = episodes(args.out)
    assert {p for p in shard.datasets(name) if p.startswith("obs/")} == {"obs/left", "obs/right", "obs/proprio"}


def test_a_recording_is_gone_on_with_where_it_ended(args):
    record.record(args)
    before = {path: path.read_bytes() for path in args.out.iterdir()}
    record.record(replace(args, episodes=31))
    assert all(path.read_bytes() == content for path, content in before.items())
    resets = [(s.episode_facts(n)["seed"], s.episode_facts(n)["world"]) for s, n in episodes(args.out)]
    assert len(resets) == len(set(resets)) == 31


@pytest.mark.parametrize("diverge", [[], [(1, 4), (2, 4), (5, 4)]])
@pytest.mark.parametrize("steps", [(6, 20), (8, 9, 16, 20), (3, 4, 19, 20)])
def test_a_recording_that_is_extended_is_the_one_made_at_once(steps, diverge, args, toy_sims, monkeypatch):
    from handsight import sims

    monkeypatch.setattr(
        sims, "make", lambda config, observe, num_envs, **_: ToyEnv(observe, num_envs, diverge=set(diverge))
    )
    whole, parts = replace(args, out=args.out / "whole"), replace(args, out=args.out / "parts")
    record.record(whole)
    for count in steps:
        record.record(replace(parts, episodes=count))
    assert_same(everything(parts.out), everything(whole.out))
    last = [list(map(Shard, survey(one.out).whole))[-1].extra for one in (parts, whole)]
    assert [last[0][key] for key in ("world", "lost")] == [last[1][key] for key in ("world", "lost")]


def test_what_the_teacher_would_have_done_is_an_action(args, monkeypatch):
    def eager(self, obs, hidden, forward=Scripted.forward):
        mean, std, hidden = forward(self, obs, hidden)
        return 3 * mean, std, hidden

    monkeypatch.setattr(Scripted, "forward", eager)
    record.record(args)
    labels = np.concatenate([shard.read(name, "teacher_mean") for shard, name in episodes(args.out)])
    assert np.abs(labels).max() == 1 and (np.abs(labels) == 1).mean() > 0.24


def test_answers_that_are_not_finite_are_refused_with_their_place(args, monkeypatch):
    def lost(self, obs, hidden, forward=Scripted.forward):
        mean, std, hidden = forward(self, obs, hidden)
        return mean * np.nan if "state" in self.obs_keys else mean, std, hidden

    monkeypatch.setattr(Scripted, "forward", lost)
    with pytest.raises(DatasetError, match=r"teacher_mean: expected finite numbers, found nan in row 0|none of 8"):
        record.record(args)
    assert not args.out.exists() or not list(args.out.iterdir())


def test_a_round_in_which_every_episode_is_lost_is_said_instead_of_tried_for_ever(args, monkeypatch):
    from handsight import sims

    lost = {(world, 4) for world in range(8)}
    monkeypatch.setattr(sims, "make", lambda config, observe, num_envs, **_: ToyEnv(observe, num_envs, diverge=lost))
    with pytest.raises(DatasetError, match="none of 8 episodes of seed 3000000 came to its end"):
        record.record(args)


def test_ctrl_c_keeps_finished_rounds_and_the_rest_is_recorded_later(args, monkeypatch):
    record.record(replace(args, out=args.out / "whole"))
    large = replace(args, shard_mib=100, out=args.out / "broken")

    def ask(self, action, step=ToyEnv.step):
        if self.seed == RECORD_SEED + 1 and self.clock[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, action)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(ToyEnv, "step", ask)
        record.record(large)
    assert len(episodes(large.out)) == 8 and len(list(large.out.iterdir())) == 1
    record.record(large)
    assert_same(everything(large.out), everything(args.out / "whole"))


def test_another_recording_in_the_folder_is_refused(args):
    record.record(args)
    with pytest.raises(DatasetError, match=r"(?s)another recording; .*beta: expected 0.25, found 0.0"):
        record.record(replace(args, beta=0.25))


def test_episodes_of_worlds_that_diverge_are_left_out(args, toy_sims, monkeypatch):
    from handsight import sims

    monkeypatch.setattr(
        sims, "make", lambda config, observe, num_envs, **_: ToyEnv(observe, num_envs, diverge=[(2, 4)])
    )
    record.record(args)
    assert len(episodes(args.out)) == 20 and 2 not in {s.episode_facts(n)["world"] for s, n in episodes(args.out)}


def test_inspection_counts_what_there_is_and_draws_a_contact_sheet(args, capsys):
    record.record(args)
    figures = inspect(InspectArgs(args.out, deep=True))
    assert (figures["episodes"], figures["samples"], figures["resets"], figures["shards"]) == (20, 160, 20, 3)
    success = np.mean([shard.episode_facts(name)["success"] for shard, name in episodes(args.out)])
    assert figures["success"] == success and figures["train"] + figures["valid"] == 20
    assert figures["datasets"]["obs/left"]["raw"] == 20 * 8 * 16 * 16 * 3
    sheet = args.out / "contact_sheet.png"
    assert sheet.read_bytes()[1:4] == b"PNG"
    printed = capsys.readouterr().out
    assert "obs/depth" in printed and "20 episodes of 20 resets" in printed


def test_inspection_names_damage_and_what_is_left(args):
    record.record(args)
    path = sorted(args.out.glob("*.hdf5"))[1]
    raw = path.read_bytes()
    at = Shard(path).file["data/demo_2/obs/left"].id.get_chunk_info(0).byte_offset + 20
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
    with pytest.raises(DatasetError, match=r"(?s)1 damaged.*000001.hdf5 was altered.*demo_2.*; 7 fit their CRC"):
        inspect(InspectArgs(args.out))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ("lidar",)}, r"unknown groups \['lidar'\]; available: stereo"),
        ({"beta": 2.0}, "RecordArgs.beta: expected"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    with pytest.raises(HandsightError, match=message):
        RecordArgs(Path("x"), **change)
