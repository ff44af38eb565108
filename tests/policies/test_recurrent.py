import pytest
import torch

from handsight.policies import RecurrentCore, zero_where_first


@pytest.mark.parametrize("kind", ["none", "gru", "lstm"])
def test_a_sequence_is_its_steps_with_resets(kind):
    torch.manual_seed(0)
    core = RecurrentCore(kind, 3, 5)
    features, first = torch.randn(6, 4, 3), torch.rand(6, 4) < 0.4
    hidden = torch.randn(4, core.hidden_size)
    outputs, before = core.sequence(features, hidden, first)
    for t in range(6):
        hidden = zero_where_first(hidden, first[t])
        assert torch.equal(before[t], hidden)
        output, hidden = core.step(features[t], hidden)
        torch.testing.assert_close(outputs[t], output)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_nothing_flows_past_the_beginning_of_an_episode(kind):
    core = RecurrentCore(kind, 3, 5)
    features = torch.randn(4, 1, 3, requires_grad=True)
    first = torch.tensor([[False], [False], [True], [False]])
    outputs, _ = core.sequence(features, core.initial_hidden(1), first)
    outputs[3].sum().backward()
    per_step = features.grad.abs().sum(dim=(1, 2))
    assert (per_step[:2] == 0).all()
    assert (per_step[2:] > 0).all()


def test_the_memory_of_an_lstm_is_output_and_cell():
    core = RecurrentCore("lstm", 3, 5)
    output, hidden = core.step(torch.randn(2, 3), core.initial_hidden(2))
    assert hidden.shape == (2, 10)
    assert torch.equal(core.read(hidden), output)


def test_without_memory_features_pass():
    core = RecurrentCore("none", 3, 5)
    features = torch.randn(2, 3)
    output, hidden = core.step(features, core.initial_hidden(2))
    assert output is features
    assert hidden.shape == (2, 0)


def test_an_unknown_memory_is_named():
    with pytest.raises(ValueError, match="no memory 'rnn'; available: none, gru, lstm"):
        RecurrentCore("rnn", 3, 5)
