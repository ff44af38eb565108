"""The options of a command, derived from its dataclass by tyro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

Config = TypeVar("Config")
SHORT = {
    "--engine": "--env.engine", "--isaac-python": "--env.isaac.python", "--stand-in": "--env.isaac.stand-in",
}  # fmt: skip
"""Short names of options of the worlds, for every command that has worlds."""


@dataclass(frozen=True)
class Training(Generic[Config]):
    """What a training command takes: its configuration, and where its run lies."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    runs: Path = Path("runs")
    """Where the run folder goes."""
    resume: Path | None = None
    """Run folder to go on with, under its own configuration: allows no other option."""


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


def _full(words: Sequence[str]) -> list[str]:
    """Short names written out; `--engine=NAME` too."""
    split = [word.partition("=") for word in words]
    return [SHORT.get(name, name) + equals + value for name, equals, value in split]
