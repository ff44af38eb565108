"""Our environments for rsl_rl: `RslRlVecEnv(sims.make(...), seed)` wherever its runners take a `VecEnv`."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ..vec_env import VecEnv
from .transitions import Transitions

try:
    from rsl_rl.env import VecEnv as Base  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise HandsightError("this adapter needs rsl_rl 5: pip install 'handsight[rsl_rl]'") from error


class RslRlVecEnv(Base):
    """N environments as one `rsl_rl.env.VecEnv`, whose observation groups are ours by name, e.g. in a runner's
    `obs_groups` {"actor": ["state", "proprio"]}. Images are float32 for its convolutions: `depth` (N, 1, H, W) m, 0 is
    no return, `stereo` (N, 6, H, W) in 0..1. What the task measured as episodes ended is logged by its name."""

    def __init__(self, env: VecEnv, seed: int = 0, stagger: bool = False) -> None:
        """Takes the environment over. seed: of the first episodes, which open when observations are first asked for.
        stagger: spread the clocks over an episode, as a runner with `init_at_random_ep_len` does. Raises
        HandsightError: the environments are in other processes."""
        self.transitions, self.env, self.seed = Transitions(env, stagger), env, seed
        self.num_envs, self.num_actions, self.device = env.num_envs, env.action_dim, env.device
        self.max_episode_length, self.cfg = env.episode_steps, {}
        self._steps = torch.zeros(self.num_envs, dtype=torch.long, device=env.device)

    @property
    def episode_length_buf(self) -> Tensor:  # type: ignore[override]
        """(N,) steps of the present episodes since they opened; to set it is to spread the clocks over an episode."""
        return self._steps

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:
        self.get_observations()
        self.env.stagger()

    def get_observations(self) -> TensorDict:
        """What is acted on next, by group."""
        obs = self.transitions.obs
        return _shown(self.transitions.reset(self.seed) if obs is None else obs)

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """actions (N, A): observations, rewards (N,), ends (N,) int64; `time_outs` (N,) and the `log` of what ended."""
        found, _ = self.transitions.step(actions)
        done = found.terminated | found.truncated
        self._steps = torch.where(done, 0, self._steps + 1)
        ended = {f"/{name}": one[done].float().mean() for name, one in found.log.items()} if done.any() else None
        extras = {"time_outs": found.truncated.float()} | ({} if ended is None else {"log": ended})
        return _shown(found.obs), found.reward, done.long(), extras


def _shown(obs: TensorDict) -> TensorDict:
    """Images as its networks take them."""
    scaled = {"depth": lambda mm: mm.float() / 1000, "stereo": lambda rgb: rgb.flatten(1, 2).float() / 255}
    groups = {name: scaled.get(str(name), lambda same: same)(one) for name, one in obs.items()}
    return TensorDict(groups, batch_size=obs.batch_size, device=obs.device)
