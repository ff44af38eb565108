"""Observations that travel through a process group of two; Gloo stands in for NCCL, which needs GPUs."""

import importlib
import os
import signal
import time

import pytest
import torch

from handsight.sims.remote import spares
from handsight.sims.remote.remote_vec_env import RemoteVecEnv
from handsight.sims.remote.worker import RemoteConfig

CONFIG = RemoteConfig(transport="gloo")


@pytest.fixture
def env(ray_cluster):
    """Two simulators with four chained worlds each."""
    made = RemoteVecEnv(importlib.import_module("chained_env").ChainedEnv, "cpu*2", 8, CONFIG)
    yield made
    made.close()


def transport():
    """The module: it imports Ray, which reads its settings then, so not before it is started."""
    return importlib.import_module("handsight.sims.remote.transports")


def pairs(env):
    return [worker.pair for worker in env.workers]


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_the_group_of_a_dead_simulator_is_rebuilt_and_the_others_keep_theirs(env, number):
    ledger = importlib.import_module("chained_env").Ledger(env.reset(0))
    spares.wait_until_ready(120)
    others, dead = pairs(env)
    os.kill(env.workers[1].description.pid, number)
    back, end = 0, time.monotonic() + 120
    while back < 20 and time.monotonic() < end:
        action = torch.rand(8, env.action_dim) * 2 - 1
        step = env.step(action)
        ledger.check(action, step)
        back += bool(ledger.lost and not step.log["lost"].any())
    assert back == 20, "no successor came"
    assert step.valid[:4].any() or step.first[:4].all()
    assert pairs(env)[0] == others and pairs(env)[1] not in (dead, None)
    assert set(transport()._learners) == set(pairs(env))


def test_a_step_that_nobody_received_is_noticed(env):
    """Or the next one would be filled with its images: NCCL knows no names of messages."""
    env.reset(0)
    env.step(torch.zeros(8, env.action_dim))
    pair = transport().PairMetadata([], "cpu", pairs(env)[0], number=2)
    with pytest.raises(ValueError, match=r"step 2 of pair \w+, of which 1 were received"):
        transport().PairTransport().recv_multiple_tensors("", pair, None)


def test_pairs_end_with_their_environment(env):
    assert len(transport()._learners) == 2
    env.close()
    assert not transport()._learners
