"""A policy as an ONNX model in memory: one step, recurrent state in and out, everything it needs to know inside."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HandsightError
from ..policies.policy import Policy
from ..sims.vec_env import ArraySpec

OPSET = 20
FORMAT, VERSION = "handsight-policy", 1
METADATA = "handsight"
"""Key of the model's metadata under which the JSON stands."""
PARTS = ("onnx", "onnxscript", "onnxruntime")


class ExportError(HandsightError):
    """A policy that cannot be written as ONNX, or a package that is missing for it."""


class OneStep(nn.Module):
    """The policy over plain tensors: the observation groups in their order, then the memory if it has one."""

    def __init__(self, policy: Policy, remembers: bool) -> None:
        super().__init__()
        self.policy, self.remembers = policy, remembers

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """obs groups (N, ...), memory (N, H) -> mean (N, A), standard deviation (N, A), memory (N, H)."""
        obs = dict(zip(self.policy.obs_keys, inputs, strict=False))
        hidden = inputs[-1] if self.remembers else inputs[0].new_zeros(inputs[0].shape[0], 0, dtype=torch.float32)
        mean, std, hidden = self.policy(obs, hidden)  # type: ignore[arg-type]
        return (mean, std, hidden) if self.remembers else (mean, std)


def to_onnx(policy: Policy, obs_spec: Mapping[str, ArraySpec], facts: Mapping[str, Any]) -> Any:
    """Export one step of a policy, for any number of worlds, as an `onnx.ModelProto`.

    Inputs are the observation groups as the environment gives them (images as uint8, depth as int16 millimetres; what
    is subtracted and divided stands inside) and `hidden` (N, H) float32, zeros where an episode opens; outputs `mean`,
    `std` and `next_hidden`. A policy without memory has no `hidden`.

    Args:
        policy: in evaluation mode, on the CPU.
        obs_spec: forms of the groups that it reads.
        facts: JSON-able, go into the metadata beside inputs, memory and opset: signature with the camera rig,
            preprocessing, origin.

    Raises:
        ExportError: a package is missing; names the command that installs it.
    """
    check_installed()
    width = policy.initial_hidden(1).shape[1]
    names = [*policy.obs_keys, *(["hidden"] if width else [])]
    examples = [_example(obs_spec[key]) for key in policy.obs_keys]
    examples += [torch.zeros(2, width)] if width else []
    worlds = torch.export.Dim("worlds", min=1)
    program = torch.onnx.export(
        OneStep(policy, bool(width)).eval(),
        tuple(examples),
        dynamo=True,
        opset_version=OPSET,
        input_names=names,
        output_names=["mean", "std", *(["next_hidden"] if width else [])],
        dynamic_shapes=(tuple({0: worlds} for _ in names),),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    inputs = {key: {"shape": list(s.shape), "dtype": str(s.dtype).removeprefix("torch.")} for key, s in
              ((key, obs_spec[key]) for key in policy.obs_keys)}  # fmt: skip
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    noted = {"format": FORMAT, "version": VERSION, "opset": opset, "inputs": inputs, "hidden": width, **facts}
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(noted)
    return model


def check_installed() -> None:
    """Raise ExportError where a package of the extra `export` is missing."""
    missing = [part for part in PARTS if importlib.util.find_spec(part) is None]
    if missing:
        raise ExportError(
            f"ONNX needs {', '.join(missing)}: uv sync --extra export, or pip install 'handsight[export]'"
        )


def preprocessing(policy: Policy) -> dict[str, Any]:
    """What is done to images inside the model, for whoever reads the metadata: size, mean and std in grey levels, or
    in millimetres."""
    backbone = getattr(policy, "backbone", None)
    if backbone is None:
        return {}
    std = 1 / backbone.inverse_std
    return {"size": list(backbone.size), "mean": backbone.mean.flatten().tolist(), "std": std.flatten().tolist()}


def _example(spec: ArraySpec) -> Tensor:
    return torch.ones(2, *spec.shape, dtype=spec.dtype)
