"""Whoever names an option, a refusal or a page of the documentation, names one that exists."""

import ast
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from handsight.distill.commands import cli
from handsight.distill.commands.options import Training, Worlds
from handsight.distill.runs import provenance

ROOT = Path(provenance.__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*)")
FIELD = re.compile(r"(?<![\w./-])([a-z][a-z_]*(?:\.[a-z_]+)+)(?![\w./(*-])")
OTHERS = {
    "help",
    "plugin",
    "version",
    "extra",
    "show-toplevel",
    "porcelain",
    "tyro-print-completion",
    "tyro-write-completion",
}
"""Options of the program itself, of uv and of git."""
FILES = re.compile(
    r"\.(json|csv|toml|html|md|npz|ckpt|safetensors|hdf5|mp4|png|parquet|pth|ninja|library|list_models|asdict)$|^handsight\."
)


def names(config_class, prefix=""):
    """Dotted names of all options that a frozen dataclass gives rise to."""
    for one in fields(config_class):
        hint, name = get_type_hints(config_class, include_extras=True)[one.name], prefix + one.name.replace("_", "-")
        yield from (alias.removeprefix("--") for mark in parts(hint) for alias in getattr(mark, "aliases", None) or ())
        inner = [kind for kind in parts(hint) if isinstance(kind, type) and is_dataclass(kind)]
        yield name
        head, _, last = name.rpartition(".")
        yield f"{head}.no-{last}".lstrip(".")
        for kind in inner:
            yield from names(kind, f"{name}.")


def parts(hint):
    yield hint
    for part in get_args(hint):
        yield from parts(part)


@pytest.fixture(scope="module")
def options():
    classes = [cli._found(f"commands.arguments.{command.config}") for command in cli.COMMANDS.values()]
    return {name for one in (*classes, Training, Worlds) for name in names(one)}


def strings(path):
    """(line, text) of what a module may say: its strings, those with values in them too, but no docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def sources():
    return sorted(path for room in provenance.ROOMS for path in (ROOT / room).rglob("*.py"))


def test_every_option_that_is_named_anywhere_in_the_package_exists(options):
    said = [
        (path.name, line, name)
        for path in sources()
        for line, text in strings(path)
        for name in OPTION.findall(text)
        if name not in options | OTHERS and f"{name}." not in "".join(options)
    ]
    assert not said


def test_every_field_that_a_refusal_names_is_an_option(options):
    """Dotted ones, e.g. ppo.minibatches: a person reads them as --ppo.minibatches."""
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise):
                said = [one for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                found = {name for one in said for name in FIELD.findall(one.value) if not FILES.search(name)}
                wrong += [(path.name, node.lineno, name) for name in found if name.replace("_", "-") not in options]
    assert not wrong


def test_every_option_in_the_documentation_exists(options):
    """In lines that show a command of ours."""
    said = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in page.read_text().splitlines():
            if "handsight " in line:
                said += [(page.name, name) for name in OPTION.findall(line) if name not in options | OTHERS]
    assert not said
