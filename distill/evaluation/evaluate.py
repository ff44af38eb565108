"""How well a policy does: one episode from each of a fixed set of held-out resets, the same set for every policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ... import sims
from ...errors import HandsightError
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ...sims.machine import without_machine
from ...sims.vec_env import VecEnv
from . import HELD_OUT_SEED
from .evaluation import Evaluation
from .phases import LOGGED, UNKNOWN, phase_of
from .rollout import Moment, play
from .statistics import plain

CAMERA_GROUPS = frozenset({"depth", "stereo"})


def evaluate(
    policy: Policy,
    env_config: EnvConfig,
    *,
    num_envs: int = 256,
    reset_kind: str | None = None,
    observe: Collection[str] = (),
    device: str = "cpu",
    episodes: int = 512,
    seed: int = HELD_OUT_SEED,
    deterministic: bool = True,
    watch: Callable[[Moment, slice], None] | None = None,
    advisor: Policy | None = None,
    advance: Callable[[int], None] | None = None,
    driver: Policy | None = None,
) -> Evaluation:
    """Build the environment that `env_config` describes, evaluate in it and close it again.

    Args:
        policy: acts, with its hidden state zeroed at the start.
        env_config: the task, robot, cameras and randomisation.
        num_envs: environments stepped together; the resets that are met depend on it.
        reset_kind: kind of reset of every episode; None takes the mix that the environment starts with.
        observe: groups to render besides those that the policy reads. A policy without a camera gets `depth`, so
            that visibility is known; it does not see it.
        device: the policy's; the environments are there, too, if their engine can be.
        episodes: see `evaluate_in`, as for the rest.
        seed: of the first round.
        deterministic: act by the mean.
        watch: called at each step.
        advisor: asked at each observation; what it reads is rendered too.
        advance: called after each round.
        driver: behaviour policy, which acts instead of `policy`, then only asked; what it reads is rendered too.

    Raises:
        HandsightError: no environments or episodes, or there is no such kind of reset.
    """
    if num_envs < 1:
        raise HandsightError(f"evaluate: expected at least one environment, found num_envs={num_envs}")
    groups = {*policy.obs_keys, *observe, *(key for p in (advisor, driver) if p is not None for key in p.obs_keys)}
    if not groups & CAMERA_GROUPS:
        groups.add("depth")
    env = sims.make(env_config, groups, num_envs, device=sims.worlds_device(env_config, device))
    try:
        set_reset_kind(env, reset_kind)
        result = evaluate_in(env, policy, episodes, seed, deterministic, watch, advisor, advance, driver)
    finally:
        env.close()
    return replace(
        result,
        settings=result.settings
        | {"reset_kind": reset_kind, "env": plain(without_machine(env_config, asdict(env_config)))},
    )


def set_reset_kind(env: VecEnv, kind: str | None) -> None:
    """Let every episode begin with this kind of reset; None leaves the mix that the environment has.

    Raises:
        HandsightError: there is no such kind; lists those that there are.
    """
    if kind is None:
        return
    if kind not in env.reset_kinds:
        raise HandsightError(f"unknown reset_kind {kind!r}; available: {', '.join(env.reset_kinds) or 'None'}")
    env.set_reset_mix({kind: 1.0})


def evaluate_in(
    env: VecEnv,
    policy: Policy,
    episodes: int = 512,
    seed: int = HELD_OUT_SEED,
    deterministic: bool = True,
    watch: Callable[[Moment, slice], None] | None = None,
    advisor: Policy | None = None,
    advance: Callable[[int], None] | None = None,
    driver: Policy | None = None,
) -> Evaluation:
    """Evaluate in an environment that exists already; it is reset, and left in the middle of an episode.

    Reset i is environment i % num_envs of round i // num_envs, and round r is seeded with `seed + r`: exactly the first
    episode of each counts, never those that finish first (which would favour short ones).

    Args:
        env: renders a camera group if visibility is to be known.
        policy: acts, with its hidden state zeroed at the start.
        episodes: resets to start from.
        seed: of the first round.
        deterministic: act by the mean; otherwise by samples, the same draws for each policy.
        watch: called at each step with the moment and the episodes (rows) of this round.
        advisor: asked at each observation; its answers are in `Moment.advice`.
        advance: called after each round with the number of episodes finished, for a progress bar.
        driver: behaviour policy: acts instead of `policy`, by its mean, and the outcome is its; `policy` is only asked.

    Raises:
        HandsightError: no episodes, or the environment does not observe what a policy reads.
    """
    if episodes < 1:
        raise HandsightError(f"evaluate: expected at least one episode, found episodes={episodes}")
    columns = _Columns(env, episodes)
    start, steps = time.perf_counter(), 0
    for turn, first in enumerate(range(0, episodes, env.num_envs)):
        rows = slice(first, min(first + env.num_envs, episodes))
        obs = env.reset(seed + turn)
        columns.open(rows, env.measure())
        sampling = None if deterministic else torch.Generator().manual_seed(seed + turn)
        for moment in play(env, policy, obs, advisor, sampling, driver):
            columns.add(rows, moment)
            steps += env.num_envs
            if watch is not None:
                watch(moment, rows)
        if advance is not None:
            advance(rows.stop - rows.start)
    settings = {"seed": seed, "episodes": episodes, "num_envs": env.num_envs, "deterministic": deterministic}
    return columns.close(time.perf_counter() - start, steps, settings)


class _Columns:
    """Fills the columns of an `Evaluation` step by step."""

    def __init__(self, env: VecEnv, episodes: int) -> None:
        self.names = {
            "object_kinds": tuple(getattr(env, "kinds", ())),
            "reset_kinds": tuple(getattr(env, "reset_kinds", ())),
        }
        self.success = np.zeros((2, episodes), dtype=bool)
        """(2, E): success once, success at the end."""
        self.ended = np.zeros(episodes, dtype=bool)
        self.episode_return = np.zeros(episodes, dtype=np.float32)
        self.length, self.kind, self.reset_kind = (np.zeros(episodes, dtype=np.int64) for _ in range(3))
        self.visible = np.full((episodes, env.episode_steps + 1), np.nan, dtype=np.float32)
        self.phase = np.full(self.visible.shape, UNKNOWN, dtype=np.int8)

    def open(self, rows: slice, measured: dict[str, torch.Tensor]) -> None:
        """The state that the reset left; an environment that cannot say is read after the first step instead."""
        size = rows.stop - rows.start
        everywhere = np.ones(size, dtype=bool)
        self.describe(rows, measured, everywhere)
        self.place(rows, 0, measured, everywhere)
        if "visible" in measured:
            self.visible[rows, 0] = measured["visible"][:size].cpu().numpy()

    def describe(self, rows: slice, log: dict[str, torch.Tensor], chosen: NDArray[np.bool_]) -> None:
        for name, column in (("kind", self.kind), ("reset_kind", self.reset_kind)):
            if name in log:
                column[rows] = np.where(chosen, log[name][: len(chosen)].cpu().numpy(), column[rows])

    def place(self, rows: slice, t: int, log: dict[str, torch.Tensor], chosen: NDArray[np.bool_]) -> None:
        """The phase at moment t of the chosen episodes, if the environment logs what it is made of."""
        if all(name in log for name in LOGGED):
            phase = phase_of(*(log[name][: len(chosen)].cpu().numpy() for name in LOGGED))
            self.phase[rows, t] = np.where(chosen, phase, UNKNOWN)

    def add(self, rows: slice, moment: Moment) -> None:
        size, step, t = rows.stop - rows.start, moment.step, moment.t

        def column(values: torch.Tensor) -> NDArray:
            return values[:size].cpu().numpy()

        here = column(moment.running & ~moment.aborted)
        success = column(step.log["success"]).astype(bool) & here if "success" in step.log else np.zeros(size, bool)
        self.success[0, rows] |= success
        self.success[1, rows] |= success & column(moment.ended)
        self.ended[rows] |= column(moment.ended)
        self.episode_return[rows] += np.where(here, column(step.reward), 0.0)
        self.length[rows] += here
        if "visible" in step.log:
            visible = np.where(here, column(step.log["visible"]), np.nan)
            self.visible[rows, t + 1] = visible
            if t == 0 and np.isnan(self.visible[rows, 0]).all():
                self.visible[rows, 0] = visible
        self.place(rows, t + 1, step.log, here)
        if t == 0:
            self.describe(rows, step.log, here)

    def close(self, seconds: float, env_steps: int, settings: dict[str, Any]) -> Evaluation:
        once, at_end = self.success & self.ended
        return Evaluation(
            success_once=once,
            success_at_end=at_end,
            aborted=~self.ended,
            episode_return=self.episode_return,
            length=self.length,
            kind=self.kind,
            reset_kind=self.reset_kind,
            visible=self.visible,
            phase=self.phase,
            **self.names,
            seconds=seconds,
            env_steps=env_steps,
            settings=settings,
        )
