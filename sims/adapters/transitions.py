"""What learners without a mask are given: whole transitions only, an end together with how the next episode opens."""

from __future__ import annotations

from dataclasses import replace

import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ..vec_env import Step, VecEnv


class Transitions:
    """A `VecEnv` whose episodes open together with the end before them, so that no row of a step is a reset."""

    obs: TensorDict | None = None
    """What is acted on next; None before the first `reset`."""

    def __init__(self, env: VecEnv, stagger: bool) -> None:
        """stagger: spread the clocks over an episode after each `reset`. Raises HandsightError: it cannot `renew`."""
        if type(env).renew is VecEnv.renew:
            raise HandsightError(f"adapters need environments of this process: {type(env).__name__} cannot `renew`")
        self.env, self.stagger = env, stagger

    def reset(self, seed: int) -> TensorDict:
        """Begin episode 0 everywhere."""
        self.obs = obs = self.env.reset(seed)
        if self.stagger:
            self.env.stagger()
        return obs

    def step(self, action: Tensor) -> tuple[Step, TensorDict]:
        """action (N, A): a step whose `obs` is what is acted on next, and what it led to, ends included. A world that
        diverged is truncated, with a reward of 0, at what was observed last."""
        step, before = self.env.step(action), self.obs
        assert before is not None, "reset() comes first"
        lost, last = step.first, step.obs  # after `renew` nothing else is `first`
        if lost.any():
            parts = {k: torch.where(lost.reshape(-1, *(1,) * (v.ndim - 1)), before[k], v) for k, v in last.items()}
            last = TensorDict(parts, batch_size=last.batch_size)
        self.obs = self.env.renew() if (step.terminated | step.truncated).any() else step.obs
        return replace(step, obs=self.obs, truncated=step.truncated | lost), last
