"""Our environments for Stable-Baselines3: `SB3VecEnv(sims.make(...))` wherever it takes a `VecEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from tensordict import TensorDict

from ...errors import HandsightError
from ..vec_env import VecEnv
from .transitions import Transitions

try:
    from stable_baselines3.common.vec_env.base_vec_env import VecEnv as Base  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise HandsightError("this adapter needs Stable-Baselines3: pip install 'handsight[sb3]'") from error


class SB3VecEnv(Base):
    """N environments as one `stable_baselines3.common.vec_env.VecEnv`. Flat groups alone are one vector, side by side
    in the order of `obs_spec` ("MlpPolicy"); with images observations are a dict ("MultiInputPolicy"), `stereo` one
    image of six channels. Ends carry `terminal_observation` and `is_success`, by the clock `TimeLimit.truncated`."""

    def __init__(self, env: VecEnv, stagger: bool = False) -> None:
        """Takes the environment over. stagger: spread the clocks over an episode after each `reset`. Raises
        HandsightError: the environments are in other processes."""
        self.transitions, self.env = Transitions(env, stagger), env
        self._flat = all(len(spec.shape) == 1 for spec in env.obs_spec.values())
        box = lambda shape: spaces.Box(-np.inf, np.inf, shape, np.float32)  # noqa: E731
        groups: dict[str, Any] = {name: box(spec.shape) for name, spec in env.obs_spec.items()}
        if "stereo" in groups:
            groups["stereo"] = spaces.Box(0, 255, (6, *env.obs_spec["stereo"].shape[2:]), np.uint8)
        space = box((sum(one.shape[0] for one in groups.values()),)) if self._flat else spaces.Dict(groups)
        self._shapes = {name: one.shape for name, one in groups.items()}
        super().__init__(env.num_envs, space, spaces.Box(-1.0, 1.0, (env.action_dim,), np.float32))

    def reset(self) -> Any:
        """Begin episode 0 of the seed that `seed` was given, or of one that NumPy draws."""
        seed = np.random.randint(2**31) if self._seeds[0] is None else self._seeds[0]
        self._reset_seeds()
        return self._shown(self.transitions.reset(seed))

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Take actions (N, A) in [-1, 1] for `step_wait`."""
        self._actions = torch.as_tensor(np.asarray(actions, np.float32), device=self.env.device)

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Observations, rewards (N,), ends (N,) and infos of the step."""
        found, ends = self.transitions.step(self._actions)
        done, last = (found.terminated | found.truncated).cpu().numpy(), self._shown(ends)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            seen = last[i] if self._flat else {name: one[i] for name, one in last.items()}
            infos[i] = {"terminal_observation": seen, "TimeLimit.truncated": bool(found.truncated[i])}
            infos[i] |= {"is_success": bool(found.log["success"][i])} if "success" in found.log else {}
        return self._shown(found.obs), found.reward.cpu().numpy().copy(), done, infos

    def _shown(self, obs: TensorDict) -> Any:
        groups = {name: obs[name].cpu().numpy().reshape(-1, *shape) for name, shape in self._shapes.items()}
        return np.concatenate([*groups.values()], axis=1) if self._flat else groups

    def close(self) -> None:
        """Release processes, threads and device memory."""
        self.env.close()

    def get_images(self) -> Any:
        """(H, W, 3) of each environment, from outside."""
        return [self.env.render_overview(i) for i in range(self.num_envs)]  # type: ignore[attr-defined]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of our environments, which share all of them."""
        films = "rgb_array" if hasattr(self.env, "render_overview") else None
        return self._each(films if attr_name == "render_mode" else getattr(self.env, attr_name), indices)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of our environments once for all, e.g. set_reset_mix."""
        return self._each(getattr(self.env, method_name)(*method_args, **method_kwargs), indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises HandsightError: our environments have methods for what may change."""
        raise HandsightError(f"SB3VecEnv.set_attr: {attr_name!r} cannot be set; env_method calls what can")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never: our environments have no wrappers of Gymnasium's."""
        return self._each(False, indices)

    def _each(self, value: Any, indices: Any) -> list[Any]:
        return [value for _ in self._get_indices(indices)]
