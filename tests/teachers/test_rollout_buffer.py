import pytest
import torch
from tensordict import TensorDict

from handsight.sims.vec_env import ArraySpec, Step
from handsight.teachers import Decision, RolloutBuffer, RolloutTooLargeError

SPEC = {"state": ArraySpec((3,), torch.float32), "depth": ArraySpec((1, 4, 4), torch.int16)}
STEPS, WORLDS, ACTIONS = 5, 6, 2


def filled(hidden_size=0, device="cpu"):
    """Every array holds its own row number: 10 * step + world."""
    buffer = RolloutBuffer(SPEC, SPEC, STEPS, WORLDS, ACTIONS, hidden_size, device)
    buffer.begin(torch.arange(WORLDS)[:, None].expand(-1, hidden_size).float())
    for t in range(STEPS):
        row = 10.0 * t + torch.arange(WORLDS)
        obs = {
            "state": row[:, None].expand(-1, 3),
            "depth": row.to(torch.int16)[:, None, None, None].expand(-1, 1, 4, 4),
        }
        wide, flag = row[:, None].expand(-1, ACTIONS), torch.zeros(WORLDS, dtype=torch.bool)
        decision = Decision(wide, row, wide, wide, row, torch.zeros(WORLDS, hidden_size))
        valid = torch.arange(WORLDS) != t  # one invalid row in each step
        buffer.add(obs, decision, Step(TensorDict({}, [WORLDS]), row, flag, flag, ~valid, valid))
    buffer.end(torch.zeros(WORLDS))
    return buffer


def test_images_stay_integers_and_rows_stay_together():
    buffer = filled()
    for batch in buffer.minibatches(3, buffer.reward, buffer.reward):
        assert batch.obs["depth"].dtype == torch.int16
        columns = [batch.obs["state"][:, 0], batch.obs["depth"][:, 0, 0, 0].float(), batch.action[:, 1]]
        columns += [batch.log_prob, batch.mean[:, 0], batch.std[:, 0], batch.value, batch.advantage, batch.returns]
        assert all(torch.equal(column, columns[0]) for column in columns)


def test_without_memory_every_valid_row_is_dealt_once():
    buffer = filled()
    dealt = torch.cat([batch.value for batch in buffer.minibatches(4, buffer.reward, buffer.reward)])
    assert sorted(dealt.tolist()) == sorted(buffer.value[buffer.valid].tolist())
    assert len(dealt) == STEPS * WORLDS - STEPS


def test_with_memory_whole_sequences_of_worlds_are_dealt():
    buffer, worlds = filled(hidden_size=1), []
    for batch in buffer.minibatches(2, buffer.reward, buffer.reward):
        assert batch.value.shape == (STEPS, WORLDS // 2)
        assert torch.equal(batch.value % 10, batch.hidden[:, 0].expand(STEPS, -1))
        worlds += batch.hidden[:, 0].tolist()
        usable = batch.usable()
        assert usable.value.tolist() == batch.value[batch.valid].tolist()
        assert len(usable.obs["depth"]) == len(usable.value)
    assert sorted(worlds) == list(range(WORLDS))


def test_first_belongs_to_the_observation_after_the_step():
    batch = next(filled(hidden_size=1).minibatches(1, torch.zeros(STEPS, WORLDS), torch.zeros(STEPS, WORLDS)))
    order = batch.hidden[:, 0].long().argsort()
    assert batch.first[:, order].nonzero().tolist() == [[1, 0], [2, 1], [3, 2], [4, 3]]


def test_bytes_are_those_that_are_allocated():
    buffer = filled(hidden_size=7)
    arrays = [value for value in vars(buffer).values() if isinstance(value, torch.Tensor)] + list(buffer.obs.values())
    allocated = sum(array.numel() * array.element_size() for array in arrays)
    assert RolloutBuffer.bytes(SPEC, SPEC, STEPS, WORLDS, ACTIONS, 7) == allocated


def test_too_many_worlds_are_refused_before_allocating():
    fits = RolloutBuffer.bytes(SPEC, SPEC, STEPS, 100, ACTIONS)
    RolloutBuffer(SPEC, SPEC, STEPS, 100, ACTIONS, memory_budget=fits)
    with pytest.raises(RolloutTooLargeError, match=r"10000000 worlds x 5 steps of state, depth .* 100 worlds fit"):
        RolloutBuffer(SPEC, SPEC, STEPS, 10_000_000, ACTIONS, memory_budget=fits)


def test_a_saved_buffer_comes_back():
    buffer, other = filled(hidden_size=2), RolloutBuffer(SPEC, SPEC, STEPS, WORLDS, ACTIONS, 2)
    other.load_state_dict(buffer.state_dict())
    assert torch.equal(other.obs["depth"], buffer.obs["depth"])
    assert torch.equal(other.valid, buffer.valid)
    assert torch.equal(other.hidden, buffer.hidden)


def test_rows_are_dealt_in_another_order_each_time():
    torch.manual_seed(0)
    buffer = filled()
    passes = [next(buffer.minibatches(1, buffer.reward, buffer.reward)).value.tolist() for _ in range(2)]
    assert passes[0] != passes[1] != sorted(passes[1]) and passes[0] != sorted(passes[0])
