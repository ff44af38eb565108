"""`Recorded`: kernel launches that are repeated as one graph, in the order of torch's own work."""

from __future__ import annotations

from collections.abc import Callable

import torch
import warp as wp


class Recorded:
    """Launches of Warp kernels on one device, repeated by calling it.

    On a GPU it is a CUDA graph on torch's current stream, so that neither side waits for the other: what torch wrote
    before is seen, and what torch reads after is there. On a CPU Warp repeats the calls in a loop of its own. Addresses
    are fixed at the recording, so the launches must work in arrays that stay where they are; memory that they ask for
    in between belongs to the graph.
    """

    def __init__(self, launch: Callable[[], None], device: torch.device, graph: bool = True) -> None:
        """launch: all of the work; it runs once here, which loads its kernels. graph: record it, or launch anew."""
        self._torch, self._device = device, wp.device_from_torch(device)
        self._streams: dict[int, wp.Stream] = {}
        self._launch = None if graph else launch
        self._graph: wp.Graph | None = None
        with wp.ScopedDevice(self._device):
            launch()
            wp.synchronize_device(self._device)
            if graph:
                with wp.ScopedCapture(device=self._device) as capture:
                    launch()
                self._graph = capture.graph

    def __call__(self) -> None:
        on_gpu = self._device.is_cuda
        if self._graph is not None:
            wp.capture_launch(self._graph, stream=self._stream() if on_gpu else None)
            return
        assert self._launch is not None
        with wp.ScopedDevice(self._device), wp.ScopedStream(self._stream() if on_gpu else None, sync_enter=False):
            self._launch()

    def _stream(self) -> wp.Stream:
        """Torch's current stream, as Warp knows it."""
        stream = torch.cuda.current_stream(self._torch)
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]
