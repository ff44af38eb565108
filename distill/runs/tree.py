"""A nested tree of plain values and arrays, told apart exactly: JSON for the shape, named blobs for the arrays.

JSON alone forgets integer keys, tuples, bytes and the types of arrays; those are written as one-entry objects whose key
begins with `$`, e.g. `{"$tuple": [1, 2]}` or `{"$tensor": "policy/weights/0.bias"}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import descr_to_dtype, dtype_to_descr

# Element types that safetensors knows; all others are stored as raw bytes with their type written into the tree.
SAFE_TORCH = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
SAFE_NUMPY = {
    np.dtype(code): name
    for code, name in {
        "<f8": "F64",
        "<f4": "F32",
        "<f2": "F16",
        "<i8": "I64",
        "<i4": "I32",
        "<i2": "I16",
        "|i1": "I8",
        "|u1": "U8",
        "|b1": "BOOL",
    }.items()
}
TORCH_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}


@dataclass(frozen=True)
class Blob:
    """The bytes of one array, as safetensors describes them."""

    dtype: str
    """safetensors element type, e.g. "F32"; "U8" for raw bytes."""
    shape: tuple[int, ...]
    data: np.ndarray
    """(nbytes,) uint8, little-endian, row-major."""


def pack(tree: Any) -> tuple[Any, dict[str, Blob]]:
    """Split a tree into what JSON can say and the arrays, each under the path at which it stood.

    Raises:
        TypeError: a value of a type that would not come back the same; the message names its place and type.
    """
    blobs: dict[str, Blob] = {}
    return _pack(tree, (), blobs), blobs


def unpack(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The tree again, from its JSON and the tensors by name.

    Args:
        node: the JSON.
        tensors: is emptied: no array stands at two places, so the tree takes no more memory than they do.

    Raises:
        KeyError: a tensor that the tree names is not there, or was taken already.
        ValueError: a marker that this version does not know, or values that are none.
        TypeError, RuntimeError: a value of another form than `pack` writes.
    """
    if isinstance(node, list):
        return [unpack(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    marker = next((key for key in node if key.startswith("$")), None)
    if marker is None:
        return {key: unpack(value, tensors) for key, value in node.items()}
    if marker not in _READERS:
        raise ValueError(f"unknown marker {marker!r}; known: {', '.join(_READERS)}")
    return _READERS[marker](node, tensors)


def _pack(value: Any, path: tuple[str, ...], blobs: dict[str, Blob]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Mapping):
        return _pack_mapping(value, path, blobs)
    if kind in (list, tuple, torch.Size):
        items = [_pack(item, (*path, str(index)), blobs) for index, item in enumerate(value)]
        return items if kind is list else {"$size" if kind is torch.Size else "$tuple": items}
    if isinstance(value, torch.Tensor):
        return _pack_tensor(value, path, blobs)
    if isinstance(value, np.ndarray | np.generic):
        return _pack_array(value, path, blobs)
    if kind in (bytes, bytearray):
        data = np.frombuffer(value, dtype=np.uint8)
        return {f"${kind.__name__}": _add(Blob("U8", data.shape, data), path, blobs)}
    return _pack_name(value, path)


def _pack_mapping(value: Mapping, path: tuple[str, ...], blobs: dict[str, Blob]) -> Any:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: _pack(item, (*path, key), blobs) for key, item in value.items()}
    return {"$dict": [[_pack(k, (*path, "key"), blobs), _pack(v, (*path, str(k)), blobs)] for k, v in value.items()]}


def _pack_tensor(value: torch.Tensor, path: tuple[str, ...], blobs: dict[str, Blob]) -> Any:
    if value.layout is not torch.strided or value.is_quantized:
        raise TypeError(f"{_where(path)} is a {value.layout} tensor; only dense, unquantised tensors can be saved")
    value = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    data = value.reshape(-1).view(torch.uint8).numpy()
    shape = tuple(value.shape)
    if value.dtype in SAFE_TORCH:
        return {"$tensor": _add(Blob(SAFE_TORCH[value.dtype], shape, data), path, blobs)}
    name = _add(Blob("U8", data.shape, data), path, blobs)
    return {"$tensor": name, "dtype": str(value.dtype), "shape": list(shape)}


def _pack_array(value: np.ndarray | np.generic, path: tuple[str, ...], blobs: dict[str, Blob]) -> Any:
    if value.dtype.hasobject:
        raise TypeError(f"{_where(path)} is a numpy array of Python objects; only arrays of plain data can be saved")
    marker = "$array" if isinstance(value, np.ndarray) else "$scalar"
    data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    if value.dtype in SAFE_NUMPY:
        return {marker: _add(Blob(SAFE_NUMPY[value.dtype], value.shape, data), path, blobs)}
    name = _add(Blob("U8", data.shape, data), path, blobs)
    return {marker: name, "dtype": _pack(dtype_to_descr(value.dtype), path, blobs), "shape": list(value.shape)}


def _pack_name(value: Any, path: tuple[str, ...]) -> Any:
    """Values that a word can say."""
    if isinstance(value, torch.dtype):
        return {"$torch.dtype": str(value)}
    if isinstance(value, np.dtype):
        return {"$numpy.dtype": _pack(dtype_to_descr(value), path, {})}
    if isinstance(value, torch.device):
        return {"$torch.device": str(value)}
    if isinstance(value, Path):
        return {"$path": str(value)}
    raise TypeError(
        f"{_where(path)} is a {type(value).__module__}.{type(value).__qualname__}, which would not come back the same; "
        "expected dict, list, tuple, None, bool, int, float, str, bytes, Path, torch tensors and dtypes, "
        "numpy arrays, scalars and dtypes (turn a dataclass into a dict with dataclasses.asdict)"
    )


def _add(blob: Blob, path: tuple[str, ...], blobs: dict[str, Blob]) -> str:
    name = stem = "/".join(path) or "value"
    count = 1
    while name in blobs or name == "__metadata__":  # the one name that safetensors keeps for itself
        count += 1
        name = f"{stem}#{count}"
    blobs[name] = blob
    return name


def _where(path: tuple[str, ...]) -> str:
    return "/".join(path) or "the value itself"


def _read_tensor(node: dict, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    tensor = tensors.pop(node["$tensor"])
    if "dtype" not in node:
        return tensor
    return tensor.view(TORCH_DTYPES[node["dtype"]]).reshape(node["shape"])


def _read_array(node: dict, tensors: dict[str, torch.Tensor], marker: str = "$array") -> np.ndarray:
    array = tensors.pop(node[marker]).numpy()
    if "dtype" not in node:
        return array
    dtype = descr_to_dtype(unpack(node["dtype"], tensors))
    if dtype.hasobject:
        raise ValueError(f"an array of Python objects, {dtype}")
    return array.view(dtype).reshape(node["shape"])


_READERS: dict[str, Callable[[dict, dict[str, torch.Tensor]], Any]] = {
    "$tensor": _read_tensor,
    "$array": _read_array,
    "$scalar": lambda node, tensors: _read_array(node, tensors, "$scalar")[()],
    "$bytes": lambda node, tensors: tensors.pop(node["$bytes"]).numpy().tobytes(),
    "$bytearray": lambda node, tensors: bytearray(tensors.pop(node["$bytearray"]).numpy().tobytes()),
    "$tuple": lambda node, tensors: tuple(unpack(node["$tuple"], tensors)),
    "$size": lambda node, tensors: torch.Size(unpack(node["$size"], tensors)),
    "$dict": lambda node, tensors: {unpack(k, tensors): unpack(v, tensors) for k, v in node["$dict"]},
    "$float": lambda node, tensors: float(node["$float"]),
    "$path": lambda node, tensors: Path(node["$path"]),
    "$torch.dtype": lambda node, tensors: TORCH_DTYPES[node["$torch.dtype"]],
    "$torch.device": lambda node, tensors: torch.device(node["$torch.device"]),
    "$numpy.dtype": lambda node, tensors: descr_to_dtype(unpack(node["$numpy.dtype"], tensors)),
}
