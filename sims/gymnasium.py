"""Adapters both ways: Gymnasium's tasks for our PPO, and our environments for others' algorithms."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from ..errors import HandsightError
from .vec_env import ArraySpec, Step, VecEnv


class GymnasiumError(HandsightError):
    """A Gymnasium environment that does not fit the VecEnv contract."""


class GymnasiumVecEnv(VecEnv):
    """A `gymnasium.vector.VectorEnv` with box observations and actions, as one flat observation group."""

    def __init__(self, envs: gymnasium.vector.VectorEnv, group: str = "state") -> None:
        """Takes the environments over: `close` closes them.

        Args:
            envs: autoreset mode NEXT_STEP, which is Gymnasium's default.
            group: name of the observation group, "state" or "proprio".

        Raises:
            GymnasiumError: another autoreset mode, or spaces that are not boxes.
        """
        self.envs, self.group = envs, group
        name = envs.spec.id if envs.spec else type(envs).__name__
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise GymnasiumError(f"{name}: expected autoreset mode NEXT_STEP, found {mode}")
        observation = _box(envs.single_observation_space, f"{name}: observations")
        action = _box(envs.single_action_space, f"{name}: actions")
        if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
            raise GymnasiumError(f"{name}: expected actions with bounds, found low {action.low}, high {action.high}")
        self.num_envs, self.device = envs.num_envs, torch.device("cpu")
        self.action_dim, size = math.prod(action.shape), math.prod(observation.shape)
        self._action = action
        self._center = (action.high + action.low).ravel() / 2
        self._reach = (action.high - action.low).ravel() / 2
        self.control_dt = 1.0 / float(envs.metadata.get("render_fps") or 1)
        limit = envs.spec.max_episode_steps if envs.spec else None
        self.episode_steps = limit or 0
        """0 where the task has no clock."""
        self.obs_spec = {group: ArraySpec((size,), torch.float32)}
        self.signature = {
            "task": name,
            "action_space": {"low": action.low.ravel().tolist(), "high": action.high.ravel().tolist()},
            "obs": {group: self.obs_spec[group].describe()},
            "rig": {},
            "control_dt": self.control_dt,
        }
        self._over = np.ones(self.num_envs, dtype=bool)

    def reset(self, seed: int) -> TensorDict:
        obs, _ = self.envs.reset(seed=seed)
        self._over[:] = False
        return self._pack(obs)

    def step(self, action: Tensor) -> Step:
        unit = action.detach().cpu().numpy().clip(-1.0, 1.0)
        box = (self._center + self._reach * unit).astype(self._action.dtype)
        obs, reward, terminated, truncated, _ = self.envs.step(box.reshape(self.num_envs, *self._action.shape))
        first, self._over = torch.from_numpy(self._over), terminated | truncated
        return Step(
            obs=self._pack(obs),
            reward=torch.as_tensor(reward, dtype=torch.float32),
            terminated=torch.from_numpy(terminated),
            truncated=torch.from_numpy(truncated & ~terminated),
            first=first,
            valid=~first,
        )

    def _pack(self, obs: NDArray[Any]) -> TensorDict:
        flat = torch.tensor(obs, dtype=torch.float32).reshape(self.num_envs, -1)
        return TensorDict({self.group: flat}, batch_size=[self.num_envs])

    def close(self) -> None:
        self.envs.close()


class VecEnvToGymnasium(gymnasium.vector.VectorEnv):
    """Any `VecEnv` as a `gymnasium.vector.VectorEnv` with NEXT_STEP autoreset: numpy in and out, Dict observations.

    Gymnasium has no flag for an episode that was lost without an end (it diverged). It is reported as truncated; `info`
    carries our `valid` and `first` and every entry of `Step.log`, each (N,).
    """

    def __init__(self, env: VecEnv) -> None:
        """Takes the environment over: `close` closes it."""
        self.env, self.num_envs = env, env.num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_fps": round(1 / env.control_dt)}
        self.single_observation_space = gymnasium.spaces.Dict(
            {name: _space(spec) for name, spec in env.obs_spec.items()}
        )
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (env.action_dim,), np.float32)
        batch = gymnasium.vector.utils.batch_space
        self.observation_space = batch(self.single_observation_space, self.num_envs)
        self.action_space = batch(self.single_action_space, self.num_envs)
        self._over = torch.zeros(self.num_envs, dtype=torch.bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin episode 0 everywhere. One seed serves all environments, which differ by their index; None draws one.

        Raises:
            GymnasiumError: a seed for each environment, or options, which no VecEnv has.
        """
        if isinstance(seed, list) or options:
            raise GymnasiumError(f"VecEnvToGymnasium.reset: expected one seed, no options; found {seed!r}, {options!r}")
        super().reset(seed=seed)
        chosen = int(self.np_random.integers(2**31)) if seed is None else seed
        self._over.zero_()
        return self._unpack(self.env.reset(chosen)), {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """actions (N, A) in [-1, 1]. Where an episode ended with the last step it is ignored."""
        step = self.env.step(torch.as_tensor(actions, dtype=torch.float32, device=self.env.device))
        first, valid = step.first.cpu(), step.valid.cpu()
        truncated = step.truncated.cpu() | (first & ~self._over)
        self._over = step.terminated.cpu() | step.truncated.cpu()
        info = {name: values.cpu().numpy() for name, values in step.log.items()}
        info |= {"valid": valid.numpy(), "first": first.numpy()}
        reward = torch.where(valid, step.reward.cpu(), 0.0).numpy()
        return self._unpack(step.obs), reward, step.terminated.cpu().numpy(), truncated.numpy(), info

    def _unpack(self, obs: TensorDict) -> dict[str, NDArray[Any]]:
        return {name: obs[name].cpu().numpy() for name in self.env.obs_spec}

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environment: called by `close`."""
        self.env.close()


def _box(space: gymnasium.Space, where: str) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box):
        raise GymnasiumError(f"{where}: expected a Box, found {type(space).__name__}; flatten it with a wrapper")
    return space


def _space(spec: ArraySpec) -> gymnasium.spaces.Box:
    dtype = torch.empty(0, dtype=spec.dtype).numpy().dtype
    if dtype.kind == "f":
        return gymnasium.spaces.Box(-np.inf, np.inf, spec.shape, dtype.type)
    limits = np.iinfo(dtype)
    return gymnasium.spaces.Box(limits.min, limits.max, spec.shape, dtype.type)
