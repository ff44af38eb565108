"""A world with a gap of known size: the teacher acts on a coin that only its state contains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor

from handsight.policies.policy import Policy
from handsight.sims.vec_env import ArraySpec, Step, VecEnv

PIXELS = 16
FROM_CLUE, FROM_COIN = 0.5, 0.25
"""The teacher's action is (FROM_CLUE * clue, FROM_COIN * coin)."""
CLUE_VARIANCE = FROM_CLUE**2 / 3
"""Of the first of them: the clue is uniform in [-1, 1]."""
UNEXPLAINED = FROM_COIN**2 / (FROM_COIN**2 + CLUE_VARIANCE)
"""Share of the teacher's variance that whoever does not see the coin cannot explain: it is as often heads as tails."""
SUCCESS_GAP = 0.5
"""The teacher always calls the coin, and whoever does not see it calls it half of the time."""
SPECS = {
    "state": ArraySpec((2,), torch.float32, {"clue": 1, "coin": 1}),
    "proprio": ArraySpec((1,), torch.float32, {"clue": 1}),
    "depth": ArraySpec((1, PIXELS, PIXELS), torch.int16),
}


@dataclass(frozen=True)
class CoinConfig:
    """Stands in for `EnvConfig`."""

    engine: ClassVar[str] = "mujoco"
    shown: bool = False
    """The depth image shows the coin: no gap is planted."""

    def with_postures(self, postures: str) -> CoinConfig:
        return self

    def at_level(self, level: int | None) -> CoinConfig:
        return self


class CoinEnv(VecEnv):
    """A coin is thrown for each episode, and in each step another clue is given. Action (N, 2). Success: the second
    action is above 0 for heads, and not above 0 for tails."""

    action_dim, control_dt, episode_steps = 2, 0.1, 3
    device = torch.device("cpu")

    def __init__(self, observe: Collection[str], num_envs: int, shown: bool = False) -> None:
        self.num_envs, self.shown = num_envs, shown
        self.obs_spec = {name: spec for name, spec in SPECS.items() if name in observe}
        obs = {name: spec.describe() for name, spec in self.obs_spec.items()}
        self.signature: dict[str, Any] = {"task": "coin", "action_space": "coin2", "obs": obs, "rig": {},
                                          "control_dt": self.control_dt}  # fmt: skip

    def reset(self, seed: int) -> TensorDict:
        self.draws = torch.Generator().manual_seed(seed)
        self.clock = 0
        self.coin = torch.zeros(self.num_envs)
        self._throw()
        return self._observe()

    def _throw(self) -> None:
        self.coin = torch.randint(2, (self.num_envs,), generator=self.draws) * 2.0 - 1

    def step(self, action: Tensor) -> Step:
        resets = self.clock == self.episode_steps
        self.clock = 0 if resets else self.clock + 1
        if resets:
            self._throw()
        success = (action[:, 1] > 0) == (self.coin > 0)
        flag = lambda value: torch.full((self.num_envs,), value)  # noqa: E731
        over = self.clock == self.episode_steps
        nothing = torch.zeros(self.num_envs)
        return Step(self._observe(), nothing, flag(False), flag(over), flag(resets), flag(not resets),
                    {"success": success & (not resets), "kind": nothing.long()})  # fmt: skip

    def _observe(self) -> TensorDict:
        clue = torch.rand(self.num_envs, 1, generator=self.draws) * 2 - 1
        seen = torch.where(self.coin > 0, 300, 600) if self.shown else torch.full((self.num_envs,), 450)
        groups = {
            "state": torch.cat([clue, self.coin[:, None]], dim=1),
            "proprio": clue,
            "depth": seen.to(torch.int16)[:, None, None, None].repeat(1, 1, PIXELS, PIXELS),
        }
        return TensorDict({k: v for k, v in groups.items() if k in self.obs_spec}, batch_size=[self.num_envs])

    def close(self) -> None:
        pass


class Caller(Policy):
    """The best that can be done with the coin in `group`: the teacher with "state"; with "depth" it reads the coin from
    the picture where it is shown, and does the mean action where it is not. `noise`: what it did not learn."""

    def __init__(self, group: str, noise: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.obs_keys, self.group, self.noise = (group, "proprio"), group, noise
        self.draws = torch.Generator().manual_seed(seed)

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, 0)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coin = obs["state"][:, 1] if self.group == "state" else (450 - obs["depth"][:, 0, 0, 0].float()) / 150
        mean = torch.stack([FROM_CLUE * obs["proprio"][:, 0], FROM_COIN * coin], dim=1)
        mean = mean + self.noise * torch.randn(mean.shape, generator=self.draws)
        return mean, torch.full_like(mean, 0.1), hidden
