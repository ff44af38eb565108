"""Phases: what the hand is about, and where failures got stuck, by hand."""

import numpy as np
import pytest

from handsight.distill.evaluation.evaluate import evaluate_in
from handsight.distill.evaluation.phases import PHASES, UNKNOWN, last_phase, phase_of, phase_summary

from ..toy_env import Scripted, ToyEnv

REACH, CLOSE, LIFT = range(3)


@pytest.mark.parametrize(
    ("distance", "touching", "lift", "phase"),
    [
        (0.20, False, 0.000, "reach"),
        (0.081, False, 0.01, "reach"),
        (0.079, False, 0.01, "close"),
        (0.20, True, 0.000, "close"),
        (0.04, True, 0.011, "lift"),
        (0.20, False, 0.05, "lift"),
    ],
)
def test_phase_of_a_moment(distance, touching, lift, phase):
    assert PHASES[int(phase_of(distance, touching, lift))] == phase


def test_last_phase_is_that_of_the_last_moment_of_the_episode():
    phase = np.array([[0, 1, 2], [0, 1, UNKNOWN], [UNKNOWN, UNKNOWN, UNKNOWN], [2, 0, 0]], np.int8)
    assert last_phase(phase).tolist() == [LIFT, CLOSE, UNKNOWN, REACH]


def test_failures_are_spread_over_the_phases_they_got_stuck_in():
    phase = np.array(
        [
            [REACH, CLOSE, LIFT],  # succeeds
            [REACH, REACH, REACH],  # never gets there
            [REACH, CLOSE, CLOSE],  # never lifts
            [CLOSE, LIFT, REACH],  # drops it and it rolls away
            [CLOSE, CLOSE, LIFT],  # fails while lifting
            [CLOSE, LIFT, CLOSE],  # loses it in the hand
            [REACH, UNKNOWN, UNKNOWN],  # lost
        ],
        np.int8,
    )
    success, aborted = np.arange(7) == 0, np.arange(7) == 6
    found = phase_summary(phase, success, aborted)
    failures = {name: figure["value"] for name, figure in found["failures"].items()}
    assert failures == pytest.approx({"reach": 2 / 7, "close": 2 / 7, "lift": 1 / 7, "lost": 1 / 7})
    assert sum(failures.values()) + success.mean() == pytest.approx(1.0)
    assert found["dropped"]["value"] == pytest.approx(2 / 7)
    steps = {name: figure["value"] for name, figure in found["steps"].items()}
    assert steps["reach"] == pytest.approx((1 / 3 + 1 + 1 / 3 + 1 / 3 + 0 + 0 + 1) / 7)
    assert sum(steps.values()) == pytest.approx(1.0)


def test_phases_are_read_from_the_log_at_the_moment_of_each_observation():
    env = ToyEnv(("state", "proprio"), 8, diverge={(2, 3)})
    found = evaluate_in(env, Scripted("state"), episodes=8, seed=1)
    env.reset(1)
    at_reset = env.measure()
    assert (
        found.phase[:, 0].tolist() == phase_of(*(at_reset[n] for n in ("grasp_distance", "touching", "lift"))).tolist()
    )
    assert found.phased
    assert (found.phase[[0, 1, 3], -1] == LIFT).all()
    assert (found.phase[2, 3:] == UNKNOWN).all()  # it was lost in its third step
    assert (found.phase[2, :3] != UNKNOWN).all()
