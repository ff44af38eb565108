"""What every policy promises: teachers and students alike. Evaluation, recording, video and export know only this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor, nn


class Policy(nn.Module, ABC):
    """Maps observation groups and a hidden state to a Gaussian over actions."""

    config_class: ClassVar[Any]
    """Frozen dataclass of its configuration: the first argument of its constructor, before `obs_spec` and the width of
    an action, with which a checkpoint builds it again."""
    obs_keys: tuple[str, ...]
    """Names of the observation groups that `forward` reads; nothing else is ever looked at."""

    @abstractmethod
    def initial_hidden(self, n: int) -> Tensor:
        """(n, H) float32 zeros: the hidden state at the start of an episode. H is 0 for a policy without one."""

    @abstractmethod
    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step. Returns mean (N, A), standard deviation (N, A) and the next hidden state (N, H)."""


def zero_where_first(hidden: Tensor, first: Tensor) -> Tensor:
    """The hidden state with the rows zeroed at which a new episode begins. hidden (N, H), first (N,) bool."""
    return torch.where(first[:, None], torch.zeros_like(hidden), hidden)
