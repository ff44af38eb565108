import pytest

from handsight.sims.remote.placement import PlacementError, Slot, parse_placement, split_worlds


@pytest.mark.parametrize(
    ("spec", "slots"),
    [
        ("cpu", [Slot("cpu")]),
        ("cpu*3", [Slot("cpu")] * 3),
        ("cuda:0, cuda:1,cuda:2", [Slot("cuda:0"), Slot("cuda:1"), Slot("cuda:2")]),
        ("cuda:1*2,cpu", [Slot("cuda:1"), Slot("cuda:1"), Slot("cpu")]),
        ("GPU=1+CPU=4*2", [Slot("cuda:0", {"GPU": 1, "CPU": 4})] * 2),
        ("CPU=4,rack_b=0.5", [Slot("cpu", {"CPU": 4}), Slot("cpu", {"rack_b": 0.5})]),
    ],
)
def test_placement_says_a_slot_for_each_simulator(spec, slots):
    assert parse_placement(spec) == slots


@pytest.mark.parametrize("spec", ["", "gpu:0", "cpu*0", "cpu*", "cuda", "cpu*3,", "cpu*-1", "GPU=x"])
def test_a_placement_that_means_nothing_is_refused_with_an_example(spec):
    with pytest.raises(PlacementError, match=r"cpu\*3|number of simulators"):
        parse_placement(spec)


@pytest.mark.parametrize(("worlds", "slots", "sizes"), [(64, 4, [16] * 4), (10, 3, [3, 3, 4]), (3, 3, [1, 1, 1])])
def test_worlds_are_split_evenly_and_completely(worlds, slots, sizes):
    shares = split_worlds(worlds, slots)
    assert [share.stop - share.start for share in shares] == sizes
    assert [i for share in shares for i in range(share.start, share.stop)] == list(range(worlds))


def test_more_simulators_than_worlds_are_refused():
    with pytest.raises(PlacementError, match="4 simulators for 3 worlds"):
        split_worlds(3, 4)
