import torch

from handsight.sims.remote.recycle import Recycler


def test_memory_that_nobody_looks_at_is_used_again():
    recycler = Recycler((4, 2), torch.int16)
    addresses = set()
    for _ in range(10):
        tensor = recycler.take()
        addresses.add(tensor.data_ptr())
        del tensor
    assert len(addresses) == len(recycler) == 1


def test_what_somebody_keeps_a_view_of_is_never_overwritten():
    recycler = Recycler((4, 2), torch.int16)
    kept = []
    for number in range(5):
        tensor = recycler.take()
        tensor.fill_(number)
        kept.append(tensor[1:3].view(-1)[::2])
        del tensor
    assert [int(view[0]) for view in kept] == [0, 1, 2, 3, 4]
    kept.clear()
    assert recycler.take().shape == (4, 2)
    assert len(recycler) == 5
