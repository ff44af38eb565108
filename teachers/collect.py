"""Collect a rollout: act, step, store. Of worlds in parts, one moves while the policy decides for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..policies.finite import finite, finite_rows
from ..policies.policy import zero_where_first
from ..sims.vec_env import Step, VecEnv
from .actor_critic import Decision, Observation
from .episodes import EpisodeTracker
from .rollout_buffer import RolloutBuffer


class RolloutStoppedError(Exception):
    """A rollout, or the learning from it, was broken off on request."""


class Actor(Protocol):
    """What collects: an `ActorCritic`, or something that acts in its place."""

    train_keys: tuple[str, ...]
    """Observation groups that it reads."""

    def act(self, obs: Observation, hidden: Tensor) -> Decision:
        """Decide for N environments: groups (N, ...), hidden (N, H)."""
        ...

    def value(self, obs: Observation, hidden: Tensor) -> Tensor:
        """(N,) value by the critic."""
        ...


@torch.no_grad()
def collect(
    env: VecEnv,
    actor: Actor,
    buffer: RolloutBuffer,
    obs: Observation,
    hidden: Tensor,
    episodes: EpisodeTracker,
    stop: Callable[[], bool] = lambda: False,
    version: int = 0,
) -> tuple[Observation, Tensor]:
    """Fill the buffer, from this observation and hidden state on; returns those after its last row.

    Args:
        env: the environments.
        actor: decides; where it and the environments live on different devices, observations and actions are moved.
        buffer: started over.
        obs: present observation, by group.
        hidden: (N, H) present hidden state.
        episodes: takes in every step.
        stop: asked before every step.
        version: of the actor's weights, stored with every row.

    A row with a number that is NaN or infinite is not valid, see `checked`; nobody acts on one.

    Raises:
        RolloutStoppedError: `stop` said so; the environments are somewhere in the middle.
    """
    buffer.begin(hidden, version)
    obs = seen(obs, actor, hidden.device)
    if env.parts:
        return _collect_in_parts(env, actor, buffer, obs, hidden, episodes, stop)
    for _ in range(buffer.steps):
        if stop():
            raise RolloutStoppedError
        decision = actor.act(_clean(obs), hidden)
        step = env.step(finite(decision.action).to(env.device))
        after = seen(step.obs, actor, hidden.device)
        step = checked(step, obs, decision, after)
        buffer.add(obs, decision, step)
        episodes.add(step)
        obs, hidden = after, zero_where_first(finite(decision.hidden), step.first.to(hidden.device))
    buffer.end(actor.value(_clean(obs), hidden))
    return obs, hidden


def _collect_in_parts(
    env: VecEnv, actor: Actor, buffer: RolloutBuffer, obs: Observation, hidden: Tensor, episodes: EpisodeTracker,
    stop: Callable[[], bool],
) -> tuple[Observation, Tensor]:  # fmt: skip
    """The same with worlds that move in parts: no part waits for the decisions about another."""
    part_obs = [{key: group[worlds] for key, group in obs.items()} for worlds in env.parts]
    part_hidden = [hidden[worlds] for worlds in env.parts]
    decisions: list[Decision] = []

    def decide(part: int) -> Decision:
        decision = actor.act(_clean(part_obs[part]), part_hidden[part])
        env.send(finite(decision.action).to(env.device), part)
        return decision

    try:
        decisions += [decide(part) for part in range(len(env.parts))]
        for t in range(buffer.steps):
            if stop():
                raise RolloutStoppedError
            for part, worlds in enumerate(env.parts):
                step, decision = env.receive(part), decisions[part]
                after = seen(step.obs, actor, hidden.device)
                step = checked(step, part_obs[part], decision, after)
                buffer.add(part_obs[part], decision, step, worlds)
                episodes.add(step, worlds)
                part_obs[part] = after
                part_hidden[part] = zero_where_first(finite(decision.hidden), step.first.to(hidden.device))
                if t + 1 < buffer.steps:
                    decisions[part] = decide(part)
    except RolloutStoppedError:
        for part in range(len(env.parts)):  # what is under way must not answer somebody else
            env.receive(part)
        raise
    obs, hidden = _joined(part_obs), torch.cat(part_hidden)
    buffer.end(actor.value(_clean(obs), hidden))
    return obs, hidden


def _joined(parts: Sequence[Observation]) -> dict[str, Tensor]:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def seen(obs: Observation, actor: Actor, device: torch.device) -> dict[str, Tensor]:
    """The groups that an actor and its critic read, on their device."""
    return {key: obs[key].to(device) for key in actor.train_keys}


def checked(step: Step, obs: Observation, decision: Decision, after: Observation) -> Step:
    """The step, not valid in the rows in which a number is NaN or infinite; `log["nonfinite"]` (N,) says in which.

    Args:
        step: what it brought.
        obs: groups (N, ...) that were acted on, on the actor's device like the next two.
        decision: what was done.
        after: groups of the next observation.
    """
    sound = finite_rows([*obs.values(), *decision[:5], *after.values()]).to(step.reward.device)
    sound = sound & step.reward.isfinite()
    log = {**step.log, "nonfinite": step.valid & ~sound}
    return replace(step, reward=finite(step.reward), valid=step.valid & sound, log=log)


def _clean(obs: Observation) -> dict[str, Tensor]:
    return {key: finite(group) for key, group in obs.items()}
