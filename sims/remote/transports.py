"""Ray Direct Transport over NCCL or Gloo to a learner that is no actor: each simulator and its learner are a process
group of two, through which a step's tensors are sent as soon as they are there.

Ray's own transports of this kind ask that both ends are actors, and of one group for all, which dies with any of them.
Here a successor brings a group of its own, and the other simulators notice nothing. The two ends find each other
through Ray, which asks for its token.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import ray
from ray.experimental import internal_kv
from ray.experimental.rdt.tensor_transport_manager import (
    CommunicatorMetadata,
    TensorTransportManager,
    TensorTransportMetadata,
)
from ray.experimental.rdt.util import (
    create_empty_tensors_from_metadata,
    register_tensor_transport,
    transport_manager_info,
)
from torch import Tensor
from torch.distributed import ProcessGroupGloo, Store  # pyright: ignore[reportPrivateImportUsage]

NAMES = {"nccl": "HANDSIGHT_NCCL", "gloo": "HANDSIGHT_GLOO"}
"""As Ray knows them, for tensors on GPUs and on the host."""
LEARNER, SIMULATOR = 0, 1
"""Ranks."""
POLL = 0.002
"""s between two looks for what the other end has to say."""


@dataclass
class Pair:
    """One end of a group of two."""

    name: str
    group: Any
    patience: timedelta
    """For what has been sent to arrive."""
    count: int = 0
    """Steps sent or received."""
    under_way: list[tuple[Tensor, Any]] = field(default_factory=list)
    """What was sent last, which must stay as it is until it has arrived."""


@dataclass
class PairMetadata(TensorTransportMetadata):
    """Which tensors were sent."""

    pair: str = ""
    number: int = 0
    """Steps sent before, by which one that nobody received is noticed."""


_learners: dict[str, Pair] = {}
"""The learner's ends."""
_simulator: Pair | None = None
"""The simulator's."""


def connect(actor: Any, transport: str, timeout: float, patience: float) -> str:
    """Give a simulator's actor a group with this process, and say its name.

    Args:
        actor: the simulator's.
        transport: "nccl" or "gloo".
        timeout: seconds within which it must be there.
        patience: seconds that a step may be on its way.

    Raises:
        RuntimeError: it was not there in time.
    """
    name = uuid.uuid4().hex
    joined = actor.connect.remote(transport, name, timeout, patience)
    _learners[name] = _join(name, transport, LEARNER, timeout, patience)
    ray.get(joined, timeout=timeout)
    return name


def join(transport: str, name: str, timeout: float, patience: float) -> None:
    """The simulator's part in that; a group that it had before is left."""
    global _simulator
    _simulator = _join(name, transport, SIMULATOR, timeout, patience)


def forget(name: str) -> None:
    """The simulator of this pair is gone."""
    if pair := _learners.pop(name, None):
        pair.group.abort()
    if internal_kv._internal_kv_initialized():
        internal_kv._internal_kv_del(name, del_by_prefix=True)


def _join(name: str, transport: str, rank: int, timeout: float, patience: float) -> Pair:
    store, wait = RayStore(name, timeout), timedelta(seconds=patience)
    if transport == "nccl":
        from torch.distributed import ProcessGroupNCCL  # absent where torch was built without CUDA

        options: Any = ProcessGroupNCCL.Options()
        options._timeout = timedelta(seconds=timeout)
        return Pair(name, ProcessGroupNCCL(store, rank, 2, options), wait)
    options = ProcessGroupGloo._Options()  # pyright: ignore[reportAttributeAccessIssue]
    options._timeout = timedelta(seconds=timeout)
    options._devices = [ProcessGroupGloo.create_device(hostname=ray.util.get_node_ip_address())]
    return Pair(name, ProcessGroupGloo(store, rank, 2, options), wait)


class RayStore(Store):
    """What the ends of a pair must tell each other before they are connected, through Ray."""

    def __init__(self, pair: str, timeout: float) -> None:
        super().__init__()
        self._pair, self._timeout = pair, timeout

    def set(self, key: str, value: bytes) -> None:
        internal_kv._internal_kv_put(f"{self._pair}/{key}", value)

    def get(self, key: str) -> bytes:
        self.wait([key])
        return internal_kv._internal_kv_get(f"{self._pair}/{key}")

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        end = time.monotonic() + (timeout.total_seconds() if timeout else self._timeout)
        while not all(internal_kv._internal_kv_exists(f"{self._pair}/{key}") for key in keys):
            if time.monotonic() > end:
                raise RuntimeError(f"the other end of pair {self._pair} did not come")
            time.sleep(POLL)


class PairTransport(TensorTransportManager):
    """What Ray calls at both ends. It counts as one-sided, as the receiver alone is told to act: the sender has begun
    before."""

    def tensor_transport_backend(self) -> str:
        return type(self).__name__

    @staticmethod
    def is_one_sided() -> bool:
        return True

    @staticmethod
    def can_abort_transport() -> bool:
        return False

    def actor_has_tensor_transport(self, actor: Any) -> bool:
        return True

    def extract_tensor_transport_metadata(self, obj_id: str, rdt_object: list[Tensor]) -> PairMetadata:
        """In the simulator, when the step is done: begin to send."""
        pair = _simulator
        assert pair is not None, "connect() comes first"
        for _, sent in pair.under_way:
            sent.wait(pair.patience)
        pair.under_way = [(tensor, pair.group.send([tensor], LEARNER, tag)) for tag, tensor in enumerate(rdt_object)]
        pair.count += 1
        facts: list[Any] = [(tensor.shape, tensor.dtype) for tensor in rdt_object]
        return PairMetadata(facts, rdt_object[0].device.type, pair.name, pair.count - 1)

    def get_communicator_metadata(self, src_actor: Any, dst_actor: Any, backend: str | None = None) -> Any:
        return CommunicatorMetadata()

    def recv_multiple_tensors(
        self, obj_id: str, tensor_transport_metadata: Any, communicator_metadata: Any, target_buffers: Any = None
    ) -> list[Tensor]:
        """In the learner, when it asks for the step."""
        sent, pair = tensor_transport_metadata, _learners.get(tensor_transport_metadata.pair)
        if pair is None or sent.number != pair.count:
            raise ValueError(f"step {sent.number} of pair {sent.pair}, of which {pair and pair.count} were received")
        tensors = target_buffers or create_empty_tensors_from_metadata(sent)
        arriving = [pair.group.recv([tensor], SIMULATOR, tag) for tag, tensor in enumerate(tensors)]
        for one in arriving:
            one.wait(pair.patience)
        pair.count += 1
        return tensors

    def send_multiple_tensors(self, tensors: Any, tensor_transport_metadata: Any, communicator_metadata: Any) -> None:
        raise NotImplementedError("the simulator sends without being asked")

    def garbage_collect(self, obj_id: str, tensor_transport_meta: Any, tensors: Any) -> None:
        pass

    def abort_transport(self, obj_id: str, communicator_metadata: Any) -> None:
        raise NotImplementedError("a pair ends with its simulator")


def register(transport: str) -> str:
    """Make it known to Ray, and so to the actors that are created from now on; Ray's name for it."""
    name = NAMES[transport]
    if name not in transport_manager_info:
        register_tensor_transport(name, ["cuda" if transport == "nccl" else "cpu"], PairTransport, Tensor)
    return name
