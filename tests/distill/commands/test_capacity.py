import importlib.util
from dataclasses import replace

import pytest

from handsight.distill.commands import capacity, footprint
from handsight.distill.commands.capacity import CapacityArgs, Line, Split, at_length, best_first, fit, largest
from handsight.distill.commands.footprint import Footprint, FootprintConfig, measure
from handsight.errors import HandsightError

COSTS = {"together": Line(600.0, 4.0), "learner": Line(500.0, 1.0), "simulator": Line(100.0, 3.0)}
"""A network that is large beside the devices of 1,000 bytes."""
SHORT = {"together": Line(1000.0, 140.0), "learner": Line(500.0, 60.0), "simulator": Line(400.0, 80.0)}
"""Measured at 4 steps in 4 minibatches."""


def test_a_line_goes_through_both_measurements():
    together = [Footprint(1_100, 0), Footprint(1_500, 0)]
    split = [Footprint(700, 600), Footprint(900, 800)]
    assert fit((100, 200), together, split) == {
        "together": Line(700, 4.0), "learner": Line(500, 2.0), "simulator": Line(400, 2.0)
    }  # fmt: skip


def test_worlds_of_every_way_of_using_the_devices():
    # together: 4 x floor(400 / 4); s simulators: s x floor(900 / 3); learners: (4 - s) x floor(500 / 1)
    assert best_first(lambda learners: COSTS, 4, 1000.0) == [
        Split(2, 2, 600, "simulators"),
        Split(3, 1, 500, "learners"),
        Split(0, 4, 400, "simulation and learning together"),
        Split(1, 3, 300, "simulators"),
    ]


def test_without_fixed_memory_no_split_beats_data_parallelism():
    costs = {"together": Line(0.0, 4.0), "learner": Line(0.0, 1.0), "simulator": Line(0.0, 3.0)}
    best = best_first(lambda learners: costs, 4, 1000.0)
    assert best[0].worlds == 1000 and {way.simulators for way in best if way.worlds >= 999} == {0, 3}


def test_nothing_fits_where_the_fixed_part_does_not():
    assert all(way.worlds == 0 for way in best_first(lambda learners: COSTS, 2, 90.0))


def test_longer_rollouts_cost_rows_and_activations():
    # of 60 bytes, 4 rows of 10 are the buffer, and 20 the activations of one row
    longer = at_length(SHORT, CapacityArgs(rollout_steps=16), 10)
    assert longer["learner"] == Line(500.0, 60.0 + 12 * 10 + 3 * 20)
    assert longer["together"] == Line(1000.0, 140.0 + 12 * 10 + 3 * 20)
    assert longer["simulator"] == SHORT["simulator"]


def test_activations_of_a_fixed_minibatch_do_not_grow_with_the_worlds():
    fixed = at_length(SHORT, CapacityArgs(rollout_steps=16, minibatch_rows=100), 10)
    assert fixed["learner"] == Line(500.0 + 100 * 20, 160.0)
    assert fixed["together"] == Line(1000.0 + 100 * 20, 140.0 - 20 + 120)


def test_rows_of_the_training_are_shared_by_the_learners():
    args = CapacityArgs(rollout_steps=16, minibatch_rows=100, rows_of="training")
    assert at_length(SHORT, args, 10, learners=4)["together"].fixed == 1000.0 + 25 * 20
    assert at_length(SHORT, args, 10, learners=1)["learner"].fixed == 500.0 + 100 * 20


@pytest.mark.parametrize("guess", [20, 97, 100, 105, 400])
def test_bisection_finds_the_most_that_runs(monkeypatch, guess):
    tried = []

    def measure(config):
        tried.append(config.num_envs)
        return Footprint(1, 0) if config.num_envs <= 100 else None

    monkeypatch.setattr(capacity, "measure", measure)
    found = largest(FootprintConfig(mode="together"), guess)
    assert 97 <= found <= 100 and found in tried
    assert len(tried) == len(set(tried)) <= 20


def test_bisection_ends_where_nothing_runs(monkeypatch):
    monkeypatch.setattr(capacity, "measure", lambda config: None)
    assert largest(FootprintConfig(mode="together"), 50) == 0


def test_on_a_gpu_what_warp_takes_counts_too():
    one = FootprintConfig(mode="together", num_envs=8, device="cuda:0", cap=1000)
    footprint._keep_to(one, 1000)
    footprint._keep_to(replace(one, mode="split"), 2000)
    footprint._keep_to(replace(one, device="cpu"), 5000)  # where the cap is enforced
    for config, taken in ((one, 1001), (replace(one, mode="split"), 2001)):
        with pytest.raises(HandsightError, match=f"{taken:,} bytes of cuda:0 were taken"):
            footprint._keep_to(config, taken)


def test_on_a_gpu_the_worlds_are_mujoco_warps():
    assert footprint.teacher(FootprintConfig(mode="together", num_envs=8, device="cuda:0")).env.engine == "mujoco_warp"
    assert footprint.teacher(FootprintConfig(mode="together", num_envs=8)).env.engine == "mujoco"


def test_the_process_that_is_measured_runs_a_module_that_there_is():
    assert importlib.util.find_spec(footprint.MODULE).origin == footprint.__file__


@pytest.mark.slow
def test_a_cap_is_kept():
    small = FootprintConfig(mode="together", num_envs=4, height=32, width=32)
    taken = measure(small)
    assert taken is not None and taken.learner > 100 * 2**20 and taken.simulator == 0
    assert measure(FootprintConfig(mode="together", num_envs=4, height=32, width=32, cap=taken.learner // 2)) is None


def test_a_table_for_other_devices_needs_no_new_measurements(monkeypatch, tmp_path):
    monkeypatch.setattr(capacity, "row_bytes", lambda env, keys: 10)
    taken = {
        "together": (Footprint(1_000, 0), Footprint(2_000, 0)),
        "split": (Footprint(900, 600), Footprint(1_000, 700)),
    }
    monkeypatch.setattr(capacity, "measure", lambda config: taken[config.mode][config.num_envs == 20])
    file = tmp_path / "measured.json"
    first = capacity.capacity(CapacityArgs(devices=4, memory_gib=1e-5, height=60, samples=(10, 20), out=file))
    monkeypatch.setattr(capacity, "measure", None)
    again = capacity.capacity(CapacityArgs(devices=2, memory_gib=1e-5, measured=file))
    assert again["costs"] == first["costs"] and again["settings"]["height"] == 60
    assert {way["simulators"] for way in again["splits"]} == {0, 1}
    with pytest.raises(HandsightError, match=r"no measurements in .*nowhere.json"):
        capacity.capacity(CapacityArgs(measured=tmp_path / "nowhere.json"))
