"""The reference: a page of each command, of the parser that reads it, and a page of each package's public names."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

import tyro

import handsight.sims  # noqa: F401  (before torch)
from handsight.distill.commands import cli

PACKAGES = ("sims", "policies", "teachers", "students", "datasets", "distill")
WORDS = {"train-teacher": ("state", "depth"), "train-student": ("--teacher zoo:depth",)}
"""What stands behind a command's name for its help to be whole."""
DEFAULT = re.compile(r"\s*\((?:default|repeatable.*default): (?P<default>.*)\)$|\s*\((?P<required>required)\)$", re.S)
PLACES = re.compile(r"docs/([\w-]+)\.md")


def pages() -> Iterator[tuple[str, str]]:
    """(path below docs, Markdown) of every page."""
    yield "reference/commands/index.md", _overview()
    for name in cli.COMMANDS:
        yield f"reference/commands/{_file(name)}.md", _command(name)
    yield from ((f"reference/{name}.md", _package(name)) for name in PACKAGES)


def _file(name: str) -> str:
    return name.replace(" ", "-")


def _overview() -> str:
    rows = []
    for name, command in cli.COMMANDS.items():
        about = command.about.replace("|", "\\|")
        rows.append(f"| [`{name}`]({_file(name)}.md) | {about} |")
    text = """# Commands

`handsight COMMAND --help` says in a terminal what these pages say; they are made of the same parsers.

| command | what it does |
| --- | --- |
{rows}

Where a run is expected (`RUN`, `PATH`) a run folder, a checkpoint in one, or a name of the [zoo](../../zoo.md) will do.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | done |
| 2 | a mistake that the message explains: what, where, what was expected, what is available |
| 128 + n | stopped by signal n, after saving what is worth it: 130 after Ctrl-C |
| 1 | a defect of Handsight, with its traceback |
"""
    return text.format(rows="\n".join(rows))


def parser(words: list[str]) -> argparse.ArgumentParser:
    """The parser that reads a command line, the defaults that its beginning chooses included."""
    seen: list[tuple[Any, dict[str, Any]]] = []

    def note(what: Any, **options: Any) -> Any:
        if options.get("return_unknown_args"):  # the first of two readings
            return read(what, **options)
        seen.append((what, options))
        raise SystemExit(0)

    read = tyro.cli
    with mock.patch.object(tyro, "cli", note), contextlib.suppress(SystemExit):
        cli.main([*words, "--help"])
    ((what, options),) = seen
    keep = {name: value for name, value in options.items() if name in ("prog", "description", "default", "config")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return tyro.extras.get_parser(what, **keep)


def _command(name: str) -> str:
    variants = WORDS.get(name, ("",))
    about = cli.COMMANDS[name].about
    text = [f"# handsight {name}", f"{about[0].upper()}{about[1:]}." if "|" not in about else ""]
    shown: set[str] = set()
    for words in variants:
        found = parser([*name.split(), *words.split()])
        positional = [one.metavar for one in found._actions if not one.option_strings]
        if len(variants) > 1:
            text.append(f"## {words}")
        text.append(
            f"```text\nhandsight {' '.join([name, words, *positional]).strip()} [OPTIONS]\n```".replace("  ", " ")
        )
        text.append(_clean(found.description or ""))
        if shown:
            text.append(f"As for `{variants[0]}`, but for what follows.")
        if words.startswith("--"):
            text.append(f"Defaults are those that follow `{words}`: what a student does depends on its teacher.")
        for group in found._action_groups:
            rows = [_option(one) for one in group._group_actions if "--help" not in one.option_strings]
            rows, shown = [row for row in rows if row not in shown], shown | set(rows)
            if rows:
                level = "###" if len(variants) > 1 else "##"
                text += [f"{level} {_title(group.title)}", _clean(group.description or ""), *rows]
    return "\n\n".join(filter(None, text)) + "\n"


def _title(title: str | None) -> str:
    words = (title or "").strip()
    return (
        f"`--{words.removesuffix(' options')}.*`" if "." in words or words.endswith(" options") else words.capitalize()
    )


def _option(action: argparse.Action) -> str:
    """One entry of a definition list."""
    help_text = _clean(action.help or "")
    end = DEFAULT.search(help_text)
    about = help_text[: end.start()] if end else help_text
    metavar = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or ())
    names = ", ".join(action.option_strings) or metavar
    value = metavar if action.option_strings and action.nargs != 0 and metavar else ""
    said = f" default `{end['default']}`" if end and end["default"] else (" **required**" if end else "")
    return f"`{f'{names} {value}'.strip()}`{said}\n:   {about or '-'}"


def _clean(text: str) -> str:
    """Text of a terminal as Markdown: one paragraph, pages of docs as links."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    return PLACES.sub(lambda place: f"[{place[0]}](../../{place[1]}.md)", text)


def _package(name: str) -> str:
    package = importlib.import_module(f"handsight.{name}")
    text = [f"# handsight.{name}", (package.__doc__ or "").partition("\n\n")[0]]
    text.append(f"`from handsight.{name} import ...`; what follows is all that is meant to be imported from here.")
    text += [f"::: handsight.{name}.{public}" for public in package.__all__]
    return "\n\n".join(text) + "\n"
