"""Tensors as the fake shares them: arrays, and descriptors that do not keep them."""

import weakref

from .gymapi import rule


def wrap_tensor(shared):
    return shared


def unwrap_tensor(tensor):
    """A descriptor holds an address, not a reference: `Gym` notices when the tensor is gone before it is read."""
    rule(tensor.flags["C_CONTIGUOUS"], "a tensor that is handed over must be contiguous")
    return weakref.ref(tensor)
