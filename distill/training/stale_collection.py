"""Stale collection: simulators collect the next rollout while PPO learns from the last one, one update behind."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lightning.fabric import Fabric
from torch import Tensor

from ...sims.vec_env import VecEnv
from ...teachers import ActorCritic, EpisodeTracker, RolloutBuffer, collect


class StaleCollector:
    """Acts with a copy of the policy in a thread of its own. What it collects while update k is made was decided by the
    weights before it, so every row is one update old when it is learnt from; PPO's ratio is taken to those weights."""

    def __init__(self, policy: ActorCritic, buffer: RolloutBuffer, fabric: Fabric) -> None:
        """buffer: a second one, to be filled while the first is learnt from."""
        self._actor, self._buffer, self._fabric = copy.deepcopy(policy), buffer, fabric
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="handsight-collect")
        self._future: Future[Any] | None = None

    def begin(
        self, env: VecEnv, policy: ActorCritic, version: int, obs: Any, hidden: Tensor, episodes: EpisodeTracker,
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Go on collecting from here, with the policy as it is now; `env`, `obs` (groups (N, ...)) and `episodes` are
        this thread's until `take`. hidden: (N, H)."""
        self._actor.load_state_dict(policy.state_dict())

        def work() -> Any:
            start = time.perf_counter()
            with self._fabric.autocast():
                after = collect(env, self._actor, self._buffer, obs, hidden, episodes, stop, version)
            return *after, time.perf_counter() - start

        self._future = self._thread.submit(work)

    def take(self, learnt_from: RolloutBuffer) -> tuple[RolloutBuffer, Any, Tensor, float]:
        """Wait for the rollout; the next one goes into `learnt_from`.

        Returns:
            the rollout, the observation and the hidden state (N, H) after it, and the seconds that it took.

        Raises:
            RolloutStoppedError: collecting was broken off.
        """
        assert self._future is not None, "begin() comes first"
        future, self._future = self._future, None
        obs, hidden, seconds = future.result()
        full, self._buffer = self._buffer, learnt_from
        return full, obs, hidden, seconds

    def close(self) -> None:
        """Wait for whatever is under way."""
        self._thread.shutdown(wait=True)
