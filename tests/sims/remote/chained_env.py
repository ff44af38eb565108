"""Worlds whose every observation proves which actions led to it; simulators' processes import this file by name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from handsight.errors import HandsightError
from handsight.sims.vec_env import ArraySpec, Step, VecEnv

RAISE = 7.0
"""An action beginning with this makes the simulator of its world raise."""
PIXELS = 64


def link(chain: Tensor, action: Tensor) -> Tensor:
    """(N,) int64: the chain after one more action (N, A)."""
    bits = action.contiguous().view(torch.int32).long()
    for column in bits.unbind(1):
        chain = (chain * 6364136223846793005 + column) ^ (chain >> 17 & 0x7FFFFFFF)
    return chain


def opening(seed: int, world: Tensor, episode: Tensor) -> Tensor:
    """(N,) int64: what the chain of an episode begins with."""
    return (world * 1_000_003 + episode) * 0x5DEECE66D + seed


def picture(chain: Tensor) -> Tensor:
    """(N, 1, H, W) int16: an image of which every pixel depends on the chain."""
    grid = torch.arange(PIXELS * PIXELS).reshape(1, 1, PIXELS, PIXELS)
    return ((chain.reshape(-1, 1, 1, 1) % 30011 + grid) % 30011).to(torch.int16)


class ChainedEnv(VecEnv):
    """`stamp` (N, 4) int64: global world index, episode, clock, chain; `depth` an image of the chain."""

    action_dim, control_dt, episode_steps = 2, 0.1, 5
    device = torch.device("cpu")
    reset_kinds = ("near", "wide")

    def __init__(self, num_envs: int, world_offset: int = 0, device: str = "cpu") -> None:
        if num_envs > 1000:
            raise HandsightError(f"{num_envs} worlds are more than fit; at most 1,000")
        self.num_envs = num_envs
        self.world = torch.arange(world_offset, world_offset + num_envs)
        self.obs_spec = {"stamp": ArraySpec((4,), torch.int64), "depth": ArraySpec((1, PIXELS, PIXELS), torch.int16)}
        self.signature: dict[str, Any] = {"task": "chained"}
        self.mix: dict[str, float] = {}

    def set_reset_mix(self, mix: Mapping[str, float]) -> None:
        if set(mix) - set(self.reset_kinds):
            raise HandsightError(f"unknown kinds of reset {sorted(mix)}")
        self.mix = dict(mix)

    def reset(self, seed: int) -> TensorDict:
        self.seed = seed
        self.episode, self.clock = torch.zeros(self.num_envs, dtype=torch.long), torch.zeros_like(self.world)
        self.chain = opening(seed, self.world, self.episode)
        self.over = torch.zeros(self.num_envs, dtype=torch.bool)
        return self._observe()

    def step(self, action: Tensor) -> Step:
        if bool((action[:, 0] == RAISE).any()):
            raise RuntimeError("a planted failure")
        first = self.over
        self.episode = self.episode + first
        self.chain = torch.where(
            first, opening(self.seed, self.world, self.episode), link(self.chain, action.clamp(-1, 1))
        )
        self.clock = torch.where(first, 0, self.clock + 1)
        truncated = (self.clock >= self.episode_steps) & ~first
        self.over = truncated
        reward = torch.where(first, 0.0, self.chain % 1000 / 1000)
        log = {"success": truncated & (self.chain % 2 == 0), "near": torch.full_like(reward, self.mix.get("near", 0.0))}
        return Step(self._observe(), reward, torch.zeros_like(first), truncated, first, ~first, log)

    def _observe(self) -> TensorDict:
        stamp = torch.stack([self.world, self.episode, self.clock, self.chain], 1)
        return TensorDict({"stamp": stamp, "depth": picture(self.chain)}, batch_size=[self.num_envs])

    def measure(self) -> dict[str, Tensor]:
        return {"kind": self.world.clone()}

    def state_dict(self) -> dict[str, Any]:
        names = ("seed", "episode", "clock", "chain", "over", "mix")
        return copy.deepcopy({name: getattr(self, name) for name in names})

    def load_state_dict(self, state: Mapping[str, Any]) -> TensorDict:
        vars(self).update(copy.deepcopy(dict(state)))
        return self._observe()

    def close(self) -> None:
        pass


class Ledger:
    """Follows every world and refuses a valid row that is not the one step that its action leads to."""

    def __init__(self, obs: TensorDict) -> None:
        self.obs = {name: obs[name].clone() for name in ("stamp", "depth")}
        self.kept = obs
        """By reference, as a user would keep it."""
        self.lives = {tuple(row) for row in self.obs["stamp"][:, [0, 1, 3]].tolist()}
        self.valid = self.lost = 0

    def check(self, action: Tensor, step: Step) -> None:
        """One step of N worlds."""
        assert all(torch.equal(self.kept[name], self.obs[name]) for name in self.obs), "an old observation changed"
        before, stamp = self.obs["stamp"], step.obs["stamp"]
        rows = step.valid
        assert torch.equal(stamp[rows, 0], torch.arange(len(rows))[rows]), "another world's row"
        assert torch.equal(stamp[rows, 1], before[rows, 1]), "an episode changed without notice"
        assert torch.equal(stamp[rows, 2], before[rows, 2] + 1), "a step was lost or given twice"
        assert torch.equal(stamp[rows, 3], link(before[:, 3], action.clamp(-1, 1))[rows]), "the action of another row"
        assert torch.equal(step.obs["depth"], picture(stamp[:, 3])), "an image of another row"
        assert torch.allclose(step.reward[rows], stamp[rows, 3] % 1000 / 1000), "the reward of another row"
        assert (step.first == ~rows).all() and not step.truncated[~rows].any() and not step.reward[~rows].any()
        opened = ~rows & (stamp[:, 3] != before[:, 3])
        begun = [tuple(row) for row in stamp[opened][:, [0, 1, 3]].tolist()]
        assert not self.lives & set(begun), "an episode was lived through twice"
        self.lives |= set(begun)
        self.valid += int(rows.sum())
        self.lost += int(step.log["lost"].sum())
        self.kept, self.obs = step.obs, {name: step.obs[name].clone() for name in self.obs}
