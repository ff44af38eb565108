"""What a batched simulator promises: `VecEnv`, `Step` and the description of its observations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import isfunction
from typing import Any, TypeVar

import torch
from tensordict import TensorDict
from torch import Tensor

Method = TypeVar("Method", bound=Callable[..., Any])


def plain_tensors(function: Method) -> Method:
    """The function, whose tensors are plain ones without gradients whatever mode its caller is in. What is kept from
    `torch.inference_mode` may not be written to outside it, and threads do not inherit the mode."""
    return torch.inference_mode(False)(torch.no_grad()(function))  # the first alone would switch gradients on


@dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype of one observation group, for one environment."""

    shape: tuple[int, ...]
    """Shape without the leading axis of environments."""
    dtype: torch.dtype
    parts: Mapping[str, int] = field(default_factory=dict)
    """Named consecutive pieces of a flat vector and their widths, e.g. {"joint_position": 23, "palm_position": 3}."""

    def describe(self) -> dict[str, Any]:
        """What a signature says of the group, JSON-able."""
        dtype = str(self.dtype).removeprefix("torch.")
        return {"shape": list(self.shape), "dtype": dtype, "parts": dict(self.parts)}

    def part(self, name: str) -> slice:
        """Where the named piece lies in the vector.

        Raises:
            KeyError: no such piece; the message lists those that exist.
        """
        start = 0
        for piece, width in self.parts.items():
            if piece == name:
                return slice(start, start + width)
            start += width
        raise KeyError(f"no part {name!r} in this observation; available: {', '.join(self.parts) or 'none'}")


@dataclass
class Step:
    """What one step of N environments returns."""

    obs: TensorDict
    """Observation groups after the step, batch size (N,)."""
    reward: Tensor
    """(N,) float32: reward of this step."""
    terminated: Tensor
    """(N,) bool: the episode ended in a state without a future; nothing is bootstrapped."""
    truncated: Tensor
    """(N,) bool: the episode was cut by the clock; its value is bootstrapped from `obs`, its last real observation."""
    first: Tensor
    """(N,) bool: `obs` opens a new episode; a policy's hidden state is zeroed here and nowhere else."""
    valid: Tensor
    """(N,) bool: this transition may be learnt from. False where a step resets or diverged."""
    log: dict[str, Tensor] = field(default_factory=dict)
    """Measurements of this step by name, each (N,): `success`, `reward/<term>`, `kind`, `visible`, ..."""


class VecEnv(ABC):
    """N environments stepped together. Autoreset is Gymnasium's NEXT_STEP: the step after an end ignores its action,
    resets the environment and is marked `valid=False, first=True`, so that every image is rendered exactly once."""

    num_envs: int
    action_dim: int
    """Actions are (N, action_dim) float32 in [-1, 1]; values outside are clipped."""
    control_dt: float
    """Seconds of simulated time in one step."""
    episode_steps: int
    """Most steps in one episode (before truncation)."""
    device: torch.device
    reset_kinds: tuple[str, ...] = ()
    """Names of what `Step.log["reset_kind"]` counts and `set_reset_mix` mixes; none if there is one kind only."""
    obs_spec: dict[str, ArraySpec]
    parts: tuple[slice, ...] = ()
    """Consecutive groups that `send` and `receive` step on their own; none if all only move together."""
    signature: dict[str, Any]
    """JSON-able description of what a policy is wired to: robot and objects (name, and digest of what they
    decide), task, action space, observation parts, camera rig."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """What a subclass writes of this contract works under `torch.inference_mode` and `torch.no_grad`, too."""
        super().__init_subclass__(**kwargs)
        for name, method in [*vars(cls).items()]:
            if isfunction(method) and (name == "__init__" or name in vars(VecEnv)):
                setattr(cls, name, plain_tensors(method))

    @abstractmethod
    def reset(self, seed: int) -> TensorDict:
        """Begin episode 0 in every environment; the returned observation is the first of its episode."""

    @abstractmethod
    def step(self, action: Tensor) -> Step:
        """Advance every environment by `control_dt`. action (N, action_dim) float32."""

    def renew(self) -> TensorDict:
        """Open the next episodes at once where the last step ended one, for learners that know no reset rows: the step
        after it is then like any other, and no world has moved. Returns the observation of all; images are rendered a
        second time."""
        raise NotImplementedError(f"{type(self).__name__} opens episodes in the step after an end only")

    def send(self, action: Tensor, part: int = 0) -> None:
        """Begin a step of the environments of `parts[part]` without waiting for it. action (n, action_dim)."""
        raise NotImplementedError(f"{type(self).__name__} steps all of its worlds together")

    def receive(self, part: int = 0) -> Step:
        """The step that `send` began."""
        raise NotImplementedError(f"{type(self).__name__} steps all of its worlds together")

    def measure(self) -> dict[str, Tensor]:
        """What `Step.log` says of the present state, each (N,): `visible` and `visible_right` (shares of the left and,
        if it is rendered, the right eye's pixels that show the object), `kind`, `reset_kind`, ...

        Also right after `reset`, which has no other place to say whether the object is in view as an episode opens."""
        return {}

    def physics_state(self) -> Tensor:
        """(N, D) float64: the simulator's time, positions and velocities; (N, 0) where it does not tell them."""
        return torch.zeros(self.num_envs, 0, dtype=torch.float64)

    def drawn(self) -> dict[str, Tensor]:
        """What randomisation decided about the present episode of each environment, by name, each (N, ...)."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Release processes, threads and device memory. May be called twice."""

    def stagger(self) -> None:  # noqa: B027 - not every task has a clock
        """Spread the clocks over an episode right after `reset`, so that they do not all end together and a rollout
        shorter than an episode holds every part of it. The first episodes are shorter for it; a task without
        a clock of its own does nothing."""

    def set_reset_mix(self, mix: Mapping[str, float]) -> None:
        """Set the probabilities of the task's kinds of reset, from the next reset of each environment on."""
        raise NotImplementedError(f"{type(self).__name__} has one kind of reset only")

    def set_level(self, level: int) -> None:
        """Draw the coming episodes at this level of randomisation. `Step.log["edge"]` (N,) bool then says of each
        environment whether its present episode began at it."""
        raise NotImplementedError(f"{type(self).__name__} has no levels of randomisation")

    def statistics(self) -> dict[str, float]:
        """What the environment has to report of itself since the last call, by metric; its traffic, for example."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on: after `load_state_dict` the environments go on bit for bit."""
        raise NotImplementedError(f"{type(self).__name__} cannot be saved")

    def load_state_dict(self, state: Mapping[str, Any]) -> TensorDict:
        """Restore what `state_dict` returned; returns the observation that belongs to it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be restored")
