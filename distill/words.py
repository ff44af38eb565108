"""`--word VALUE`: options that choose the configuration which all other options then change.

They are no fields of it: `--preset gpu` decides what it is to begin with, `--image 160x120` is a change of several
fields at once. They are taken out before the rest of the command line is read, wherever they stand in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import HandsightError

if TYPE_CHECKING:
    from ..sims.make import EnvConfig

Config = TypeVar("Config")


class WordError(HandsightError):
    """A word without a value, or with one that means nothing."""


class Word(NamedTuple):
    """One of these options."""

    value: str
    """What stands for its value in the help."""
    about: str
    """One line for the help."""
    change: Callable[[Any, str], Any]
    """change(worlds, value) returns the changed `EnvConfig`."""


def with_image(env: EnvConfig, size: str) -> EnvConfig:
    """The same worlds with images of WIDTHxHEIGHT pixels.

    Raises:
        WordError: no such size.
    """
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise WordError(f"--image {size}: expected WIDTHxHEIGHT in pixels, e.g. 64x64 or 160x120")
    rig = replace(env.scene.rig, width=int(width), height=int(height))
    return replace(env, scene=replace(env.scene, rig=rig))


def with_scene(env: EnvConfig, name: str) -> EnvConfig:
    """The worlds in another scene; see `sims.scenes`."""
    from ..sims import scenes  # the command line must answer --help without torch

    return scenes.with_scene(env, name)


PRESET = "--preset"
WORDS = {
    "--scene": Word("wrist|open|occluded", "what can be seen (docs/scenes.md); wrist if not given", with_scene),
    "--image": Word("WIDTHxHEIGHT", "images of this size, pixels", with_image),
}
"""Changes of the worlds, in the order in which they are made."""


def take(words: Sequence[str], names: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The values of these options, and the command line without them.

    Raises:
        WordError: one stands without a value.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if name not in names:
            rest.append(word)
            continue
        value = value if equals else next(left, "")
        if not value or value.startswith("-"):
            raise WordError(f"{name}: expected a value")
        found[name] = value
    return found, rest


def value_of(words: Sequence[str], *names: str) -> str | None:
    """What one of these options is given, without taking it out; None if it is not there."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(words[index + 1 :]), None)
    return None


def change(env: EnvConfig, found: dict[str, str]) -> EnvConfig:
    """The worlds as these words want them."""
    for name, word in WORDS.items():
        if name in found:
            env = word.change(env, found[name])
    return env


def about() -> str:
    """What the help says of these options."""
    return "\n\n".join(f"{name} {word.value}: {word.about}." for name, word in WORDS.items())


def about_preset() -> str:
    """What the help says of `PRESET`."""
    return f"{PRESET} cpu|gpu: what to begin with, for two cores or for one GPU; without it the device decides."
