"""The options of a command, derived by tyro from its dataclass and from what its configuration begins with.

What a command line begins with (a preset, a scene, the teacher of a student, ...) decides the defaults that all other
options change, so it is read twice by the same parser: `beginning` for these alone, then `parse` for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from ...sims.env_config import EngineName, EnvConfig
from ...sims.scenes import with_cameras, with_image
from ..evaluation.chosen import Chosen

Config = TypeVar("Config")
Start = TypeVar("Start", bound="Worlds")


@dataclass(frozen=True)
class Worlds(Chosen):
    """Which environments a configuration begins with; None: those of the preset or of the teacher."""

    image: Annotated[str | None, tyro.conf.arg(metavar="WIDTHxHEIGHT")] = None
    """Images of this size, pixels."""
    cameras: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """Further cameras, a table [[cameras]] each, and what differs about the pair, [rig]: docs/scenes.md."""
    engine: EngineName | None = None
    """Simulator: short for --env.engine."""
    isaac_python: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """Interpreter that has isaacgym: short for --env.isaac.python."""

    @property
    def any(self) -> bool:
        """Whether one of them was given."""
        return any(getattr(self, one.name) is not None for one in fields(Worlds))

    def change(self, env: EnvConfig) -> EnvConfig:
        """As `Chosen.change`; raises HandsightError for a size of an image or a file of cameras that is none, too."""
        env = super().change(env)
        env = env if self.image is None else with_image(env, self.image)
        env = env if self.cameras is None else with_cameras(env, self.cameras)
        isaac = replace(env.isaac, python=self.isaac_python or env.isaac.python)
        return replace(env, engine=self.engine or env.engine, isaac=isaac)


@dataclass(frozen=True)
class Training(Worlds):
    """What a training begins with, and where its run lies."""

    preset: Annotated[str | None, tyro.conf.arg(metavar="cpu|gpu")] = None
    """What to begin with, for two cores or for one GPU; cpu if not given."""
    runs: Path = Path("runs")
    """Where the run folder goes."""
    resume: Path | None = None
    """Run folder to go on with, under its own configuration. What it ran on is not saved: `--device`, `--sims`,
    `--env.isaac.python` and the like are given again, as is `--robot FILE.toml`. `--iterations N` trains on to N of
    them; `--teacher` (`--driver`, `--warm-start`, `--data`) says where that is now, if it was moved. No other option is
    allowed."""


@dataclass(frozen=True)
class _Peek(Generic[Start]):
    """What decides the defaults, and also stands in the configuration that they are of."""

    start: Annotated[Start, tyro.conf.arg(name="")]
    teacher: Path | None = None
    data: Path | None = None
    warm_start: Path | None = None


@dataclass(frozen=True)
class _Whole(Generic[Start, Config]):
    """A command line: its configuration, and what that begins with."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    start: Annotated[Start, tyro.conf.arg(name="")]


def beginning(start: type[Start], words: Sequence[str], prog: str) -> tuple[_Peek[Start], list[str]]:
    """What decides the defaults of a command line, whatever else stands in it, and the other words."""
    return tyro.cli(_Peek[start], args=words, prog=prog, add_help=False, return_unknown_args=True)  # pyright: ignore


def parse(
    config_class: type[Config],
    words: Sequence[str],
    prog: str,
    default: Config | None = None,
    start: Worlds | None = None,
) -> Config:
    """The configuration from the command line.

    Args:
        config_class: the command's dataclass.
        words: all that stands behind the command's name.
        prog: how the command is called, for messages.
        default: the configuration that the options change.
        start: what `default` began with; None for a command without it.

    Raises:
        SystemExit: a mistake, explained with the nearest options (code 2), or --help (code 0).
    """
    options: dict[str, Any] = {"args": words, "prog": prog, "config": (tyro.conf.AvoidSubcommands,)}
    options["description"] = config_class.__doc__
    if start is None:
        return tyro.cli(config_class, **options)
    whole: Any = _Whole[type(start), config_class]  # pyright: ignore[reportInvalidTypeForm]
    if default is not None:
        options["default"] = _Whole(default, type(start)())
    return tyro.cli(whole, **options).config


def differing(config: Any, other: Any, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Option and the other's value, for every field in which two configurations of one class differ."""
    for one in fields(config):
        ours, theirs = getattr(config, one.name), getattr(other, one.name)
        name = prefix + one.name.replace("_", "-")
        if is_dataclass(ours) and type(ours) is type(theirs):
            yield from differing(ours, theirs, f"{name}.")
        elif ours != theirs:
            yield name, theirs
