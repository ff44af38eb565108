"""An exported policy with onnxruntime and numpy alone, and the process that serves it: no torch, no simulator.

    python -m handsight.distill.runs.onnx_policy policy.onnx

Messages on stdin: one byte, `r` (an episode opens) or `s` (act), the latter followed by the bytes of the observation
groups in the order of the metadata. On stdout: one line of JSON once it is ready, then for each `s` the action as
float32, and the seconds that it took as one float64.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...errors import HandsightError

METADATA, FORMAT, VERSION = "handsight", "handsight-policy", 1


class OnnxPolicyError(HandsightError):
    """A file that is no exported policy, or observations that do not fit it."""


class OnnxPolicy:
    """N worlds through an exported policy, with their memory."""

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        """Load the model.

        Args:
            path: what `handsight export` wrote.
            threads: of onnxruntime.

        Raises:
            OnnxPolicyError: not such a file.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # weights are in the file: there is no folder in which others could be looked up
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.facts: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA])
        except Exception as error:  # onnxruntime has errors of its own for every kind of damage
            raise OnnxPolicyError(f"{path}: expected a policy from `handsight export`, found: {error}") from error
        self.inputs = self._inputs(path)
        self.hidden: NDArray[np.float32] | None = None

    def _inputs(self, path: Path | str) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each observation group, by the metadata."""
        try:
            if (self.facts["format"], self.facts["version"]) != (FORMAT, VERSION):
                raise ValueError(f"{self.facts['format']} version {self.facts['version']}")
            forms = self.facts["inputs"].items()
            return {name: (tuple(form["shape"]), np.dtype(form["dtype"])) for name, form in forms}
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise OnnxPolicyError(f"{path}: expected {FORMAT} version {VERSION}, found {error}") from error

    def reset(self) -> None:
        """Forget: an episode opens in every world."""
        self.hidden = None

    def act(self, obs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Groups (N, ...) -> mean (N, A) and standard deviation (N, A) of the action, not clipped.

        Raises:
            OnnxPolicyError: a group is missing or not of the form that the model was exported with.
        """
        feed = {name: self._checked(name, obs) for name in self.inputs}
        if self.facts["hidden"]:
            if self.hidden is None:
                self.hidden = np.zeros((len(next(iter(feed.values()))), self.facts["hidden"]), np.float32)
            mean, std, self.hidden = self.session.run(None, {**feed, "hidden": self.hidden})  # type: ignore[assignment]
        else:
            mean, std = self.session.run(None, feed)
        return mean, std  # type: ignore[return-value]

    def _checked(self, name: str, obs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        shape, kind = self.inputs[name]
        if name not in obs:
            raise OnnxPolicyError(f"observation {name!r} is missing; available: {', '.join(obs) or 'none'}")
        found = obs[name]
        if found.shape[1:] != shape or found.dtype != kind:
            raise OnnxPolicyError(
                f"observation {name!r}: expected (N, *{shape}) {kind}, found {found.shape} {found.dtype}"
            )
        return np.ascontiguousarray(found)


def serve(path: str, threads: int, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the source ends."""
    policy = OnnxPolicy(path, threads)
    sizes = {name: kind.itemsize * int(np.prod(shape)) for name, (shape, kind) in policy.inputs.items()}
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "mujoco", "jax", "tensorflow"})
    ready = {"onnxruntime": onnxruntime.__version__, "threads": threads, "loaded": loaded, "facts": policy.facts}
    sink.write(json.dumps(ready).encode() + b"\n")
    sink.flush()
    while command := source.read(1):
        if command == b"r":
            policy.reset()
            continue
        raw = {name: source.read(size) for name, size in sizes.items()}
        start = time.perf_counter()
        obs = {n: np.frombuffer(raw[n], kind).reshape(1, *shape) for n, (shape, kind) in policy.inputs.items()}
        mean, _ = policy.act(obs)
        seconds = time.perf_counter() - start
        sink.write(mean[0].astype(np.float32).tobytes() + struct.pack("<d", seconds))
        sink.flush()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1, sys.stdin.buffer, sys.stdout.buffer)
