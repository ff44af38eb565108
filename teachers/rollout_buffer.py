"""`RolloutBuffer`: T steps of N worlds, allocated once; images stay as the integers that the camera gave."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import HandsightError
from ..policies.finite import finite
from ..sims.vec_env import ArraySpec, Step
from .actor_critic import Decision


class RolloutTooLargeError(HandsightError):
    """A rollout would not fit into the memory it may use."""


class Minibatch(NamedTuple):
    """Rows to learn from. Leading axes are (B,) without memory, where every row is valid, and (T, B) with one."""

    obs: dict[str, Tensor]
    """Observation groups, in the buffer's dtypes."""
    hidden: Tensor
    """(B, H) hidden state before the first row."""
    first: Tensor
    """bool: an episode opens with the row's observation."""
    valid: Tensor
    """bool: the row may be learnt from."""
    action: Tensor
    """(..., A) action that was taken."""
    log_prob: Tensor
    """Log density of the action when it was taken."""
    mean: Tensor
    """(..., A) of the policy that took it."""
    std: Tensor
    """(..., A) of the policy that took it."""
    value: Tensor
    """Value by the critic at that time."""
    advantage: Tensor
    """As given to `minibatches`."""
    returns: Tensor
    """As given to `minibatches`."""

    def usable(self) -> Minibatch:
        """The rows where valid, as (B,): what stands in the others cannot reach a gradient, finite or not."""
        rows = (part[self.valid] for part in self[2:])
        return Minibatch({key: array[self.valid] for key, array in self.obs.items()}, self.hidden, *rows)


class RolloutBuffer:
    """Row t holds the observation, what was decided on it, and what the step brought."""

    def __init__(
        self,
        obs_spec: Mapping[str, ArraySpec],
        keys: Collection[str],
        steps: int,
        num_envs: int,
        action_dim: int,
        hidden_size: int = 0,
        device: torch.device | str = "cpu",
        memory_budget: int | None = None,
    ) -> None:
        """Allocates everything.

        Args:
            obs_spec: the environment's.
            keys: groups to keep.
            steps: T.
            num_envs: N.
            action_dim: A.
            hidden_size: H of the policy's hidden state; only that before row 0 is kept.
            device: where the learner is.
            memory_budget: bytes it may use; None for no limit.

        Raises:
            RolloutTooLargeError: it needs more than `memory_budget`; names the worlds that would fit.
        """
        need = 0 if memory_budget is None else self.bytes(obs_spec, keys, steps, num_envs, action_dim, hidden_size)
        if memory_budget is not None and need > memory_budget:
            fits = memory_budget // self.bytes(obs_spec, keys, steps, 1, action_dim, hidden_size)
            raise RolloutTooLargeError(
                f"RolloutBuffer: {num_envs} worlds x {steps} steps of {', '.join(keys)} need {need / 2**20:.1f} MiB; "
                f"expected at most {memory_budget / 2**20:.1f} MiB, into which {fits} worlds fit. "
                "Ask for fewer --num-envs or --rollout-steps, smaller images (--image) or a larger --memory-budget-gib."
            )
        self.steps, self.num_envs, self.row = steps, num_envs, 0
        self.obs = {
            key: torch.zeros(steps, num_envs, *obs_spec[key].shape, dtype=obs_spec[key].dtype, device=device)
            for key in keys
        }
        flat, wide = (steps, num_envs), (steps, num_envs, action_dim)
        self.action, self.mean, self.std = (torch.zeros(wide, device=device) for _ in range(3))
        self.log_prob, self.value, self.reward = (torch.zeros(flat, device=device) for _ in range(3))
        self.terminated, self.truncated, self.valid = (
            torch.zeros(flat, dtype=torch.bool, device=device) for _ in range(3)
        )
        self.first = torch.zeros(steps + 1, num_envs, dtype=torch.bool, device=device)
        """(T + 1, N): an episode opens with observation t; not marked in row 0, whose memory is stored as it is."""
        self.version = torch.zeros(flat, dtype=torch.int32, device=device)
        """(T, N): updates that the policy which decided had gone through."""
        self.hidden = torch.zeros(num_envs, hidden_size, device=device)
        self.last_value = torch.zeros(num_envs, device=device)

    @staticmethod
    def bytes(
        obs_spec: Mapping[str, ArraySpec],
        keys: Collection[str],
        steps: int,
        num_envs: int,
        action_dim: int,
        hidden_size: int = 0,
    ) -> int:
        """Bytes that a buffer of these sizes allocates."""
        return RolloutBuffer(obs_spec, keys, steps, num_envs, action_dim, hidden_size, "meta").size

    @property
    def size(self) -> int:
        """Bytes of all its tensors."""
        state = self.state_dict()
        return sum(tensor.nbytes for tensor in (*state.pop("obs").values(), *state.values()))

    def begin(self, hidden: Tensor, version: int = 0) -> None:
        """Start over at row 0, with the hidden state (N, H) that the policy has now, zeroed where an episode opens, and
        the version of its weights."""
        self.row = 0
        self.version.fill_(version)
        self.hidden.copy_(hidden)

    def add(
        self,
        obs: Mapping[str, Tensor],
        decision: Decision,
        step: Step,
        worlds: slice = slice(None),
    ) -> None:
        """Store one row: the observation acted on, the decision, and what the environment returned. It may come in
        parts, the last of the worlds last. NaN and infinite numbers are stored as 0."""
        t = self.row
        for key, rows in self.obs.items():
            rows[t, worlds].copy_(finite(obs[key]))
        for name in ("action", "log_prob", "mean", "std", "value"):
            getattr(self, name)[t, worlds].copy_(finite(getattr(decision, name)))
        for name in ("reward", "terminated", "truncated", "valid"):
            getattr(self, name)[t, worlds].copy_(finite(getattr(step, name)))
        self.first[t + 1, worlds].copy_(step.first)
        self.row += worlds.stop in (None, self.num_envs)

    def end(self, last_value: Tensor) -> None:
        """Store the value (N,) of the observation after the last row."""
        self.last_value.copy_(finite(last_value))

    def state_dict(self) -> dict[str, Any]:
        """Every tensor in it, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)} | {
            "obs": dict(self.obs)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned, into a buffer of the same sizes."""
        for key, rows in self.obs.items():
            rows.copy_(state["obs"][key])
        for name, value in state.items():
            if name != "obs":
                getattr(self, name).copy_(value)

    def minibatches(self, count: int, advantage: Tensor, returns: Tensor) -> Iterator[Minibatch]:
        """The rollout once, in `count` parts in random order; advantage and returns (T, N) are dealt out with it.

        Without memory a part is any of the valid rows; with one it is all rows of some of the worlds.
        """
        rows = {name: getattr(self, name) for name in ("valid", "action", "log_prob", "mean", "std", "value")}
        rows |= {"first": self.first[:-1], "advantage": advantage, "returns": returns}
        if self.hidden.shape[1]:
            for part in torch.randperm(self.num_envs, device=advantage.device).tensor_split(count):
                dealt = {name: array[:, part] for name, array in rows.items()}
                obs = {key: array[:, part] for key, array in self.obs.items()}
                yield Minibatch(obs=obs, hidden=self.hidden[part], **dealt)
            return
        usable = self.valid.flatten().nonzero()[:, 0]
        shuffled = usable[torch.randperm(len(usable), device=usable.device)]
        for part in shuffled.tensor_split(count):
            dealt = {name: array.flatten(0, 1)[part] for name, array in rows.items()}
            obs = {key: array.flatten(0, 1)[part] for key, array in self.obs.items()}
            yield Minibatch(obs=obs, hidden=self.hidden.new_zeros(len(part), 0), **dealt)
