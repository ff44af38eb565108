"""The options of a command, derived from its dataclass by tyro."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import tyro

from ...errors import HandsightError
from ...sims.env_config import EnvConfig
from ...sims.machine import machine_settings
from ...sims.scenes import with_image

Config = TypeVar("Config")
SHORT = {"--engine": "--env.engine", "--isaac-python": "--env.isaac.python"}
"""Short names of options of the worlds, for every command that has worlds."""


@dataclass(frozen=True)
class Training(Generic[Config]):
    """What a training command takes: its configuration, and where its run lies."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    runs: Path = Path("runs")
    """Where the run folder goes."""
    resume: Path | None = None
    """Run folder to go on with, under its own configuration. What it ran on is not saved: `--device`, `--sims`,
    `--env.isaac.python` and the like are given again; no other option is allowed."""


def parse(
    config_class: type[Config], words: Sequence[str], prog: str, default: Config | None = None, about: str | None = None
) -> Config:
    """The dataclass from the command line; a mistake is explained with the nearest options, and exits with 2. `default`
    is the configuration whose values the options change, `about` what the help says first."""
    parsed: Any = tyro.cli(
        config_class,
        args=_full(words),
        prog=prog,
        description=about or config_class.__doc__,
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
    )
    return parsed


def parse_training(
    config_class: type[Config], words: Sequence[str], prog: str, default: Any = None, about: str | None = None
) -> Training[Config]:
    """The same for a training command."""
    training: Any = Training[config_class]  # pyright: ignore[reportInvalidTypeForm]
    return tyro.cli(
        training,
        args=_full(words),
        prog=prog,
        description=about or config_class.__doc__,
        default=None if default is None else Training(default),
        config=(tyro.conf.AvoidSubcommands,),
    )


def of_worlds(word: str) -> bool:
    """Whether an option changes a part of the worlds."""
    return _full([word])[0].startswith("--env.")


def not_of_machine(config: Any, words: Sequence[str]) -> list[str]:
    """The words that are neither options for `machine_settings` of the configuration nor values of such options."""
    known = {f"--{name}".replace("_", "-") for name in machine_settings(config)} | {"--learner"}
    left, taken = [], False
    for word, full in zip(words, _full(words), strict=True):
        if word.startswith("-"):
            taken = full.partition("=")[0].replace("_", "-").replace(".no-", ".") in known
        left += [] if taken else [word]
    return left


def _full(words: Sequence[str]) -> list[str]:
    """Short names written out; `--engine=NAME` too."""
    split = [word.partition("=") for word in words]
    return [SHORT.get(name, name) + equals + value for name, equals, value in split]


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
    from ...sims import scenes  # the command line must answer --help without torch

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
