"""A tiny VecEnv with every observation group: a palm on a plane must reach an object that its camera may not see."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor

from handsight.policies.policy import Policy
from handsight.sims.vec_env import ArraySpec, Step, VecEnv

PIXELS = 16
VIEW = 0.6
"""Half the width of what the camera sees around the palm; objects start up to 1 away."""
STATE_PARTS = {"object_from_palm": 3, "object_size": 3}
SPECS = {
    "state": ArraySpec((6,), torch.float32, STATE_PARTS),
    "proprio": ArraySpec((2,), torch.float32, {"palm_position": 2}),
    "depth": ArraySpec((1, PIXELS, PIXELS), torch.int16),
    "stereo": ArraySpec((2, 3, PIXELS, PIXELS), torch.uint8),
}


@dataclass(frozen=True)
class ToyConfig:
    """Stands in for `EnvConfig`; the fixture `toy_sims` makes `sims.make` build a `ToyEnv` from it."""

    task: str = "toy"
    engine: ClassVar[str] = "mujoco"

    def with_postures(self, postures: str) -> ToyConfig:
        return self

    def at_level(self, level: int | None) -> ToyConfig:
        return self


class ToyEnv(VecEnv):
    """Action (N, 3): palm velocity x, y (0.2 per step) and grip. Success: palm within 0.25 of the object, grip > 0.

    Draws depend on (seed, global world index, episode) only. `diverge` maps (world, step of its first episode) that
    blows up there; `end_on_success` makes episodes of different lengths.
    """

    action_dim = 3
    control_dt = 0.1
    episode_steps = 8
    device = torch.device("cpu")
    kinds = ("box", "cylinder")
    reset_kinds = ("near", "wide")

    def __init__(
        self,
        observe: Collection[str],
        num_envs: int,
        world_offset: int = 0,
        diverge: Collection[tuple[int, int]] = (),
        end_on_success: bool = False,
    ) -> None:
        self.num_envs, self.world_offset = num_envs, world_offset
        self.diverge, self.end_on_success = set(diverge), end_on_success
        self.obs_spec = {name: SPECS[name] for name in SPECS if name in observe}
        obs = {name: spec.describe() for name, spec in self.obs_spec.items()}
        self.signature: dict[str, Any] = {"task": "toy", "action_space": "toy3", "obs": obs, "rig": {"pixels": PIXELS},
                                          "control_dt": self.control_dt}  # fmt: skip
        self.mix: dict[str, float] = {"near": 0.5, "wide": 0.5}

    def set_reset_mix(self, mix: Mapping[str, float]) -> None:
        self.mix = dict(mix)

    def reset(self, seed: int) -> TensorDict:
        n = self.num_envs
        self.seed, self.total_steps = seed, 0
        self.episode, self.clock = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
        self.palm, self.object = torch.zeros(n, 2), torch.zeros(n, 2)
        self.kind, self.reset_kind = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
        self.over = torch.zeros(n, dtype=torch.bool)
        self._begin(torch.ones(n, dtype=torch.bool))
        return self._observe()

    def _begin(self, worlds: Tensor) -> None:
        for i in worlds.nonzero()[:, 0].tolist():
            draw = torch.Generator().manual_seed(
                (self.seed * 1009 + self.world_offset + i) * 1013 + int(self.episode[i])
            )
            self.kind[i] = torch.randint(2, (), generator=draw)
            self.reset_kind[i] = int(torch.rand((), generator=draw) >= self.mix.get("near", 0.0))
            reach = 0.3 if self.reset_kind[i] == 0 else 1.0
            self.palm[i] = torch.rand(2, generator=draw) * 0.2 - 0.1
            self.object[i] = (torch.rand(2, generator=draw) * 2 - 1) * reach
            self.clock[i] = 0

    def step(self, action: Tensor) -> Step:
        action = action.clamp(-1, 1)
        reset = self.over
        self.episode += reset
        self._begin(reset)
        moving = (~reset)[:, None]
        self.palm = torch.where(moving, self.palm + 0.2 * action[:, :2], self.palm)
        self.clock = torch.where(reset, 0, self.clock + 1)
        distance = (self.palm - self.object).norm(dim=1)
        success = (distance < 0.25) & (action[:, 2] > 0) & ~reset
        diverged = torch.tensor([(i, int(self.clock[i])) in self.diverge and self.episode[i] == 0 and not reset[i]
                                 for i in range(self.num_envs)])  # fmt: skip
        truncated = (self.clock >= self.episode_steps) & ~diverged & ~reset
        terminated = success & diverged.logical_not() & self.end_on_success & ~truncated
        self.episode += diverged
        self._begin(diverged)
        self.over = terminated | truncated
        reward = torch.where(reset | diverged, 0.0, success.float() - 0.1 * distance)
        log = {"success": success & ~diverged, "diverged": diverged, "reward/reach": -0.1 * distance} | self.measure()
        return Step(self._observe(), reward, terminated, truncated, reset | diverged, ~(reset | diverged), log)

    def measure(self) -> dict[str, Tensor]:
        seen = {}
        if {"depth", "stereo"} & set(self.obs_spec):
            seen["visible"] = self._mask(0).float().mean(dim=(1, 2))
        if "stereo" in self.obs_spec:
            seen["visible_right"] = self._mask(1).float().mean(dim=(1, 2))
        distance = (self.palm - self.object).norm(dim=1)
        about = {
            "grasp_distance": 0.2 * distance,  # near: within two steps
            "touching": torch.zeros_like(self.over),
            "lift": 0.02 * (distance < 0.25),
        }
        return seen | about | {"kind": self.kind.clone(), "reset_kind": self.reset_kind.clone()}

    def _mask(self, shift: int) -> Tensor:
        """(N, H, W) bool: pixels of the object, the eye moved sideways by `shift` pixels."""
        axis = (torch.arange(PIXELS) + 0.5) / PIXELS * 2 * VIEW - VIEW
        offset = self.object - self.palm
        x = axis[None, None, :] - offset[:, 0, None, None] + shift * 2 * VIEW / PIXELS
        y = axis[None, :, None] - offset[:, 1, None, None]
        return x.square() + y.square() < 0.15**2

    def object_mask(self) -> Tensor:
        """(N, H, W) bool: pixels of the left eye that show the object."""
        return self._mask(0)

    def _observe(self) -> TensorDict:
        groups: dict[str, Tensor] = {}
        if "state" in self.obs_spec:
            offset = torch.cat([self.object - self.palm, torch.zeros(self.num_envs, 1)], dim=1)
            groups["state"] = torch.cat([offset, torch.full((self.num_envs, 3), 0.15)], dim=1)
        if "proprio" in self.obs_spec:
            groups["proprio"] = self.palm.clone()
        if "depth" in self.obs_spec:
            groups["depth"] = torch.where(self._mask(0), 300, 400).to(torch.int16)[:, None]
        if "stereo" in self.obs_spec:
            table = torch.full((self.num_envs, 2, 3, PIXELS, PIXELS), 90, dtype=torch.uint8)
            red = torch.tensor([220, 40, 40], dtype=torch.uint8)[:, None, None]
            eyes = torch.stack([self._mask(0), self._mask(1)], dim=1)[:, :, None]
            groups["stereo"] = torch.where(eyes, red, table)
        return TensorDict(groups, batch_size=[self.num_envs])  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        names = ("seed", "episode", "clock", "palm", "object", "kind", "reset_kind", "over", "mix")
        return copy.deepcopy({name: getattr(self, name) for name in names})

    def load_state_dict(self, state: Mapping[str, Any]) -> TensorDict:
        vars(self).update(copy.deepcopy(dict(state)))
        return self._observe()

    def close(self) -> None:
        pass


class Scripted(Policy):
    """Goes straight to the object where it may know it: from the state, or from the pixels while it sees them."""

    def __init__(self, group: str, std: float = 0.1) -> None:
        super().__init__()
        self.obs_keys, self.group, self.std = (group, "proprio"), group, std

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, 0)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.group == "state":
            target = obs["state"][:, :2]
        else:
            image = obs["depth"][:, 0] if self.group == "depth" else obs["stereo"][:, 0, 0]
            seen = (image < 350) & (image > 0) if self.group == "depth" else image > 150
            axis = (torch.arange(PIXELS) + 0.5) / PIXELS * 2 * VIEW - VIEW
            count = seen.sum(dim=(1, 2)).clamp(min=1)
            target = torch.stack(
                [(seen * axis[None, None, :]).sum((1, 2)), (seen * axis[None, :, None]).sum((1, 2))], 1
            )
            target = target / count[:, None]
        mean = torch.cat([(target / 0.2).clamp(-1, 1), torch.ones(len(target), 1)], dim=1)
        return mean, torch.full_like(mean, self.std), hidden


class Counting(Scripted):
    """Acts like `Scripted("state")` and counts its own steps in its memory, so that a test sees when it was zeroed."""

    def __init__(self) -> None:
        super().__init__("state")
        self.seen: list[Tensor] = []

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.append(hidden[:, 0].clone())
        mean, std, _ = super().forward(obs, hidden)
        return mean, std, hidden + 1
