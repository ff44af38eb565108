"""`Worker`: the learner's hold on one simulator; it notices death, silence and errors, and starts a successor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from ...errors import HandsightError
from ..env_config import OBJECT_STORE, RemoteConfig
from . import spares
from .placement import Slot
from .simulator import Description, Maker, Packet

NEW_SEED = 1 << 40
"""Added to the seed for each successor: it must not live through the same episodes again."""


class SimulatorError(HandsightError):
    """A simulator failed again and again; the message ends with its last traceback."""


class Worker:
    """One simulator, and the one that is on its way if it failed."""

    def __init__(self, maker: Maker, slot: Slot, worlds: slice, world_offset: int, config: RemoteConfig) -> None:
        """worlds: which rows of the learner's batch are this simulator's; world_offset: global index of row 0."""
        self.maker, self.slot, self.worlds, self.config = maker, slot, worlds, config
        self.num_envs, self.world_offset = worlds.stop - worlds.start, world_offset + worlds.start
        self.failures, self.successors = 0, 0
        self.slowest: float | None = None
        """s: of what this incarnation has done; None before its first observation."""
        self.description: Description | None = None
        self.pending: Any = None
        self.lost_at: float | None = None
        """When the simulator failed whose successor is on its way; None if one is at work."""
        self.asked_at = 0.0
        self._transport = _transport_name(config.transport)
        self._launch()

    def _launch(self) -> None:
        self.actor = spares.take(self.slot, self.config.transport)
        self.built = self.actor.build.remote(self.maker, self.num_envs, self.world_offset, self.slot.device)
        self.description, self.slowest = None, None

    @property
    def lost(self) -> bool:
        """Whether a successor is on its way."""
        return self.lost_at is not None

    @property
    def patience(self) -> float:
        """Seconds to wait for a step."""
        if self.slowest is None:
            return self.config.build_timeout
        return max(self.config.step_timeout, 5 * self.slowest)

    def describe(self) -> Description:
        """What it is, waiting for its environments to be built."""
        import ray
        from ray.exceptions import GetTimeoutError

        if self.description is None:
            try:
                self.description = ray.get(self.built, timeout=self.config.build_timeout)
            except GetTimeoutError as late:
                raise SimulatorError(
                    f"the simulator on {self.slot} had no worlds after {self.config.build_timeout:.0f} s; asked for "
                    f"{dict(self.slot.resources) or 'no resources'}, and Ray has {ray.available_resources()}"
                ) from late
        assert self.description is not None
        return self.description

    def ask(self, answer: Any) -> None:
        """Await this, a reference to what the simulator will answer."""
        self.asked_at, self.pending = time.monotonic(), answer

    def ask_step(self, action: NDArray) -> None:
        """Send actions (n, A)."""
        step = self.actor.step
        if self.config.direct:
            self.ask(step.options(tensor_transport=self._transport).remote(action, direct=True))
        else:
            self.ask(step.remote(action))

    def take(self, packet: Packet) -> None:
        """Note that it has answered with this."""
        self.slowest = max(self.slowest or 0.0, packet.seconds)
        if packet.flags:
            self.failures = 0

    def replace(self, error: BaseException, seed: int, mix: Mapping[str, float] | None, stagger: bool) -> None:
        """Kill what is left of the simulator and begin a successor in other episodes, without waiting for it.

        Raises:
            SimulatorError: the last of too many failures in a row.
        """
        self.kill()
        self.failures += 1
        self.successors += 1
        self.lost_at = self.lost_at or time.monotonic()
        if self.failures >= self.config.max_failures:
            where = f"{self.slot.device}, worlds {self.world_offset} to {self.world_offset + self.num_envs - 1}"
            raise SimulatorError(
                f"the simulator on {where} failed {self.failures} times in a row; the last time:\n{error}"
            ) from error
        self._launch()
        spares.prepare(self.config.spares, self.maker, self.config.transport)
        self.ask(self.actor.begin.remote(self.seed(seed), mix, stagger))

    def seed(self, seed: int) -> int:
        """The run's seed, changed for successors."""
        return seed + self.successors * NEW_SEED

    def begun(self) -> None:
        """The successor has taken over."""
        self.describe()
        self.lost_at = None

    def retire(self) -> None:
        """It is not needed any more."""
        if self.lost or self.description is None:
            self.kill()
        else:
            spares.give_back(self.slot, self.config.transport, self.actor)

    def kill(self) -> None:
        """End the process, though it be stopped."""
        spares.dismiss(self.actor)
        if self.description and not self.slot.resources and not self.config.address:
            with suppress(ProcessLookupError):
                os.kill(self.description.pid, signal.SIGKILL)


def _transport_name(transport: str) -> str:
    """What Ray calls it; ours is made known to it."""
    if transport == OBJECT_STORE:
        return transport
    from .transports import register  # imports Ray, which must have been started

    return register()
