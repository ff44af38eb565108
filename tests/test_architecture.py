"""The shape of the house, read from its source."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BELOW = {
    "errors": set(),
    "sims": {"errors"},
    "policies": {"errors"},
    "teachers": {"errors", "sims", "policies"},
    "students": {"errors", "sims", "policies"},
    "datasets": {"errors", "sims", "policies"},
    "distill": {"errors", "sims", "policies", "teachers", "students", "datasets"},
}
"""What each room may import, besides itself."""
ROOMS = [room for room in BELOW if (ROOT / room).is_dir()]
QUIET = ("sims", "policies", "teachers", "students")
"""Rooms without side effects."""
READS_FILES_ONLY = "isaac_worker.py"
"""A program for another interpreter, in a process of its own: Isaac Gym imports robots from files only."""
SOURCES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
ALL_PYTHON = sorted({*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")})
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
FILE_LINES, FUNCTION_LINES = 400, 60


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a file imports, wherever it stands; the house is `handsight`."""
    package = ("handsight", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _calls(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every call, e.g. "torch.load" or ".read_text" where the object has no simple name."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.lineno, node.func.id
            elif isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                yield node.lineno, f"{owner}.{node.func.attr}"


@pytest.mark.parametrize("path", [path for path in SOURCES if _room(path) in BELOW], ids=_name)
def test_arrows_go_one_way(path):
    allowed = BELOW[_room(path)] | {_room(path), "__version__"}
    wrong = [
        f"line {line}: {name}"
        for line, name in _imports(path)
        if name.startswith("handsight") and name.split(".")[1:2] and name.split(".")[1] not in allowed
    ]
    assert not wrong, f"{_name(path)} may import {sorted(allowed)}; found {wrong}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_inside_the_house_are_relative(path):
    absolute = [
        node.lineno
        for node in ast.walk(_tree(path))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "handsight" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "handsight")
    ]
    assert not absolute, f"{_name(path)} imports handsight by name in lines {absolute}"


@pytest.mark.parametrize("path", ALL_PYTHON, ids=_name)
def test_files_and_functions_are_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LINES, f"{_name(path)} has {lines} lines, at most {FILE_LINES}"
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(_tree(path))
        if isinstance(node, FUNCTION) and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    }
    assert not long, f"functions of more than {FUNCTION_LINES} lines in {_name(path)}: {long}"


@pytest.mark.parametrize("path", ALL_PYTHON, ids=_name)
def test_nothing_is_pickled(path):
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = {"torch.load", "torch.save", "torch.hub.load", "pd.read_pickle"}
    wrong = [f"line {line}: import {name}" for line, name in _imports(path) if name.split(".")[0] in modules]
    wrong += [
        f"line {line}: {name}" for line, name in _calls(path) if name in calls or name.endswith(".load_from_checkpoint")
    ]
    wrong += [
        f"line {node.value.lineno}: allow_pickle"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True)
    ]
    assert not wrong, f"{_name(path)}: {wrong}"


@pytest.mark.parametrize("path", [path for path in SOURCES if _room(path) in QUIET], ids=_name)
def test_rooms_below_distill_have_no_side_effects(path):
    calls = {"print", "open", "input", "sys.exit"}
    methods = ("open", "read_text", "write_text", "read_bytes", "write_bytes", "mkdir", "unlink")
    modules = {"argparse", "tyro", "rich", "logging", "matplotlib"}
    wrong = [f"line {line}: import {name}" for line, name in _imports(path) if name.split(".")[0] in modules]
    wrong += [
        f"line {line}: {name}"
        for line, name in _calls(path)
        if (name in calls or name.endswith(tuple(f".{method}" for method in methods)))
        and not (path.name == READS_FILES_ONLY and name == "open")
    ]
    assert not wrong, f"{_name(path)}: {wrong}"


def _is_frozen_dataclass(node: ast.ClassDef) -> bool:
    return any(
        isinstance(mark, ast.Call)
        and getattr(mark.func, "id", getattr(mark.func, "attr", "")) == "dataclass"
        and any(word.arg == "frozen" and getattr(word.value, "value", False) for word in mark.keywords)
        for mark in node.decorator_list
    )


def _configs(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Config", "Args")):
            yield node


@pytest.mark.parametrize("path", [path for path in SOURCES if any(_configs(path))], ids=_name)
def test_every_field_of_a_configuration_is_explained(path):
    for config in _configs(path):
        where = f"{_name(path)}: {config.name}"
        assert _is_frozen_dataclass(config), f"{where} is no frozen dataclass"
        assert ast.get_docstring(config), f"{where} has no docstring"
        for field, after in zip(config.body, [*config.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                explained = isinstance(after, ast.Expr) and isinstance(getattr(after.value, "value", None), str)
                assert explained, f"{where}.{ast.unparse(field.target)} (line {field.lineno}) has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_file_has_an_idea_and_says_it(path):
    assert path.stem not in ("utils", "util", "helpers", "common", "misc", "base")
    text = path.read_text().strip()
    assert not text or ast.get_docstring(_tree(path)), f"{_name(path)} has no docstring"


def _tracked() -> list[Path]:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_no_package_index_is_named():
    words = re.compile("|".join(["python" + "hosted", r"pypi\.o" + "rg/simple", "index-" + "url", "find-" + "links"]))
    found = []
    for path in _tracked():
        if path.is_file() and path.stat().st_size < 1_000_000:
            found += [f"{_name(path)}: {match}" for match in words.findall(path.read_text(errors="ignore"))]
    assert not found, f"which index to use is the user's choice: {found}"


def test_lock_file_is_not_committed():
    assert ROOT / "uv.lock" not in _tracked()  # it names the hosts of one machine's index


def test_every_room_is_packaged():
    packages = re.findall(r'"handsight\.(\w+)"', (ROOT / "pyproject.toml").read_text())
    assert sorted(packages) == sorted(ROOMS)
