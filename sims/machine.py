"""Settings of the user's machine: programs, addresses, devices, threads, places outside.

They come from the command line or the environment and from nowhere else. A field that is one says `= machine(default)`;
whatever is saved is saved without them, and what an old or foreign file says of them is not obeyed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import Any, TypeVar

Config = TypeVar("Config")
MACHINE = {"machine": True}
"""Metadata of a field that is a setting of the user's machine; `machine` writes it."""


def machine(default: Any) -> Any:
    """A field of a frozen dataclass that is a setting of the user's machine, and what it is where nobody sets it."""
    return field(default=default, metadata=MACHINE)


def with_machine_of(config: Config, other: Config | None = None) -> Config:
    """The configuration with the machine settings of another one; without another, as nobody set them."""
    changes = {}
    for one in fields(config):  # pyright: ignore[reportArgumentType]
        own, theirs = getattr(config, one.name), getattr(other, one.name, None)
        if "machine" in one.metadata:
            changes[one.name] = one.default if other is None else theirs
        elif is_dataclass(own):
            changes[one.name] = with_machine_of(own, theirs if type(theirs) is type(own) else None)
    return replace(config, **changes)  # pyright: ignore[reportArgumentType]


def machine_settings(config: Any) -> dict[str, Any]:
    """All machine settings of a configuration by dotted name, e.g. "env.threads"."""
    return {name: value for name, value, _ in _marked(config, "")}


def chosen_settings(config: Any) -> dict[str, Any]:
    """Those that somebody set to something other than the default."""
    return {name: value for name, value, default in _marked(config, "") if value != default}


def without_machine(config: Any, tree: Mapping[str, Any]) -> dict[str, Any]:
    """What may be saved of a configuration: `tree`, its nested dict, without the machine settings."""
    kept = {one.name: getattr(config, one.name) for one in fields(config) if "machine" not in one.metadata}
    return {
        name: without_machine(value, tree[name]) if is_dataclass(value) else tree[name] for name, value in kept.items()
    }


def _marked(config: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, value, default)."""
    for one in fields(config):
        value = getattr(config, one.name)
        if "machine" in one.metadata:
            yield prefix + one.name, value, one.default
        elif is_dataclass(value):
            yield from _marked(value, f"{prefix}{one.name}.")
