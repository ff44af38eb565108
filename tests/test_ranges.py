"""Every value of every configuration has its range, at and beyond each bound, however the configuration is made."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handsight.distill.commands import arguments, cli
from handsight.distill.commands.footprint import FootprintConfig
from handsight.distill.report.contrasts import ContrastConfig
from handsight.distill.runs import stored_config
from handsight.distill.study.spec import StudyConfig, StudySceneConfig
from handsight.errors import HandsightError
from handsight.ranges import Checked, Within, ends
from handsight.sims.env_config import CameraConfig

ROOTS = [*(getattr(arguments, command.config) for command in cli.COMMANDS.values()), StudyConfig, FootprintConfig]
CELLS = {"state-teacher": 1}
NEEDED: dict[Any, dict[str, Any]] = {
    StudyConfig: {"scenes": {"wrist": StudySceneConfig(CELLS)}},
    StudySceneConfig: {"cells": CELLS},
    arguments.StudentRunConfig: {"teacher": Path("teacher")},
    arguments.ObjectsArgs: {"action": "draw"},
    CameraConfig: {"name": "front"},
    ContrastConfig: {"scene": "wrist", "loses": "state-to-stereo"},
}
"""What a configuration cannot be made without, beside paths."""


def hints_of(config_class):
    hints = get_type_hints(config_class, include_extras=True)
    return {one.name: hints[one.name] for one in fields(config_class)}


def classes_in(hint):
    """Dataclasses that a type mentions."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for part in get_args(hint):
        yield from classes_in(part)


def reachable():
    found, queue = {}, list(ROOTS)
    while queue:
        config_class = queue.pop()
        if config_class not in found:
            found[config_class] = None
            queue += [inner for hint in hints_of(config_class).values() for inner in classes_in(hint)]
    return list(found)


CONFIGS = reachable()
FIELDS = [(config_class, name) for config_class in CONFIGS for name in hints_of(config_class)]


def numbers(hint, span=None):
    """(int or float, its range, how the field's value is made of one such number) for all numbers of a type."""
    kind, parts = get_origin(hint), get_args(hint)
    if hint in (int, float):
        yield hint, span, lambda number: number
    elif kind is Annotated:
        yield from numbers(parts[0], next((one for one in parts if isinstance(one, Within)), span))
    elif kind in (Union, UnionType):
        for part in parts:
            yield from numbers(part, span)
    elif kind in (dict, Mapping):
        for number, its, made in numbers(parts[1], span):
            yield number, its, lambda value, made=made: {"wide": made(value)}
    elif kind is tuple:
        count = 1 if parts[-1] is ... else len(parts)
        for number, its, made in numbers(parts[0], span):
            yield number, its, lambda value, made=made, count=count: (made(value),) * count


NUMBERS = [(c, name, *one) for c, name in FIELDS for one in numbers(hints_of(c)[name])]


def made(config_class, **changes):
    required = [one.name for one in fields(config_class) if one.default is one.default_factory is MISSING]
    return config_class(**(dict.fromkeys(required, Path("x")) | NEEDED.get(config_class, {}) | changes))


def test_every_configuration_is_checked_and_every_number_has_its_range():
    assert len(CONFIGS) > 35 and len(NUMBERS) > 150
    assert [c.__name__ for c in CONFIGS if not issubclass(c, Checked)] == []
    assert [f"{c.__name__}.{name}" for c, name, _, span, _ in NUMBERS if span is None] == []


@pytest.mark.parametrize("config_class", CONFIGS, ids=lambda c: c.__name__)
def test_numbers_are_taken_at_their_bounds_and_refused_beyond_with_what_is_expected(config_class):
    made(config_class)
    for owner, name, kind, span, wrapped in NUMBERS:
        if owner is not config_class:
            continue
        for bound in (span.low, span.high):
            try:
                made(owner, **{name: wrapped(kind(bound))})
            except HandsightError as error:  # a relation between fields may forbid it, not its range
                assert f"{owner.__name__}.{name}" not in str(error)
        step = (lambda x, to: x + (1 if to > x else -1)) if kind is int else math.nextafter
        beyond = [step(kind(span.low), -math.inf), step(kind(span.high), math.inf)]
        wrong = [*beyond, math.nan, math.inf, -math.inf, True, "1", object(), *([1.5, 1e3] if kind is int else [])]
        for value in [*map(wrapped, wrong), [], (), "", b"1"]:
            with pytest.raises(HandsightError, match=rf"^{owner.__name__}\.{name}: expected .* found ") as caught:
                made(owner, **{name: value})
            assert "\n" not in str(caught.value)


def test_ends_of_a_range_do_not_cross():
    rising = [(c, name) for c, name, _, span, _ in NUMBERS if span.rising]
    assert len(rising) == 15
    for config_class, name in dict.fromkeys(rising):
        low, high = getattr(made(config_class), name)
        crossed = (high if high > low else high + 1, low)
        with pytest.raises(HandsightError, match=rf"\.{name}: expected 2 values, .* the lower one first, found"):
            made(config_class, **{name: crossed})


def test_a_least_value_is_nowhere_above_the_greatest():
    pairs = {(c.__name__, low, high) for c in CONFIGS for low, high in ends(c)}
    assert pairs == {
        ("AdaptiveRate", "minimum", "maximum"),
        ("ActorCriticConfig", "min_std", "max_std"),
        ("StudentConfig", "min_std", "max_std"),
        ("CurriculumConfig", "low", "high"),
    }
    for config_class in CONFIGS:
        for low, high in ends(config_class):
            least, most = (getattr(made(config_class), name) for name in (low, high))
            made(config_class, **{low: least, high: least}) if config_class.__name__ != "CurriculumConfig" else None
            with pytest.raises(HandsightError, match=rf"expected {low} <= {high}, found {low}={most}, {high}={least}"):
                made(config_class, **{low: most, high: least})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FIELDS), ANYTHING)
def test_whatever_stands_in_a_field_is_taken_or_refused_in_one_line(field, value):
    config_class, name = field
    stored = json.loads(json.dumps(stored_config.dump(made(config_class)) | {name: value}))
    from_python = partial(made, config_class, **{name: value})
    from_json = partial(stored_config.read, config_class, stored, "config.json", HandsightError)
    for read in (from_python, from_json):
        try:
            read()
        except HandsightError as error:
            assert "\n" not in str(error)
