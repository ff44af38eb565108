"""One rollout loop for everything that watches a policy: evaluation, disagreement with a teacher, video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ...policies.finite import check_finite
from ...policies.policy import Policy, zero_where_first
from ...sims.vec_env import Step, VecEnv


@dataclass(frozen=True)
class Moment:
    """One step of N environments, each in the one episode that counts (the first after the reset)."""

    t: int
    """Steps since the reset, 0 for the first."""
    action: Tensor
    """(N, A) in [-1, 1], what was done: the policy's mean, or a sample; or the behaviour policy's mean."""
    mean: Tensor
    """(N, A) mean of the policy's actions, in their unit."""
    std: Tensor
    """(N, A) their standard deviation, same unit."""
    advice: Tensor | None
    """(N, A) mean of the advisor on the same observation, with its own hidden state."""
    advice_std: Tensor | None
    """(N, A) the advisor's standard deviation."""
    step: Step
    running: Tensor
    """(N,) bool: the environment was in its first episode when the action was taken."""
    ended: Tensor
    """(N,) bool: that episode ended with this step; `step.log` describes its last state."""
    aborted: Tensor
    """(N,) bool: that episode was lost in this step (it diverged); `step` describes another episode already."""


@torch.no_grad()
def play(
    env: VecEnv,
    policy: Policy,
    obs: TensorDict,
    advisor: Policy | None = None,
    sampling: torch.Generator | None = None,
    driver: Policy | None = None,
) -> Iterator[Moment]:
    """Let `policy` act from `obs`, which `env.reset` returned, until the first episode of every environment is over.

    The policy acts by its mean, or by samples drawn from `sampling` (a CPU generator). `advisor` is asked at every
    observation and never acts. With a behaviour policy, `driver`, which acts by its mean, `policy` is only asked, too:
    both then meet the states of the behaviour policy. An episode longer than `env.episode_steps` is not waited for.

    Raises:
        NotFiniteError: the policy's first answers are NaN or infinite.
    """
    asked = [policy, *(p for p in (advisor, driver) if p is not None)]
    was_training = [p.training for p in asked]
    for p in asked:
        p.eval()
    hidden = [p.initial_hidden(env.num_envs).to(device_of(p)) for p in asked]
    running = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    try:
        for t in range(env.episode_steps):
            answers = [ask(p, obs, h) for p, h in zip(asked, hidden, strict=True)]
            mean, std = (part.to(env.device) for part in answers[0][:2])
            if not t:
                check_finite(type(policy).__name__, (mean, std))
            action = mean if sampling is None else mean + std * torch.randn(std.shape, generator=sampling).to(std)
            action = action if driver is None else answers[-1][0].to(env.device)
            step = env.step(action)
            over = step.terminated | step.truncated
            aborted = running & step.first
            advice, advice_std = (x.to(env.device) for x in answers[1][:2]) if advisor is not None else (None, None)
            ended = running & over & ~aborted
            yield Moment(t, action, mean, std, advice, advice_std, step, running, ended, aborted)
            running = running & ~over & ~aborted
            if not running.any():
                return
            hidden = [zero_where_first(answer[2], step.first.to(answer[2].device)) for answer in answers]
            obs = step.obs
    finally:
        for p, training in zip(asked, was_training, strict=True):
            p.train(training)


def ask(policy: Policy, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The policy's answer to the groups that it reads, moved to its device; nothing else is shown to it.

    Args:
        policy: who is asked.
        obs: N observations.
        hidden: (N, M) its hidden state, on its device.

    Returns:
        Mean and standard deviation (N, A) of the action, in [-1, 1], and the next hidden state, on its device.

    Raises:
        HandsightError: the environment does not observe a group that it reads.
    """
    missing = [key for key in policy.obs_keys if key not in set(obs.keys())]
    if missing:
        raise HandsightError(
            f"{type(policy).__name__} reads {', '.join(missing)}, which the environment does not observe; "
            f"available: {', '.join(sorted(map(str, obs.keys())))}"
        )
    return policy(obs.select(*policy.obs_keys).to(device_of(policy)), hidden)


def device_of(policy: Policy) -> torch.device:
    """Where the policy's weights are; the CPU for one without weights."""
    return next((p.device for p in policy.parameters()), torch.device("cpu"))
