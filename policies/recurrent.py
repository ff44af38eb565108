"""`RecurrentCore`: a GRU or an LSTM as one step and as a sequence, reset where an episode begins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .memory import Memory
from .policy import zero_where_first


class RecurrentCore(nn.Module):
    """Features through a recurrent cell. Its hidden state is one tensor (N, H); an LSTM lays output and cell
    side by side."""

    def __init__(self, kind: Memory, features: int, size: int) -> None:
        """A core of kind "none" passes features through, and its hidden state is (N, 0).

        Args:
            kind: "none", "gru" or "lstm".
            features: F, width of what comes in.
            size: width of what goes out, and of what is remembered; ignored for "none".

        Raises:
            ValueError: no such kind.
        """
        super().__init__()
        self.kind = kind
        match kind:
            case "none":
                self.cell, self.output_size, self.hidden_size = None, features, 0
            case "gru":
                self.cell, self.output_size, self.hidden_size = nn.GRUCell(features, size), size, size
            case "lstm":
                self.cell, self.output_size, self.hidden_size = nn.LSTMCell(features, size), size, 2 * size
            case _:
                raise ValueError(f"RecurrentCore: no memory {kind!r}; available: none, gru, lstm")

    @property
    def read_size(self) -> int:
        """Width of what `read` gives."""
        return 0 if self.cell is None else self.output_size

    def initial_hidden(self, n: int) -> Tensor:
        """(n, H) zeros, where the weights are."""
        weight = next(self.parameters(), None)
        return torch.zeros(n, self.hidden_size, device=None if weight is None else weight.device)

    def read(self, hidden: Tensor) -> Tensor:
        """(N, H) -> (N, read_size): the part of a hidden state that its owner gave out when it was written."""
        return hidden[..., : self.read_size]

    def step(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """features (N, F), hidden (N, H) -> output (N, output_size), next hidden (N, H)."""
        if isinstance(self.cell, nn.GRUCell):
            hidden = self.cell(features, hidden)
            return hidden, hidden
        if isinstance(self.cell, nn.LSTMCell):
            output, cell = self.cell(features, hidden.chunk(2, dim=-1))
            return output, torch.cat([output, cell], dim=-1)
        return features, hidden

    def sequence(self, features: Tensor, hidden: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """What T steps give, with gradients through all of them.

        Args:
            features: (T, N, F).
            hidden: (N, H) hidden state before the first row.
            first: (T, N) bool: an episode opens with this row, which therefore starts from zeros.

        Returns:
            output (T, N, output_size), and (T, N, H) the hidden state with which each row began.
        """
        if self.cell is None:
            return features, hidden.expand(len(features), *hidden.shape)
        outputs, before = [], []
        for row, opens in zip(features, first, strict=True):
            hidden = zero_where_first(hidden, opens)
            before.append(hidden)
            output, hidden = self.step(row, hidden)
            outputs.append(output)
        return torch.stack(outputs), torch.stack(before)
