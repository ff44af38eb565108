"""`RemoteVecEnv`: a VecEnv whose worlds live in simulators elsewhere, each a Ray actor with a VecEnv of its own.

Actions are scattered, steps are gathered; images cross once, in the integers that the camera gave. On one machine Ray's
object store holds a simulator's answer in shared memory, from which the learner copies it once, into its own batch.
Whatever happens to a simulator, its rows are either one whole answer to the action that was sent, or `valid=False`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ..env_config import RemoteConfig
from ..vec_env import Step, VecEnv
from . import spares
from .cluster import start_ray
from .placement import Slot, parse_placement, split_worlds
from .simulator import FLAGS, Maker, Packet
from .worker import Worker


@dataclass
class Traffic:
    """What happened between learner and simulators since it was last asked for."""

    steps: int = 0
    bytes: int = 0
    """Bytes that were received."""
    seconds: float = 0.0
    """Between sending actions and having the gathered step."""
    simulate: float = 0.0
    """Part of `seconds` that the slowest simulator worked, s; the rest is transfer, scheduling and gathering."""
    gather: float = 0.0
    """Part of `seconds` that went into copying into the learner's batch, s."""
    replaced: int = 0
    """How many simulators failed."""
    restart: float = 0.0
    """s: longest time from a failure until its successor's first observation."""
    lost_rows: int = 0
    """Steps of single environments that a missing simulator did not give."""


class RemoteVecEnv(VecEnv):
    """N environments on several simulators, seen as one VecEnv on the learner's device."""

    def __init__(
        self,
        maker: Maker,
        placement: str | Sequence[Slot],
        num_envs: int,
        config: RemoteConfig | None = None,
        device: str | torch.device = "cpu",
        world_offset: int = 0,
    ) -> None:
        """Starts Ray and the simulators, and waits until their environments are built.

        Args:
            maker: makes the environments of one simulator, in its process.
            placement: one slot for each simulator, or `parse_placement`'s words for them.
            num_envs: environments in all.
            config: see there.
            device: the learner's.
            world_offset: global index of the first environment.

        Raises:
            HandsightError: no Ray, no such placement, or whatever the maker finds wrong.
        """
        slots = parse_placement(placement) if isinstance(placement, str) else list(placement)
        shares = split_worlds(num_envs, len(slots))
        self.config = config or RemoteConfig()
        if self.config.double_buffer and len(slots) < 2:
            raise HandsightError("double_buffer: expected at least two simulators, found one")
        start_ray(self.config.address)
        self.num_envs, self.device = num_envs, torch.device(device)
        self._seed, self._mix, self._staggered = 0, None, False
        self.workers = [
            Worker(maker, slot, share, world_offset, self.config) for slot, share in zip(slots, shares, strict=True)
        ]
        try:
            descriptions = [worker.describe() for worker in self.workers]
        except BaseException as error:
            self.close()
            raise _own(error) from error
        for name, value in descriptions[0].facts.items():
            setattr(self, name, value)
        half = (len(slots) + 1) // 2 if self.config.double_buffer else len(slots)
        self._crews = [crew for crew in (self.workers[:half], self.workers[half:]) if crew]
        """Simulators that step together: all of them, or two halves."""
        self._spans = tuple(slice(crew[0].worlds.start, crew[-1].worlds.stop) for crew in self._crews)
        self.parts = self._spans if len(self._spans) > 1 else ()
        self._host = self.device if self.config.direct else torch.device("cpu")
        self._seen: list[dict[str, Tensor]] = [{} for _ in self._crews]
        """The latest observations, on the host; a lost simulator's rows go on showing its last one."""
        self._log: dict[str, np.dtype] = {}
        self._sent_at = [0.0 for _ in self._crews]
        self.traffic, self._maker = Traffic(), maker
        spares.prepare(self.config.spares, maker, self.config.transport)

    # -- the contract --------------------------------------------------------------------------------------------

    def reset(self, seed: int) -> TensorDict:
        self._seed, self._staggered = seed, False
        answers = self._ask_all(lambda w: w.actor.begin.remote(w.seed(seed), self._mix, False), waiting=True)
        return self._open(answers)

    def step(self, action: Tensor) -> Step:
        if action.shape != (self.num_envs, self.action_dim):
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {(self.num_envs, self.action_dim)}")
        for part, span in enumerate(self._spans):
            self.send(action[span], part)
        steps = [self.receive(part) for part in range(len(self._crews))]
        return steps[0] if len(steps) == 1 else join(steps)

    def send(self, action: Tensor, part: int = 0) -> None:
        actions = action.detach().cpu().numpy()
        self._sent_at[part] = time.perf_counter()
        for worker, rows in self._rows(part):
            if not worker.lost:
                try:
                    worker.ask_step(actions[rows])
                except Exception as error:  # Ray Direct Transport speaks with a simulator before it asks
                    self._lose(worker, error)

    def receive(self, part: int = 0) -> Step:
        self._wait(part)
        step = self._gather(part, [self._collect(worker) for worker in self._crews[part]])
        self.traffic.steps += part == len(self._crews) - 1
        return step

    def stagger(self) -> None:
        self._staggered = True
        self._ask_all(lambda w: w.actor.call.remote("stagger"))

    def set_reset_mix(self, mix: Mapping[str, float]) -> None:
        self._mix = dict(mix)
        self._ask_all(lambda w: w.actor.call.remote("set_reset_mix", self._mix))
        for worker in self.workers:
            if worker.lost:  # its successor was told the old mix
                worker.actor.call.remote("set_reset_mix", self._mix)

    def measure(self) -> dict[str, Tensor]:
        answers = self._ask_all(lambda w: w.actor.measure.remote())
        found = [answer for answer in answers if answer is not None]
        names = found[0] if found else {}
        whole = {name: np.zeros(self.num_envs, values.dtype) for name, values in names.items()}
        for worker, answer in zip(self.workers, answers, strict=True):
            for name, values in (answer or {}).items():
                whole[name][worker.worlds] = values
        return {name: torch.from_numpy(values).to(self.device) for name, values in whole.items()}

    def statistics(self) -> dict[str, float]:
        now, self.traffic = self.traffic, Traffic()
        spares.prepare(self.config.spares, self._maker, self.config.transport)
        steps = max(now.steps, 1)
        return {
            "remote/bytes_per_step": now.bytes / steps,
            "remote/seconds_per_step": now.seconds / steps,
            "remote/seconds_transfer": (now.seconds - now.simulate) / steps,
            "remote/seconds_gather": now.gather / steps,
            "remote/replaced": float(now.replaced),
            "remote/seconds_restart": now.restart,
            "remote/lost_rows": float(now.lost_rows),
            "remote/spares_lost": float(spares.given_up()),
        }

    def state_dict(self) -> dict[str, Any]:
        states = self._ask_all(lambda w: w.actor.call.remote("state_dict"))
        facts = {"seed": self._seed, "mix": self._mix, "staggered": self._staggered}
        return facts | {"simulators": states, "successors": [worker.successors for worker in self.workers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> TensorDict:
        if len(state["simulators"]) != len(self.workers):
            raise HandsightError(
                f"these environments were saved by {len(state['simulators'])} simulators; found {len(self.workers)}"
            )
        self._seed, self._mix, self._staggered = state["seed"], state["mix"], state["staggered"]
        saved = {}
        for worker, one, successors in zip(self.workers, state["simulators"], state["successors"], strict=True):
            worker.successors = max(worker.successors, successors + (one is None))
            saved[worker] = one

        def ask(worker: Worker) -> Any:
            if saved[worker] is not None:
                return worker.actor.load_state_dict.remote(saved[worker])
            return worker.actor.begin.remote(worker.seed(self._seed), self._mix, self._staggered)

        return self._open(self._ask_all(ask, waiting=True))

    def close(self) -> None:
        for worker in self.workers:
            worker.retire()
        self.workers = []

    # -- answers -------------------------------------------------------------------------------------------------

    def _ask_all(self, ask: Callable[[Worker], Any], waiting: bool = False) -> list[Any]:
        """One answer of each simulator. One that fails is replaced; its answer is None, or with `waiting` that of its
        successor's beginning."""
        for worker in self.workers:
            if waiting or not worker.lost:
                worker.ask(ask(worker))
        return [self._answer(worker, waiting) for worker in self.workers]

    def _answer(self, worker: Worker, waiting: bool) -> Any:
        import ray

        while waiting or not worker.lost:
            try:
                answer = ray.get(worker.pending, timeout=self.config.build_timeout if waiting else worker.patience)
                if worker.lost:
                    self._welcome(worker)
                return answer
            except Exception as error:
                own = _own(error)
                if isinstance(own, HandsightError):  # what the user got wrong is no failure of a simulator
                    raise own from error
                self._lose(worker, error)
        return None

    def _lose(self, worker: Worker, error: Exception) -> None:
        self.traffic.replaced += 1
        worker.replace(error, self._seed, self._mix, self._staggered)

    def _welcome(self, worker: Worker) -> None:
        assert worker.lost_at is not None
        self.traffic.restart = max(self.traffic.restart, time.monotonic() - worker.lost_at)
        worker.begun()

    def _wait(self, part: int) -> None:
        """Until every simulator at work has answered or lost its chance; with none at work, for the first successor."""
        import ray

        crew = self._crews[part]
        at_work = [worker for worker in crew if not worker.lost]
        if not at_work:
            ray.wait([worker.pending for worker in crew], timeout=self.config.build_timeout)
            return
        until = max(worker.asked_at + worker.patience for worker in at_work)
        pending = [worker.pending for worker in at_work]
        ray.wait(pending, num_returns=len(pending), timeout=max(0.0, until - time.monotonic()))

    def _collect(self, worker: Worker) -> Packet | None:
        """Its answer, if there is one."""
        import ray

        late = time.monotonic() - worker.asked_at > (self.config.build_timeout if worker.lost else worker.patience)
        try:
            if not ray.wait([worker.pending], timeout=0)[0]:
                if worker.lost and not late:
                    return None
                raise TimeoutError(f"no answer within {time.monotonic() - worker.asked_at:.1f} s")
            packet: Packet = ray.get(worker.pending)
            if worker.lost:
                self._welcome(worker)
        except Exception as error:
            self._lose(worker, error)
            return None
        worker.take(packet)
        return packet

    # -- gathering -----------------------------------------------------------------------------------------------

    def _rows(self, part: int) -> Iterator[tuple[Worker, slice]]:
        """Simulators that step together, and their rows in the batch of that part."""
        start = self._spans[part].start
        for worker in self._crews[part]:
            yield worker, slice(worker.worlds.start - start, worker.worlds.stop - start)

    def _gather(self, part: int, packets: Sequence[Packet | None]) -> Step:
        start, span = time.perf_counter(), self._spans[part]
        stepped = [packet for packet in packets if packet is not None and packet.flags]
        self._log |= {name: values.dtype for packet in stepped[:1] for name, values in packet.log.items()}
        obs = self._gather_obs(part, packets)
        n = span.stop - span.start
        flags = {name: np.zeros(n, bool) for name in FLAGS[1:]} | {"reward": np.zeros(n, np.float32)}
        log = {name: np.zeros(n, dtype) for name, dtype in self._log.items()} | {"lost": np.zeros(n, bool)}
        for (worker, rows), packet in zip(self._rows(part), packets, strict=True):
            if packet is None or not packet.flags:  # missing, or a successor's first observation
                flags["first"][rows] = log["lost"][rows] = True
                self.traffic.lost_rows += worker.num_envs
                continue
            for whole, part_of in ((flags, packet.flags), (log, packet.log)):
                for name, values in part_of.items():
                    whole[name][rows] = values
        tensors = {name: torch.from_numpy(values).to(self.device) for name, values in flags.items()}
        logged = {name: torch.from_numpy(values).to(self.device) for name, values in log.items()}
        end = time.perf_counter()
        self.traffic.gather += end - start
        self.traffic.seconds += end - self._sent_at[part]
        self.traffic.simulate += max((packet.seconds for packet in stepped), default=0.0)
        return Step(obs, log=logged, **tensors)

    def _gather_obs(self, part: int, packets: Sequence[Packet | None]) -> TensorDict:
        """Copy each simulator's rows into the batch: on the host, and from there to the learner's device if that is
        another; or at once, where Ray carried them from device to device."""
        span, before, batch = self._spans[part], self._seen[part], {}
        n, pinned = span.stop - span.start, self.device.type == "cuda" and self._host.type == "cpu"
        for name, spec in self.obs_spec.items():
            whole = torch.empty(n, *spec.shape, dtype=spec.dtype, device=self._host, pin_memory=pinned)
            batch[name] = whole
            for (_, rows), packet in zip(self._rows(part), packets, strict=True):
                if packet is None:
                    whole[rows] = before[name][rows] if before else 0
                    continue
                self.traffic.bytes += packet.obs[name].nbytes
                if isinstance(packet.obs[name], Tensor):
                    whole[rows] = packet.obs[name]
                else:
                    whole.numpy()[rows] = packet.obs[name]  # read-only shared memory, of which torch would warn
        self._seen[part] = batch
        return TensorDict(batch, batch_size=[n]).to(self.device)

    def _open(self, packets: Sequence[Packet]) -> TensorDict:
        """The observation of all environments after a reset."""
        for worker, packet in zip(self.workers, packets, strict=True):
            worker.take(packet)
        first = len(self._crews[0])
        parts = [self._gather_obs(part, some) for part, some in enumerate((packets[:first], packets[first:])) if some]
        self.traffic.bytes = 0
        return parts[0] if len(parts) == 1 else TensorDict.cat(parts)  # pyright: ignore[reportReturnType]


def join(steps: Sequence[Step]) -> Step:
    """Steps of consecutive environments as one."""
    flags = {name: torch.cat([getattr(step, name) for step in steps]) for name in FLAGS}
    log = {name: torch.cat([step.log[name] for step in steps]) for name in steps[0].log}
    return Step(TensorDict.cat([step.obs for step in steps]), log=log, **flags)  # pyright: ignore[reportArgumentType]


def local_threads(slots: Sequence[Slot]) -> int:
    """Cores for each simulator of this machine."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, sum(not slot.resources for slot in slots)))


def _own(error: BaseException) -> BaseException:
    """Our own error inside Ray's wrapping, if that is what it is."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, HandsightError) else error
