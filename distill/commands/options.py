"""The options of a command, derived by tyro from its dataclass and from what its configuration begins with.

What a command line begins with (a preset, a scene, the teacher of a student, ...) decides the defaults that all other
options change, so it is read twice by the same parser: `beginning` for these alone, then `parse` for all of it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, Union, get_type_hints

import tyro

from ...errors import HandsightError
from ...files import read_text
from ...sims.env_config import EngineName, EnvConfig
from ...sims.scenes import with_cameras, with_image
from ..evaluation.chosen import Chosen
from ..runs.zoo import RunPath

Config = TypeVar("Config")
Start = TypeVar("Start", bound="FromFile")


@dataclass(frozen=True)
class FromFile:
    """Options that stand in a file."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml|FILE.json")] = None
    """Options from a file, named as here, their dots as tables; null leaves one as it is, and the command line changes
    what the file says."""


@dataclass(frozen=True)
class Worlds(Chosen, FromFile):
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
        own = {one.name for one in fields(Worlds)} - {one.name for one in fields(FromFile)}
        return any(getattr(self, name) is not None for name in own)

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
    like: RunPath | None = None
    """Run whose configuration this training begins with, instead of a preset's; further options change it."""
    resume: RunPath | None = None
    """Run folder to go on with, under its own configuration. What it ran on is not saved: `--device`, `--sims`,
    `--env.isaac.python` and the like are given again, as is `--robot FILE.toml`. `--iterations N` trains on to N of
    them; `--teacher` (`--driver`, `--warm-start`, `--data`) says where that is now, if it was moved. No other option is
    allowed."""


def with_file(config_class: type, words: Sequence[str], prog: str) -> list[str]:
    """The words of a command line with those before them that its --config FILE stands for.

    Raises:
        HandsightError: the file is missing, or no TOML or JSON of names and values.
    """
    path = beginning(FromFile, words, prog)[0].start.config
    if path is None:
        return list(words)
    try:
        text = read_text(path, HandsightError)
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise HandsightError(f"--config {path}: expected a TOML or JSON file, found {error}") from error
    if not isinstance(tree, dict):
        raise HandsightError(f"--config {path}: expected names and values, found a {type(tree).__name__}")
    tree = tree["config"] if isinstance(tree.get("config"), dict) else tree  # a run's config.json
    hints = get_type_hints(config_class, include_extras=True)
    places = [name for name, hint in hints.items() if tyro.conf.Positional in getattr(hint, "__metadata__", ())]
    own = list(takewhile(lambda word: not word.startswith("-"), words))
    first = own or [word for name in places if name in tree for word in _words(tree[name])]
    named = {name: value for name, value in tree.items() if name.replace("-", "_") not in places}
    return [*first, *_options(named), *words[len(own) :]]


def _options(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The words that set what a nested table says. Raises HandsightError: it holds cameras."""
    for name, value in tree.items():
        option = f"--{prefix}{name}".replace("_", "-")
        if isinstance(value, Mapping):
            yield from _options(value, f"{prefix}{name}.")
        elif name == "cameras" and isinstance(value, list):  # tables, which no option holds
            if value:
                raise HandsightError(f"--config: {prefix}{name} have a file of their own: --cameras FILE.toml")
        elif isinstance(value, bool):
            yield option if value else f"--{prefix}no-{name}".replace("_", "-")
        elif value is not None:
            yield from (option, *_words(value))


def _words(value: Any) -> list[str]:
    return [word for one in value for word in _words(one)] if isinstance(value, list) else [str(value)]


@dataclass(frozen=True)
class _Peek(Generic[Start]):
    """What decides the defaults, and also stands in the configuration that they are of."""

    start: Annotated[Start, tyro.conf.arg(name="")]
    teacher: RunPath | None = None
    data: Path | None = None
    warm_start: RunPath | None = None


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
    start: FromFile | None = None,
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


def completion(commands: Mapping[str, tuple[type[FromFile], type]], words: Sequence[str]) -> str:
    """A shell's completion script for all commands, as tyro writes it.

    Args:
        commands: by name, of one or two words, what a command begins with and its configuration.
        words: tyro's own, e.g. --tyro-print-completion bash.
    """
    tree: dict[str, dict[str, Any]] = {}
    for name, (start, config) in commands.items():
        first, _, second = name.partition(" ")
        whole: Any = _Whole[start, config]  # pyright: ignore[reportInvalidTypeForm]
        tree.setdefault(first, {})[second] = Annotated[whole, tyro.conf.subcommand(second or first)]
    either = [
        kinds[""] if "" in kinds else Annotated[Union[tuple(kinds.values())], tyro.conf.subcommand(first)]  # noqa: UP007
        for first, kinds in tree.items()
    ]
    every: Any = Union[tuple(either)]  # noqa: UP007
    with redirect_stdout(StringIO()) as script, suppress(SystemExit):
        tyro.cli(every, prog="handsight", args=words, config=(tyro.conf.AvoidSubcommands,))
    lines = script.getvalue().splitlines()  # a description of several lines would be taken for several words
    return "\n".join(re.sub(r"(\\n)+", " ", one) if one.startswith("COMPLETION_SPEC") else one for one in lines) + "\n"


def differing(config: Any, other: Any, prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Option and the other's value, for every field in which two configurations of one class differ."""
    for one in fields(config):
        ours, theirs = getattr(config, one.name), getattr(other, one.name)
        name = prefix + one.name.replace("_", "-")
        if is_dataclass(ours) and type(ours) is type(theirs):
            yield from differing(ours, theirs, f"{name}.")
        elif ours != theirs:
            yield name, theirs
