"""kill -9 of a recorder loses at most the open shard; no flipped bit and no cut of a shard goes unnoticed."""

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from handsight.datasets import DatasetError, survey
from handsight.datasets.shard import HEADER, verify
from handsight.distill.commands.inspect import InspectArgs, inspect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))
from shards import write

FLIPS, CUTS = 200, 100
RECORDER = """
    import hashlib, json, os, random, signal, sys, time, traceback
    from pathlib import Path
    import torch
    sys.path.insert(0, sys.argv[3])
    from toy_env import Scripted, ToyEnv
    from handsight import sims
    from handsight.datasets.shard import Shard, verify
    from handsight.distill.commands import record
    from handsight.distill.runs import checkpoint
    from handsight.distill.runs.policy_io import LoadedPolicy
    from handsight.sims import EnvConfig

    root, kills = Path(sys.argv[1]), int(sys.argv[2])
    sims.make = lambda config, observe, num_envs, device: ToyEnv(observe, num_envs)
    path = root / "policy" / "best.ckpt"
    checkpoint.save(path, {})
    signature = ToyEnv(("state", "proprio"), 1).signature
    policy = LoadedPolicy(Scripted("state"), signature, EnvConfig(), "Scripted", path, None)
    record.load_policy = lambda path, device: policy
    record.provenance = dict  # it asks git, which takes longer than a shard
    torch.set_num_threads(1)
    draws, seen, cut_short = random.Random(0), {}, 0

    def go(out, episodes):
        record.record(record.RecordArgs(path, episodes=episodes, num_envs=4, shard_mib=0, out=out))

    def record_in_a_child():
        child = os.fork()
        if child:
            return child
        os.dup2(os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        try:
            go(root / "data", 40_000)
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    for kill in range(kills):
        child = record_in_a_child()
        while len(list((root / "data").glob("*.hdf5"))) == len(seen):
            assert os.waitpid(child, os.WNOHANG) == (0, 0), (root / "log").read_text()
            time.sleep(0.001)
        while kill % 2 and not list((root / "data").glob(".*.tmp")):  # half of them while a shard is open
            time.sleep(0.0005)
        time.sleep(draws.uniform(0, 0.001 if kill % 2 else 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut_short += bool(list((root / "data").glob(".*.tmp")))
        for shard in (root / "data").glob("*.hdf5"):
            digest = verify(shard)["sha256"]
            assert seen.setdefault(shard.name, digest) == digest, f"{shard} was touched after it was finished"
        assert len(seen) == len(list((root / "data").glob("*.hdf5"))), "a finished shard is gone"
    os.dup2(2, 1)
    go(root / "data", 4 * len(seen))
    go(root / "whole", 4 * len(seen))
    same = True
    for one, other in zip(sorted((root / "data").glob("*.hdf5")), sorted((root / "whole").glob("*.hdf5")), strict=True):
        one, other = Shard(one), Shard(other)
        same &= one.names == other.names and all(
            (one.read(n, p) == other.read(n, p)).all() for n in one.names for p in one.datasets(n)
        )
    left = [p.name for p in (root / "data").iterdir() if p.suffix == ".tmp"]
    sys.stderr.write(json.dumps({"shards": len(seen), "cut_short": cut_short, "same": bool(same), "left": left}))
"""


@pytest.mark.parametrize("kills", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_of_a_recorder_loses_at_most_the_open_shard(tmp_path, kills):
    toys = str(Path(__file__).resolve().parents[1] / "distill")
    words = [sys.executable, "-c", textwrap.dedent(RECORDER), str(tmp_path), str(kills), toys]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30 * kills)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stderr.splitlines()[-1])
    assert seen["cut_short"] >= kills // 4, "too few kills fell into a shard to say anything"
    assert seen["shards"] >= kills
    assert seen["same"], "what was recorded in a hundred pieces is what one recorder records"
    assert seen["left"] == []


@pytest.fixture
def shard(tmp_path) -> Path:
    return write(tmp_path, shards=1, episodes=2)[0]


def noticed(path: Path) -> bool:
    try:
        verify(path)
    except DatasetError as error:
        return path.name in str(error)
    return False


def test_every_flipped_bit_is_noticed(shard):
    whole = shard.read_bytes()
    flips = [(position, position % 8) for position in random.Random(0).sample(range(len(whole)), FLIPS)]
    flips += [(position, 0) for position in range(HEADER)]  # the last bit turns a digit into another one
    for position, bit in flips:
        shard.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
        assert noticed(shard), f"bit {bit} of byte {position}"
    shard.write_bytes(whole)
    verify(shard)


def test_every_cut_is_noticed(shard):
    whole = shard.read_bytes()
    for length in [0, 1, HEADER - 1, HEADER, len(whole) - 1, *random.Random(0).sample(range(len(whole)), CUTS - 5)]:
        shard.write_bytes(whole[:length])
        assert noticed(shard), f"cut after {length} bytes"
    shard.write_bytes(whole + b"\0")
    assert noticed(shard)


def test_the_command_names_every_damaged_shard(tmp_path):
    paths = write(tmp_path, shards=6)
    for number, path in enumerate(paths[1:4]):
        raw = path.read_bytes()
        changed = {0: raw[:-7], 1: raw[:5] + b"?" + raw[6:], 2: raw[: 3 * HEADER] + b"\xff" * 9 + raw[3 * HEADER + 9 :]}
        path.write_bytes(changed[number])
    assert len(survey(tmp_path).damaged) == 3
    with pytest.raises(DatasetError) as caught:
        inspect(InspectArgs(tmp_path))
    assert all(path.name in str(caught.value) for path in paths[1:4])
    assert not any(path.name in str(caught.value) for path in (paths[0], *paths[4:]))
