"""What a learner keeps in mind of its simulators, without any: patience, seeds, mixes, rows of those that failed."""

from functools import partial
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from handsight.sims.env_config import RemoteConfig
from handsight.sims.remote import spares
from handsight.sims.remote.placement import Slot
from handsight.sims.remote.remote_vec_env import RemoteVecEnv, Traffic
from handsight.sims.remote.simulator import Packet
from handsight.sims.remote.worker import NEW_SEED, SimulatorError, Worker
from handsight.sims.vec_env import ArraySpec

CONFIG = RemoteConfig(step_timeout=1.0, build_timeout=7.0, max_failures=3, spares=0)


@pytest.fixture
def made(monkeypatch):
    """Makes workers whose actors only note what they are asked."""
    monkeypatch.setattr(spares, "take", lambda slot, transport: MagicMock())
    monkeypatch.setattr(spares, "prepare", lambda *_: None)
    monkeypatch.setattr(spares, "dismiss", lambda actor: None)  # or Ray would begin by itself
    return partial(Worker, MagicMock(), Slot("cpu"), config=CONFIG)


def packet(rows=4, seconds=0.0, stepped=True):
    flags = {"valid": np.ones(rows, bool)} if stepped else {}
    return Packet({"state": np.full((rows, 2), 9.0, np.float32)}, flags, {}, seconds)


def test_a_step_may_take_five_times_as_long_as_the_slowest_so_far_and_never_less_than_was_agreed(made):
    worker = made(slice(0, 4), 0)
    assert worker.patience == 7.0  # it builds its environments
    for seconds, patience in ((0.01, 1.0), (3.0, 15.0), (0.01, 15.0)):
        worker.take(packet(seconds=seconds))
        assert worker.patience == patience


def test_each_successor_lives_other_episodes_of_the_same_worlds(made):
    worker = made(slice(4, 8), 100)
    assert (worker.world_offset, worker.num_envs, worker.seed(5)) == (104, 4, 5)
    for count in (1, 2):
        worker.replace(RuntimeError("gone"), 5, {"near": 1.0}, True)
        worker.actor.begin.remote.assert_called_once_with(5 + count * NEW_SEED, {"near": 1.0}, True)
        assert worker.actor.build.remote.call_args.args[1:3] == (4, 104)
    with pytest.raises(SimulatorError, match=r"worlds 104 to 107 failed 3 times in a row.*\ngone"):
        worker.replace(RuntimeError("gone"), 5, None, False)


def test_failures_are_in_a_row_until_a_step_came_back(made):
    worker = made(slice(0, 4), 0)
    worker.replace(RuntimeError("gone"), 5, None, False)
    worker.take(packet(stepped=False))
    assert worker.failures == 1  # an opening proves nothing: the first step may fail again
    worker.take(packet())
    assert worker.failures == 0


class Alone(RemoteVecEnv):
    """Asks each simulator, and takes what that says for the answer."""

    def __init__(self, workers):
        self.workers, self._crews, self._spans = workers, [workers], (slice(0, workers[-1].worlds.stop),)
        self.obs_spec, self.traffic = {"state": ArraySpec((2,), torch.float32)}, Traffic()
        self.device = self._host = torch.device("cpu")
        self._seen = [{"state": torch.arange(16.0).reshape(8, 2)}]
        self._seed, self._mix, self._staggered, self.config = 5, None, False, CONFIG

    def _ask_all(self, ask, waiting=False):
        return [ask(worker) for worker in self.workers if waiting or not worker.lost]

    def _open(self, packets):
        return packets


@pytest.fixture
def env(made):
    return Alone([made(slice(0, 4), 0), made(slice(4, 8), 0)])


def test_a_successor_on_its_way_is_told_the_new_mix(env):
    env.workers[1].replace(RuntimeError("gone"), 5, {"wide": 1.0}, False)
    env.set_reset_mix({"near": 1.0})
    for worker in env.workers:
        worker.actor.call.remote.assert_called_once_with("set_reset_mix", {"near": 1.0})


def test_worlds_of_a_simulator_that_was_lost_when_they_were_saved_begin_anew(env):
    saved = {"simulators": [{"a": 1}, None], "successors": [2, 1], "seed": 7, "mix": {"near": 1.0}, "staggered": True}
    env.load_state_dict(saved)
    here, lost = env.workers
    here.actor.load_state_dict.remote.assert_called_once_with({"a": 1})
    lost.actor.begin.remote.assert_called_once_with(7 + 2 * NEW_SEED, {"near": 1.0}, True)
    assert [worker.successors for worker in env.workers] == [2, 2]


def test_rows_of_a_lost_simulator_go_on_showing_its_last_observation_and_open_an_episode(env):
    env._log, env._sent_at = {}, [0.0]
    step = env._gather(0, [packet(), None])
    assert (step.obs["state"][:4] == 9).all() and torch.equal(
        step.obs["state"][4:], torch.arange(8.0, 16).reshape(4, 2)
    )
    assert step.first.tolist() == step.log["lost"].tolist() == [False] * 4 + [True] * 4
    assert step.valid.tolist() == [True] * 4 + [False] * 4 and env.traffic.lost_rows == 4
