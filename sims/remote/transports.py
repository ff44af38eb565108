"""How observations travel besides Ray's object store: over CUDA IPC, by Ray Direct Transport. The learner reads tensors
of a simulator's GPU on the same host, without a copy through the host.

Ray's own transport of this kind asks that Ray assigned sender and receiver the same GPU; here simulators choose theirs
by name, the learner is no actor, and GPUs of one host may read each other. Imports Ray, which reads its settings then:
not before `start_ray`.
"""

from __future__ import annotations

from typing import Any

import ray
import torch
from ray.experimental.rdt.cuda_ipc_transport import CudaIpcTransport, CudaIpcTransportMetadata
from ray.experimental.rdt.util import register_tensor_transport, transport_manager_info
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

NAME = "HANDSIGHT_CUDA_IPC"
"""What Ray calls it."""


class LocalCudaIpc(CudaIpcTransport):
    """GPUs are known by their number, which is the same in all processes as each of them sees all GPUs."""

    @property
    def tensor_transport_backend(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return NAME

    def extract_tensor_transport_metadata(self, obj_id: str, rdt_object: list[Tensor]) -> CudaIpcTransportMetadata:
        device = rdt_object[0].device
        written = torch.cuda.Event(interprocess=True)
        torch.cuda.current_stream(device).record_event(written)
        return CudaIpcTransportMetadata(
            tensor_meta=[(tensor.shape, tensor.dtype) for tensor in rdt_object],
            tensor_device=device.type,
            cuda_ipc_handles=[reduce_tensor(tensor) for tensor in rdt_object],
            cuda_ipc_event_ipc_handle=written.ipc_handle(),
            ray_gpu_idx=device.index,
            ray_node_id=ray.get_runtime_context().get_node_id(),
        )

    def recv_multiple_tensors(
        self, obj_id: str, tensor_transport_metadata: Any, communicator_metadata: Any, target_buffers: Any = None
    ) -> list[Tensor]:
        """The simulator's tensors themselves; whoever needs them longer than its next step copies them.

        Raises:
            ValueError: the simulator runs on another host.
        """
        sent = tensor_transport_metadata
        if sent.ray_node_id != ray.get_runtime_context().get_node_id():
            raise ValueError("transport cuda-ipc connects GPUs of one host; between hosts use the object store")
        device = torch.device("cuda", sent.ray_gpu_idx)
        written = torch.cuda.Event.from_ipc_handle(device=device, handle=sent.cuda_ipc_event_ipc_handle)
        torch.cuda.current_stream(device).wait_event(written)
        return [rebuild(*arguments) for rebuild, arguments in sent.cuda_ipc_handles]


def register() -> str:
    """Make it known to Ray, and so to the actors that are created from now on; says what Ray calls it."""
    if NAME not in transport_manager_info:
        register_tensor_transport(NAME, ["cuda"], LocalCudaIpc, Tensor)
    return NAME
