"""Adapters both ways: Gymnasium's tasks for our PPO, and our environments for others' algorithms."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from ..errors import HandsightError
from .env_config import EnvConfig
from .make import make
from .scenes import with_task
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
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_fps": round(1 / env.control_dt, 3)}
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
        self._over = torch.zeros(self.num_envs, dtype=torch.bool)
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


class TaskEnv(gymnasium.Env):
    """One environment of ours, `gymnasium.make("handsight/Grasp-v0")`, with Dict observations. A world that diverged is
    truncated at its last observation, with `valid` False in `info`, where all of `Step.log` stands."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12.5}  # noqa: RUF012
    render_size = 240, 240
    """Height and width of a picture, pixels."""

    def __init__(self, task: str, render_mode: str | None = None, **how: Any) -> None:
        """Args: task: its name. render_mode: None or "rgb_array". how: `observe` and `config` of `task_envs`."""
        if render_mode not in (None, "rgb_array"):
            raise GymnasiumError(f"render_mode {render_mode!r}: expected None or 'rgb_array'")
        self.envs, self.render_mode = task_envs(1, task, **how), render_mode
        self.observation_space, self.action_space = self.envs.single_observation_space, self.envs.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """Begin episode 0 of a seed; None draws one. Raises GymnasiumError: options, which there are none of."""
        super().reset(seed=seed)
        self._last = self.envs.reset(seed=seed, options=options)[0]
        return {name: values[0] for name, values in self._last.items()}, {}

    def step(self, action: NDArray[np.float32]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """action (A,) in [-1, 1]. After an end comes `reset`."""
        obs, reward, terminated, truncated, info = self.envs.step(action[None])
        self._last = {name: values.copy() for name, values in self._last.items()} if info["first"] else obs
        seen, told = ({name: values[0] for name, values in one.items()} for one in (self._last, info))
        return seen, float(reward[0]), bool(terminated[0]), bool(truncated[0]), told

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """(H, W, 3) from outside; None without `render_mode`."""
        return self.envs.env.render_overview(0, *self.render_size) if self.render_mode else None  # type: ignore

    def close(self) -> None:
        """Release threads and memory."""
        self.envs.close()


def task_envs(num_envs: int, task: str, **how: Any) -> VecEnvToGymnasium:
    """N of our environments: `gymnasium.make_vec(..., vectorization_mode="vector_entry_point")`.

    Args:
        num_envs: how many.
        task: its name.
        how: `observe`, observation groups as for `make`, and `config`, an `EnvConfig`, which is given the task.
    """
    return VecEnvToGymnasium(_make(task, num_envs, **how))


def _make(task: str, n: int, observe: Collection[str] = ("state", "proprio"), config: EnvConfig | None = None) -> Any:
    config = with_task(config or EnvConfig(), task)
    return make(config, (*observe, *config.task.told), n)


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
