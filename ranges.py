"""What the values of a configuration may be: said beside each field's type, checked however it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .errors import HandsightError, unknown

Config = TypeVar("Config")


@dataclass(frozen=True)
class Within:
    """Range of the number, or of each of the numbers, that a field holds; both ends belong to it."""

    low: float
    """Least value, in the field's unit."""
    high: float
    """Greatest value, in the field's unit."""
    rising: bool = False
    """Whether a field's numbers are ends of a range themselves, the lower one first."""


Count = Annotated[int, Within(1, 1_000_000_000)]
"""Number of things without which nothing happens: environments, iterations, gradient steps."""
Steps = Annotated[int, Within(1, 100_000)]
"""Length of an episode or a rollout, control steps."""
Episodes = Annotated[int, Within(1, 100_000)]
"""Episodes in which a policy is tried."""
Width = Annotated[int, Within(1, 16_384)]
"""Features of a layer."""
Pixels = Annotated[int, Within(8, 4096)]
"""One side of an image."""
Threads = Annotated[int, Within(1, 1024)]
"""Threads or processes side by side."""
Share = Annotated[float, Within(0, 1)]
"""A probability, or a part of a whole."""
Weight = Annotated[float, Within(0, 1000)]
"""Weight of a term of a loss."""
Spread = Annotated[float, Within(1e-4, 10)]
"""Standard deviation of an action, in units of the action range [-1, 1]."""
LearningRate = Annotated[float, Within(1e-9, 1)]
"""Learning rate of Adam."""
Gib = Annotated[float, Within(1e-6, 16_384)]
"""Memory that may be taken, GiB."""


class Checked:
    """Base of the frozen dataclasses that are configurations: each value is of its field's type and in its range,
    whether it comes from Python, the command line, a run's JSON or a study's TOML."""

    def __post_init__(self) -> None:
        """Raises HandsightError: the first field with another value, or a least value above the greatest; names it,
        what was expected and what was found."""
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            if expected := _missed(hint, value):
                raise HandsightError(f"{type(self).__name__}.{name}: expected {expected}, found {value!r:.200}")
        for low, high in ends(type(self)):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise HandsightError(
                    f"{type(self).__name__}: expected {low} <= {high}, found {low}={least}, {high}={most}"
                )


@cache
def ends(config_class: Any) -> list[tuple[str, str]]:
    """Pairs of fields that are a least and a greatest value by their names, e.g. ("min_std", "max_std")."""
    names, words = _hints(config_class), (("min", "max"), ("low", "high"))
    pairs = [(name, name.replace(low, high)) for name in names for low, high in words if low in name]
    return [pair for pair in pairs if pair[1] in names]


@cache
def _hints(config_class: Any) -> dict[str, Any]:
    hints = get_type_hints(config_class, include_extras=True)
    return {one.name: hints[one.name] for one in fields(config_class)}


def _missed(hint: Any, value: Any, span: Within | None = None) -> str:
    """What a field of this type and range holds, in words, if the value is not that; else nothing."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _missed(parts[0], value, next((one for one in parts if isinstance(one, Within)), span))
    if kind in (Union, UnionType):
        missed = [_missed(part, value, span) for part in parts]
        return " or ".join(missed) if all(missed) else ""
    if kind is Literal:
        return "" if value in parts else f"one of {', '.join(map(str, parts))}"
    if kind in (dict, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        good = not any(_missed(part, one, span) for pair in pairs for part, one in zip(parts, pair, strict=True))
        return "" if good else f"names, each with {_missed(parts[1], ..., span) or 'a value'}"
    if kind is tuple:
        return _missed_by_several(parts, value, span)
    if hint in (int, float):
        return _missed_by_number(hint, value, span)
    if hint is NoneType:
        return "" if value is None else "None"
    checked = isinstance(hint, type) and (hint in (bool, str, Path) or issubclass(hint, Checked))
    return f"a {hint.__name__}" if checked and not isinstance(value, (str, Path) if hint is Path else hint) else ""


def _missed_by_several(parts: tuple[Any, ...], value: Any, span: Within | None) -> str:
    """As `_missed`; parts: types inside `tuple[...]`, all alike. Of numbers there is at least one."""
    each, fixed = parts[0], parts[-1] is not ...
    numbers = span is not None or any(isinstance(one, Within) for one in getattr(each, "__metadata__", ()))
    good = isinstance(value, (tuple, list)) and not any(_missed(each, one, span) for one in value)
    good = good and (len(value) == len(parts) if fixed else bool(value) or not numbers)
    if good and not (span and span.rising and list(value) != sorted(value)):
        return ""
    several = f"{len(parts)} values" if fixed else "one or more values"
    order = ", the lower one first" if span and span.rising else ""
    return f"{several}, each {_missed(each, ..., span) or 'of its kind'}{order}"


def _missed_by_number(hint: type, value: Any, span: Within | None) -> str:
    """As `_missed`; written so that NaN is in no range. Raises TypeError: a number whose range nobody said."""
    if span is None:
        raise TypeError("a number of a configuration has its range: Annotated[float, Within(low, high)]")
    number = isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    good = number and span.low <= value <= span.high
    return "" if good else f"{'a whole number' if hint is int else 'a number'} in {span.low:,}..{span.high:,}"


def from_tree(
    config_class: type[Config],
    tree: Mapping[str, Any],
    where: str = "",
    base: Any = None,
    error: type[HandsightError] = HandsightError,
) -> Config:
    """A frozen dataclass from a nested tree in which names may have dashes, e.g. of TOML.

    Args:
        config_class: its type.
        tree: values by field; dataclasses in it as trees of their own.
        where: name of the table, for messages.
        base: a value of that type, whose fields the tree changes, as deep as need be; None: the defaults.
        error: what to raise.

    Raises:
        HandsightError: as `error`; an unknown name, with the nearest known one, or a value that does not fit.
    """
    try:
        return TypeAdapter(config_class).validate_python(_merged(config_class, base, tree, where, error))
    except ValidationError as wrong:
        raise error(misfits(wrong, where)) from wrong


def misfits(error: Exception, where: str = "") -> str:
    """Every value that does not fit, by dotted name below `where`; or another error's own words."""
    lines = []
    for one in error.errors() if isinstance(error, ValidationError) else []:
        found = (
            "expected it, found nothing" if one["type"] == "missing" else f"{one['msg']}, found {one['input']!r:.200}"
        )
        lines.append(f"{'.'.join(filter(None, [where, *map(str, one['loc'])]))}: {found}")
    return "; ".join(lines) or str(error)


def _merged(
    config_class: Any, base: Any, changes: Mapping[str, Any], where: str, error: type[HandsightError]
) -> dict[str, Any]:
    """Values by field: those of `base`, if there is one, with changes; dataclasses are changed in part, all others
    replaced. Unknown names are refused."""
    hints, names = get_type_hints(config_class), [one.name for one in fields(config_class)]
    values = {} if base is None else {name: getattr(base, name) for name in names}
    for key, value in changes.items():
        name, place = key.replace("-", "_"), f"{where}.{key}".strip(".")
        if name not in names:
            raise error(f"{place}: {unknown('name', key, names)}")
        inner, before = _inner(hints[name]), values.get(name)
        anew = lambda one, at, kind=inner: _merged(kind, None, one, at, error) if isinstance(one, Mapping) else one  # noqa: E731
        if inner is not None and get_origin(hints[name]) is dict and isinstance(value, Mapping):
            value = {k: anew(one, f"{place}.{k}") for k, one in value.items()}
        elif inner is not None and isinstance(value, Mapping):
            value = _merged(type(before) if is_dataclass(before) else inner, before, value, place, error)
        elif inner is not None and isinstance(value, list):
            value = [anew(one, place) for one in value]
        values[name] = value
    return values


def _inner(hint: Any) -> Any:
    """The dataclass that a field holds, one of them or several."""
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)
