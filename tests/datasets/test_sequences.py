import pytest
import torch

from handsight.datasets import DatasetError, SequenceBuffer, SequenceBufferError
from handsight.datasets.sequences import prune, stack

STEPS, WORLDS = 3, 4
EACH = STEPS * (4 + 12 + 2)
"""Bytes of one sequence of `rollout`: a float32, twelve uint8 and two flags a step."""


def rollout(number: int) -> dict[str, torch.Tensor]:
    """Every entry says which rollout and world it belongs to; an episode of each world is a sequence."""
    label = (10 * number + torch.arange(WORLDS)).expand(STEPS, WORLDS)
    first, valid = torch.zeros(STEPS, WORLDS, dtype=torch.bool), torch.ones(STEPS, WORLDS, dtype=torch.bool)
    first[0] = True
    images = label.to(torch.uint8)[..., None, None, None, None].expand(-1, -1, 2, 3, 2, 1)
    return {"reward": label.float(), "stereo": images, "first": first, "valid": valid}


def buffer_of(rollouts: int, capacity: int = 10**6) -> SequenceBuffer:
    buffer = SequenceBuffer(capacity)
    for number in range(rollouts):
        buffer.append(rollout(number))
    return buffer


def drawn(buffer: SequenceBuffer, size: int, count: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    return list(buffer.batches(size, count, torch.Generator().manual_seed(seed)))


def test_a_batch_is_whole_sequences_with_their_columns_together():
    (batch,) = drawn(buffer_of(2), 5, 1)
    assert batch["reward"].shape == (STEPS, 5) and batch["stereo"].shape == (STEPS, 5, 2, 3, 2, 1)
    assert batch["stereo"].dtype == torch.uint8
    assert (batch["reward"] == batch["reward"][0]).all()  # one world from the first to the last step
    assert (batch["stereo"] == batch["reward"][..., None, None, None, None]).all()


def test_every_sequence_is_drawn_once_before_any_is_drawn_again():
    labels = torch.cat([batch["reward"][0] for batch in drawn(buffer_of(2), 3, 5)])  # 15 of 8: one pass and most of two
    first, second = labels[:8], labels[8:]
    assert sorted(first.tolist()) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert len(second.unique()) == len(second) == 7
    assert first.tolist() != sorted(first.tolist())


def test_the_same_seed_draws_the_same_batches():
    pairs = zip(drawn(buffer_of(3), 4, 6), drawn(buffer_of(3), 4, 6), strict=True)
    assert all(torch.equal(one["reward"], other["reward"]) for one, other in pairs)
    assert not torch.equal(drawn(buffer_of(3), 4, 1)[0]["reward"], drawn(buffer_of(3), 4, 1, seed=1)[0]["reward"])


def test_the_oldest_are_forgotten_at_the_cap_and_it_is_said():
    buffer = SequenceBuffer(2 * WORLDS * EACH)
    assert [buffer.append(rollout(number)) for number in range(4)] == [0, 0, WORLDS, WORLDS]
    assert (len(buffer), buffer.evicted, buffer.appended) == (2 * WORLDS, 2 * WORLDS, 4)
    assert buffer.nbytes == buffer.capacity
    (batch,) = drawn(buffer, 8, 1)
    assert sorted(batch["reward"][0].tolist()) == [20, 21, 22, 23, 30, 31, 32, 33]


def test_a_rollout_larger_than_the_cap_is_refused_with_what_would_fit():
    with pytest.raises(SequenceBufferError, match=r"4 sequences .* expected at most 3 environments"):
        SequenceBuffer(WORLDS * EACH - 1).append(rollout(0))


def test_what_was_written_is_read_back_bit_for_bit(tmp_path):
    buffer = buffer_of(3, capacity=2 * WORLDS * EACH)
    again = SequenceBuffer.read(tmp_path, buffer.write(tmp_path), buffer.capacity)
    assert (len(again), again.evicted, again.appended) == (len(buffer), buffer.evicted, buffer.appended)
    for one, other in zip(drawn(buffer, 4, 3), drawn(again, 4, 3), strict=True):
        assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


def test_only_new_sequences_are_written(tmp_path):
    buffer = buffer_of(2)
    buffer.write(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    buffer.append(rollout(2))
    buffer.write(tmp_path)
    now = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 2 and len(now) == 3 and all(now[path] == then for path, then in written.items())


def test_files_are_pruned_once_no_checkpoint_names_them(tmp_path):
    buffer = buffer_of(2, capacity=2 * WORLDS * EACH)
    older = buffer.write(tmp_path)
    buffer.append(rollout(2))
    newer = buffer.write(tmp_path)
    prune(tmp_path, [older, newer])
    assert len(list(tmp_path.iterdir())) == 3
    prune(tmp_path, [newer])
    assert sorted(path.name for path in tmp_path.iterdir()) == [entry["name"] for entry in newer["rollouts"]]
    SequenceBuffer.read(tmp_path, newer, buffer.capacity)


def test_a_cut_altered_or_missing_file_is_named(tmp_path):
    buffer = buffer_of(2)
    index = buffer.write(tmp_path)
    path = tmp_path / index["rollouts"][1]["name"]
    whole = path.read_bytes()
    for broken, what in ((whole[:-1], "was cut or extended"), (whole[:-1] + bytes([whole[-1] ^ 1]), "was altered")):
        path.write_bytes(broken)
        with pytest.raises(DatasetError, match=rf"{path.name} {what}: expected"):
            SequenceBuffer.read(tmp_path, index, buffer.capacity)
    path.write_bytes((tmp_path / index["rollouts"][0]["name"]).read_bytes())
    with pytest.raises(SequenceBufferError, match=rf"{path.name} is not the shard that was written"):
        SequenceBuffer.read(tmp_path, index, buffer.capacity)
    path.unlink()
    with pytest.raises(DatasetError, match=rf"{path.name} is missing; available in that folder: rollout_000000.hdf5"):
        SequenceBuffer.read(tmp_path, index, buffer.capacity)


def uneven(number: int) -> dict[str, torch.Tensor]:
    """World 0: an episode of one step, the row of its reset, and another one; world 2 begins with a lost step."""
    columns = {name: column.clone() for name, column in rollout(number).items()}
    columns["first"][2, 0], columns["valid"][1, 0] = True, False
    columns["first"][1, 2], columns["valid"][0, 2] = True, False
    return columns


def test_episodes_of_a_sequence_come_back_at_their_rows(tmp_path):
    buffer = SequenceBuffer(10**6)
    buffer.append(uneven(1))
    again = SequenceBuffer.read(tmp_path, buffer.write(tmp_path), 10**6)
    (batch,) = drawn(again, WORLDS, 1)
    columns = uneven(1)
    batch = {name: column[:, batch["reward"].amax(0).argsort()] for name, column in batch.items()}
    assert torch.equal(batch["valid"], columns["valid"])
    counts = columns["valid"]
    assert torch.equal(batch["first"] & counts, columns["first"] & counts)
    assert torch.equal(batch["stereo"][counts], columns["stereo"][counts]) and not batch["stereo"][~counts].any()


def test_what_memory_cannot_hold_is_read_from_shards_as_if_it_were_there(tmp_path):
    memory, disk = buffer_of(0), SequenceBuffer(2 * WORLDS * EACH, spill=tmp_path)
    for number in range(5):
        memory.append(rollout(number))
        assert disk.append(rollout(number)) == 0
    assert (len(disk), disk.evicted, disk.spilled, disk.nbytes) == (5 * WORLDS, 0, 3 * WORLDS, disk.capacity)
    for one, other in zip(drawn(memory, 6, 8), drawn(disk, 6, 8), strict=True):
        assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
    again = SequenceBuffer.read(tmp_path, disk.write(tmp_path), disk.capacity, spill=tmp_path)
    assert (len(again), again.spilled, again.evicted) == (5 * WORLDS, 3 * WORLDS, 0)
    for one, other in zip(drawn(memory, 6, 8), drawn(again, 6, 8), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_rows_are_stacked_along_time():
    columns = stack([{"a": torch.full((WORLDS, 2), float(t))} for t in range(STEPS)])
    assert columns["a"].shape == (STEPS, WORLDS, 2) and columns["a"][:, 0, 0].tolist() == [0, 1, 2]


def test_success_comes_back_at_the_last_step_of_its_episode(tmp_path):
    columns = uneven(1) | {"success": torch.zeros(STEPS, WORLDS, dtype=torch.bool)}
    columns["success"][2, 1], columns["success"][0, 0] = True, True
    buffer = SequenceBuffer(10**6)
    buffer.append(columns)
    again = SequenceBuffer.read(tmp_path, buffer.write(tmp_path), 10**6)
    (batch,) = drawn(again, WORLDS, 1)
    back = {name: column[:, batch["reward"].amax(0).argsort()] for name, column in batch.items()}
    assert torch.equal(back["success"], columns["success"])


def test_the_oldest_are_those_that_leave_memory(tmp_path):
    buffer = SequenceBuffer(2 * WORLDS * EACH, spill=tmp_path)
    for number in range(4):
        buffer.append(rollout(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rollout_000000.hdf5", "rollout_000001.hdf5"]
