"""`--word VALUE`: options that choose the worlds which all other options then change.

They are no fields of a configuration: `--scene open` changes several at once. They are taken out before the rest of the
command line is read, wherever they stand in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import HandsightError

if TYPE_CHECKING:
    from ..sims.make import EnvConfig


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


def with_scene(env: EnvConfig, name: str) -> EnvConfig:
    """The worlds in another scene; see `sims.scenes`."""
    from ..sims import scenes  # the command line must answer --help without torch

    return scenes.with_scene(env, name)


WORDS = {"--scene": Word("wrist|open|occluded", "what can be seen (docs/scenes.md); wrist if not given", with_scene)}
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


def change(env: EnvConfig, found: dict[str, str]) -> EnvConfig:
    """The worlds as these words want them."""
    for name, word in WORDS.items():
        if name in found:
            env = word.change(env, found[name])
    return env


def about() -> str:
    """What the help says of these options."""
    return "\n\n".join(f"{name} {word.value}: {word.about}." for name, word in WORDS.items())
