"""A nested tree of plain values and arrays, told apart exactly: JSON for the shape, named tensors for the arrays.

JSON alone forgets integer keys, tuples, bytes and the types of arrays; those are written as objects whose first key
begins with `$`, e.g. `{"$tuple": [1, 2]}` or `{"$tensor": "policy/weights/0.bias"}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import descr_to_dtype, dtype_to_descr
from torch import Tensor

TORCH_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_AS_THEY_ARE = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
)
"""Element types of every version of safetensors; all others are stored as bytes with their type in the tree."""


def _numpy_dtype(description: Any) -> np.dtype:
    dtype = descr_to_dtype(description)
    if dtype.hasobject:
        raise ValueError(f"an array of Python objects, {dtype}")
    return dtype


def _from_bytes(value: bytes | bytearray) -> np.ndarray:
    return np.frombuffer(value, np.uint8)


_WORDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "$float": (float, str, float),
    "$path": (Path, str, Path),
    "$size": (torch.Size, list, torch.Size),
    "$tuple": (tuple, list, tuple),
    "$torch.dtype": (torch.dtype, str, TORCH_DTYPES.__getitem__),
    "$torch.device": (torch.device, str, torch.device),
    "$numpy.dtype": (np.dtype, dtype_to_descr, _numpy_dtype),
}
"""By marker: a type that JSON does not have, how a value of it becomes one that can be packed, and the way back."""
_ARRAYS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "$bytes": (bytes, _from_bytes, np.ndarray.tobytes),
    "$bytearray": (bytearray, _from_bytes, lambda array: bytearray(array.tobytes())),
    "$array": (np.ndarray, np.asarray, np.asarray),
    "$scalar": (np.generic, np.asarray, lambda array: array[()]),
}
"""By marker: a type that is kept as a numpy array, how it becomes one, and the way back."""


def pack(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a tree into what JSON can say and the arrays, each under the path at which it stood.

    Returns:
        The JSON, and contiguous tensors on the CPU of which no two share their memory.

    Raises:
        TypeError: a value of a type that would not come back the same; the message names its place and type.
    """
    tensors: dict[str, Tensor] = {}
    body, places = _pack(tree, (), tensors), set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return body, tensors


def unpack(node: Any, tensors: dict[str, Tensor]) -> Any:
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
    if marker == "$dict":
        return dict(unpack(node[marker], tensors))
    if marker in _WORDS:
        return _WORDS[marker][2](unpack(node[marker], tensors))
    if marker != "$tensor" and marker not in _ARRAYS:
        raise ValueError(f"unknown marker {marker!r}")
    tensor = tensors.pop(node[marker])
    if marker == "$tensor":
        return tensor.view(TORCH_DTYPES[node["dtype"]]).reshape(node["shape"]) if "dtype" in node else tensor
    array = tensor.numpy()
    if "dtype" in node:
        array = array.view(_numpy_dtype(unpack(node["dtype"], tensors))).reshape(node["shape"])
    return _ARRAYS[marker][2](array)


def _pack(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _pack(item, (*path, key), tensors) for key, item in value.items()}
        pairs = [[_pack(k, (*path, "key"), tensors), _pack(v, (*path, str(k)), tensors)] for k, v in value.items()]
        return {"$dict": pairs}
    if type(value) is list:
        return [_pack(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
    if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
        value = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        if value.dtype in _AS_THEY_ARE:
            return {"$tensor": _add(value, path, tensors)}
        name = _add(value.reshape(-1).view(torch.uint8), path, tensors)
        return {"$tensor": name, "dtype": str(value.dtype), "shape": list(value.shape)}
    for marker, (kind, made, _) in _ARRAYS.items():
        if isinstance(value, kind):
            array = np.require(made(value), requirements=("C", "W"))
            if array.dtype.hasobject:
                raise TypeError(f"{'/'.join(path)} is a numpy array of Python objects; only plain data can be saved")
            name = _add(torch.from_numpy(array.reshape(-1).view(np.uint8)), path, tensors)
            return {marker: name, "dtype": _pack(dtype_to_descr(array.dtype), path, {}), "shape": list(array.shape)}
    for marker, (kind, made, _) in _WORDS.items():
        if type(value) is kind or (isinstance(value, kind) and kind not in (float, tuple)):
            return {marker: _pack(made(value), path, tensors)}
    raise TypeError(
        f"{'/'.join(path) or 'the value'} is a {type(value).__module__}.{type(value).__qualname__}, which would not "
        "come back the same; expected dict, list, tuple, None, bool, int, float, str, bytes, Path, dense torch tensors "
        "and dtypes, numpy arrays, scalars and dtypes (turn a dataclass into a dict with dataclasses.asdict)"
    )


def _add(tensor: Tensor, path: tuple[str, ...], tensors: dict[str, Tensor]) -> str:
    """Note a tensor under its path, or the next free name; returns that."""
    stem = "/".join(path) or "value"
    names = (stem if count == 1 else f"{stem}#{count}" for count in range(1, len(tensors) + 3))
    name = next(name for name in names if name not in tensors and name != "__metadata__")  # safetensors' own name
    tensors[name] = tensor
    return name
