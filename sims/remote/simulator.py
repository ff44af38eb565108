"""`Simulator`: what runs in a process of its own, beside the environments that it owns."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from ..vec_env import Step, VecEnv

Maker = Callable[..., VecEnv]
"""maker(num_envs=, world_offset=, device=) makes the environments; it is sent to the simulator's process."""
PR_SET_PDEATHSIG = 1
"""Option of prctl(2): a signal at the parent's death."""
FLAGS = ("reward", "terminated", "truncated", "first", "valid")


FACTS = ("action_dim", "control_dt", "episode_steps", "reset_kinds", "kinds", "obs_spec", "signature")
"""Attributes of a `VecEnv` that are the same for all of its parts."""


class Description(NamedTuple):
    """What the learner must know of a simulator."""

    pid: int
    facts: dict[str, Any]
    """The attributes `FACTS` of its environments."""


class Packet(NamedTuple):
    """One step of n environments on its way to the learner; arrays as in `Step`, images in their integers."""

    obs: dict[str, Any]
    """Arrays on the host or, where Ray carries tensors from device to device, tensors."""
    flags: dict[str, NDArray]
    """`FLAGS`, each (n,); empty for an observation that no step led to."""
    log: dict[str, NDArray]
    seconds: float
    """That the simulator worked for it."""


class Simulator:
    """Its methods are called through Ray."""

    def __init__(self) -> None:
        _end_with_parent()
        self._env: VecEnv | None = None
        self._broken: Exception | None = None

    @property
    def env(self) -> VecEnv:
        """The environments, once they are built."""
        if self._env is None:
            raise self._broken or RuntimeError("build() comes first")
        return self._env

    def build(self, maker: Maker, num_envs: int, world_offset: int, device: str) -> Description:
        """Make the environments, apart from the constructor, so that what goes wrong arrives as it was raised."""
        torch.set_num_threads(1)
        try:
            env = self._env = maker(num_envs=num_envs, world_offset=world_offset, device=device)
        except Exception as error:
            self._broken = error  # whatever is asked of it next fails for the same reason
            raise
        return Description(os.getpid(), {name: getattr(env, name, ()) for name in FACTS})

    def warm_up(self, maker: Maker) -> None:
        """Import all that environments need, by making one."""
        with suppress(Exception):  # an engine that does not run on the CPU: its imports are done all the same
            maker(num_envs=1, world_offset=0, device="cpu").close()

    def release(self) -> None:
        """Drop the environments, and be ready for others."""
        if self._env is not None:
            self._env.close()
        self._env = self._broken = None

    def begin(self, seed: int, mix: Mapping[str, float] | None, stagger: bool) -> Packet:
        """Open the first episodes."""
        start = time.perf_counter()
        if mix is not None:
            self.env.set_reset_mix(mix)
        obs = self.env.reset(seed)
        if stagger:
            self.env.stagger()
        return self._packet(obs, start)

    def step(self, action: NDArray[np.float32], direct: bool = False) -> Packet:
        """One control step.

        Args:
            action: (n, A).
            direct: leave the observations as tensors where they are.
        """
        start = time.perf_counter()
        step = self.env.step(torch.from_numpy(action.copy()).to(self.env.device))
        return self._packet(step.obs, start, step, direct)

    def call(self, method: str, *arguments: Any) -> Any:
        """A method of `VecEnv` that takes and gives what is no tensor."""
        return getattr(self.env, method)(*arguments)

    def measure(self) -> dict[str, NDArray]:
        """What `VecEnv.measure` does, here."""
        return _arrays(self.env.measure())

    def load_state_dict(self, state: Mapping[str, Any]) -> Packet:
        """What `VecEnv.load_state_dict` does, here."""
        start = time.perf_counter()
        return self._packet(self.env.load_state_dict(state), start)

    def _packet(self, obs: TensorDict, start: float, step: Step | None = None, direct: bool = False) -> Packet:
        groups = {key: obs[key] for key in self.env.obs_spec}
        groups = {key: value.contiguous() for key, value in groups.items()} if direct else _arrays(groups)
        flags = {} if step is None else _arrays({name: getattr(step, name) for name in FLAGS})
        return Packet(groups, flags, {} if step is None else _arrays(step.log), time.perf_counter() - start)


def _end_with_parent() -> None:
    """When the learner dies, Ray does, and by this its simulators: at once, where an orderly end can take a minute."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray]:
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
