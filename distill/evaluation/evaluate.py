"""How well a policy does: one episode from each of a fixed set of held-out resets, the same set for every policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from ... import plugins, sims
from ...errors import HandsightError
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig, Postures
from ...sims.machine import without_machine
from ...sims.tasks.task import VISIBLE
from ...sims.vec_env import VecEnv
from . import HELD_OUT_SEED
from .evaluation import Evaluation, Eyes, Metric
from .phases import LOGGED, UNKNOWN, phase_of
from .rollout import Moment, play
from .statistics import plain

Column = dict[str, Any]
"""NumPy arrays by name: what was logged at one moment (N,), or columns of an `Evaluation` (E, ...)."""


def evaluate(
    policy: Policy,
    env_config: EnvConfig,
    *,
    num_envs: int = 256,
    reset_kind: str | None = None,
    postures: Postures = "held_out",
    level: int | None = None,
    device: str = "cpu",
    **how: Any,
) -> Evaluation:
    """Build the environment that `env_config` describes, evaluate in it and close it again.

    `stereo` is rendered in any case, so that it is known what each eye sees; no policy that does not read it sees it.

    Args:
        policy: acts, with its hidden state zeroed at the start.
        env_config: the task, robot, cameras and randomisation.
        num_envs: environments stepped together; the resets that are met depend on it.
        reset_kind: kind of reset of every episode; None takes the mix that the environment starts with.
        postures: arm postures with which episodes begin; trainings meet only those called "training".
        level: of randomisation, 0..`task.levels`; None: that of the environment.
        device: the policy's; the environments are there, too, if their engine can be.
        how: `episodes`, `seed`, `deterministic`, `watch`, `advisor`, `advance` and `driver` of `evaluate_in`.

    Raises:
        HandsightError: no environments or episodes, or there is no such kind of reset or level.
    """
    if num_envs < 1:
        raise HandsightError(f"evaluate: expected at least one environment, found num_envs={num_envs}")
    asked = [policy, *filter(None, (how.get("advisor"), how.get("driver")))]
    groups = {"stereo", *(key for one in asked for key in one.obs_keys)}
    env_config = env_config.with_postures(postures).at_level(level)
    env = sims.make(env_config, groups, num_envs, device=sims.worlds_device(env_config, device))
    try:
        set_reset_kind(env, reset_kind)
        result = evaluate_in(env, policy, **how)
    finally:
        env.close()
    where = {
        "reset_kind": reset_kind,
        "postures": postures,
        "level": level,
        "env": plain(without_machine(env_config, asdict(env_config))),
    }
    return replace(result, settings=result.settings | where)


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
    *,
    episodes: int = 512,
    seed: int = HELD_OUT_SEED,
    deterministic: bool = True,
    watch: Callable[[Moment, slice], None] = lambda moment, rows: None,
    advisor: Policy | None = None,
    advance: Callable[[int], None] = lambda finished: None,
    driver: Policy | None = None,
) -> Evaluation:
    """Evaluate in an environment that exists already; it is reset, and left in the middle of an episode.

    Reset i is environment i % num_envs of round i // num_envs, and round r is seeded with `seed + r`: exactly the first
    episode of each counts, never those that finish first (which would favour short ones).

    Args:
        env: renders a camera group if visibility is to be known, `stereo` if that of both eyes is.
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
    metrics = [plugins.find("metrics", name) for name in plugins.names("metrics")]
    start, env_steps, rounds = time.perf_counter(), 0, list[Column]()
    for turn, first in enumerate(range(0, episodes, env.num_envs)):
        rows = slice(first, min(first + env.num_envs, episodes))
        obs = env.reset(seed + turn)
        measured, steps = _column(env.measure(), rows), list[Column]()
        sampling = None if deterministic else torch.Generator().manual_seed(seed + turn)
        for moment in play(env, policy, obs, advisor, sampling, driver):
            outcome = {"reward": moment.step.reward, "here": moment.running & ~moment.aborted, "ended": moment.ended}
            steps.append(_column({**moment.step.log, **outcome}, rows, metrics))
            watch(moment, rows)
        env_steps += env.num_envs * len(steps)
        rounds.append(_episodes(measured, steps, env.episode_steps) | _own(metrics, steps))
        advance(rows.stop - rows.start)
    columns = {name: np.concatenate([one[name] for one in rounds]) for name in rounds[0]}
    own = {metric.name: columns.pop(metric.name).tolist() for metric in metrics if metric.name in columns}
    both_known = np.isfinite(columns["visible_right"]).any()
    return Evaluation(
        **columns,
        eyes=eyes_of(driver or policy) if both_known else "left",
        object_kinds=tuple(getattr(env, "kinds", ())),
        reset_kinds=tuple(getattr(env, "reset_kinds", ())),
        seconds=time.perf_counter() - start,
        env_steps=env_steps,
        measured=own,
        settings={"seed": seed, "episodes": episodes, "num_envs": env.num_envs, "deterministic": deterministic},
    )


def eyes_of(policy: Policy) -> Eyes:
    """Whose view counts for a policy: the left eye's for depth, which is that eye's, and for a student with one eye;
    else either eye's. For a policy without cameras that is what the stereo students see beside which it stands."""
    return "left" if "depth" in policy.obs_keys or getattr(policy, "eyes", 2) == 1 else "either"


def _column(log: dict[str, torch.Tensor], rows: slice, metrics: Sequence[Metric] = ()) -> Column:
    """What an evaluation keeps of a step's log, for the environments whose episodes these rows are."""
    kept = {"reward", "here", "ended", "success", "kind", "reset_kind", *VISIBLE, *LOGGED}
    kept = kept.union(*(metric.logged for metric in metrics))
    return {name: log[name][: rows.stop - rows.start].cpu().numpy() for name in kept if name in log}


def _own(metrics: Sequence[Metric], steps: list[Column]) -> Column:
    """(E,) figures of the plugins' metrics, by name."""
    known = [one for one in metrics if all(name in steps[0] for name in one.logged)]
    logs = {name: np.stack([step[name] for step in steps]) for one in known for name in (*one.logged, "here")}
    return {one.name: one.measure({name: logs[name] for name in one.logged}, logs["here"]) for one in known}


def _episodes(measured: Column, steps: list[Column], longest: int) -> Column:
    """Columns (E, ...) of an `Evaluation` from E environments' steps.

    Args:
        measured: what the reset left; an environment that cannot say is read after the first step instead.
        steps: of the first episodes, until the last of them is over.
        longest: T, steps for which there is room.
    """
    here, ended = (np.stack([step[name] for step in steps]) for name in ("here", "ended"))
    reward = np.stack([np.where(step["here"], step["reward"], 0.0) for step in steps])
    success = here & np.stack([step.get("success", np.zeros_like(here[0])) for step in steps]).astype(bool)
    visible = {eye: np.full((here.shape[1], longest + 1), np.nan, dtype=np.float32) for eye in VISIBLE}
    phase = np.full((here.shape[1], longest + 1), UNKNOWN, dtype=np.int8)
    for t, log in enumerate([measured, *steps]):
        running = log.get("here", np.ones_like(here[0]))
        for eye in VISIBLE:
            visible[eye][:, t] = np.where(running, log.get(eye, np.nan), np.nan)
        if all(name in log for name in LOGGED):
            phase[:, t] = np.where(running, phase_of(*(log[name] for name in LOGGED)), UNKNOWN)
    for eye in set(VISIBLE) - set(measured):
        visible[eye][:, 0] = visible[eye][:, 1]
    kinds = {}
    for name in ("kind", "reset_kind"):
        before = measured.get(name, np.zeros(here.shape[1], dtype=np.int64))
        kinds[name] = np.where(here[0], steps[0].get(name, before), before).astype(np.int64)
    over = ended.any(axis=0)
    return {
        "success_once": success.any(axis=0) & over,
        "success_at_end": (success & ended).any(axis=0) & over,
        "aborted": ~over,
        "episode_return": reward.astype(np.float32).cumsum(axis=0)[-1],  # one step after the other, as it was earned
        "length": here.sum(axis=0),
        **visible,
        "phase": phase,
        **kinds,
    }
