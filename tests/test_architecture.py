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
    "lazy": set(),
    "files": {"errors"},
    "plugins": {"errors"},
    "ranges": {"errors"},
    "sims": {"errors", "files", "plugins", "ranges"},
    "policies": {"errors"},
    "teachers": {"errors", "ranges", "sims", "policies"},
    "students": {"errors", "plugins", "ranges", "sims", "policies"},
    "datasets": {"errors", "files", "sims", "policies"},
    "distill": {"errors", "files", "plugins", "ranges", "sims", "policies", "teachers", "students", "datasets"},
}
"""What each room may import, besides itself."""
ROOMS = [room for room in BELOW if (ROOT / room).is_dir()]
QUIET = ("sims", "policies", "teachers", "students")
"""Rooms without side effects."""
READ_ONLY = {
    f"handsight.files.{name}"
    for name in ("is_alive", "memory_limits", "read_arrays", "read_json", "read_text", "read_toml")
}
"""What they may import of `files`: nothing that writes."""
READS_FILES_ONLY = "sims/isaacgym/worker.py"
"""A program for another interpreter, in a process of its own: Isaac Gym imports robots from files only."""
SOURCES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
ALL_PYTHON = sorted({*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")})
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
FILE_LINES, FUNCTION_LINES = 400, 60
FLOORS = {"runs": 1, "evaluation": 1, "training": 2, "report": 2, "study": 3, "viewer": 3, "commands": 4}
"""Of the rooms inside distill: each may import those below it, and itself."""
BEHIND_MAKE = ("sims.remote", "sims.isaacgym")
"""Rooms that only `sims.make` knows inside sims."""
NO_TASKS = ("sims.robots", "sims.objects", "sims.engines")
"""Rooms that must not know what is to be done with them."""
FOLDER_FILES = 25
PACKAGE_LINES = 30_081
"""The ratchet: lines of all packages. It falls; it rises only by an issue's named line budget, said in CHANGELOG.md."""


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
    allowed = BELOW[_room(path)] | {_room(path), "__version__", "lazy"}
    wrong = [
        f"line {line}: {name}"
        for line, name in _imports(path)
        if name.startswith("handsight") and name.split(".")[1:2] and name.split(".")[1] not in allowed
    ]
    assert not wrong, f"{_name(path)} may import {sorted(allowed)}; found {wrong}"


def _module(path: Path) -> str:
    """Dotted name inside the house: "sims.tasks.grasp"; "sims" for its __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in SOURCES}


def _known_by(path: Path) -> set[str]:
    """Modules of the house that a file imports, late and for type checking, too."""
    found = set()
    for _, name in _imports(path):
        module = name.removeprefix("handsight").removeprefix(".")
        if name.startswith("handsight"):
            found.add(module if module in MODULES else module.rpartition(".")[0])
    return found - {_module(path)}


def test_no_imports_go_in_a_circle():
    circles = [group for group in _circles({module: _known_by(path) for module, path in MODULES.items()})]
    assert not circles, f"these import each other: {circles}"


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other: what is left when leaves and roots are taken off again and again."""
    left = {node: {other for other in known if other in graph} for node, known in graph.items()}
    while True:
        wanted = set().union(*left.values()) if left else set()
        ends = {node for node, known in left.items() if not known or node not in wanted}
        if not ends:
            return [sorted(left)] if left else []
        left = {node: known - ends for node, known in left.items() if node not in ends}


def test_a_circle_is_found():
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert _circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("path", [path for path in SOURCES if _room(path) == "distill"], ids=_name)
def test_distill_is_built_floor_by_floor(path):
    room = _module(path).split(".")[1:2]
    own = room[0] if room and room[0] in FLOORS else None
    for module in _known_by(path):
        other = module.split(".")[1] if module.startswith("distill.") else None
        if own is not None and other is not None and other != own:
            assert FLOORS[other] < FLOORS[own], f"{_name(path)} (floor {FLOORS[own]}) imports {module}"


def test_every_file_of_distill_lies_in_a_room():
    assert {path.parent.name for path in SOURCES if _room(path) == "distill"} == {"distill", *FLOORS}
    assert [path.name for path in (ROOT / "distill").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", [path for path in SOURCES if _room(path) == "sims"], ids=_name)
def test_rooms_of_sims_know_only_what_they_need(path):
    module = _module(path)
    for other in _known_by(path):
        if module.startswith(NO_TASKS):
            assert not other.startswith("sims.tasks"), f"{_name(path)} imports {other}"
        for room in BEHIND_MAKE:
            if other.startswith(room) and not module.startswith(room):
                assert module == "sims.make", f"{_name(path)} imports {other}: only sims.make may"


def test_folders_are_small_enough_to_know():
    counts = {folder: len(list(folder.glob("*.py"))) for folder in {path.parent for path in SOURCES}}
    assert max(counts.values()) <= FOLDER_FILES, {str(k): v for k, v in counts.items() if v > FOLDER_FILES}


def test_the_house_does_not_grow():
    lines = sum(len(path.read_text().splitlines()) for path in SOURCES)
    assert lines <= PACKAGE_LINES, f"{lines:,} lines in the packages, at most {PACKAGE_LINES:,}: which idea can go?"
    assert lines > PACKAGE_LINES - 300, f"{lines:,} lines: lower PACKAGE_LINES, so that it cannot grow back"


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring of a public function, class, field or constant."""
    public = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name[0] != "_")]
    for owner in public:
        for node, after in zip(owner.body, [*owner.body[1:], None], strict=True):
            name = getattr(node, "name", None)
            if name is None and isinstance(node, ast.AnnAssign | ast.Assign):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                name = getattr(target, "id", "_")
                value = getattr(getattr(after, "value", None), "value", None) if isinstance(after, ast.Expr) else None
                text = value if isinstance(value, str) else None
            elif isinstance(node, (*FUNCTION, ast.ClassDef)):
                text = ast.get_docstring(node)
            else:
                continue
            if text and name and not name.startswith("_"):
                yield node.lineno, text


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_docstrings_make_sense_alone(path):
    poor = [
        (line, text)
        for line, text in _docstrings(_tree(path))
        if text.startswith("Of ") or ("\n" not in text and len(text.split()) < 4)
    ]
    assert not poor, f"{_name(path)}: too short, or begun elsewhere, for who meets them in an editor: {poor}"


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


FOREIGN = {"distill/runs/foreign.py": "torch.load", "tests/distill/commands/test_import_policy.py": "torch.save"}
"""Files of other libraries: their weights alone are read, by torch's reader that runs nothing; its test makes some."""


def test_what_others_pickled_is_read_as_weights_only():
    reads = [node for node in ast.walk(_tree(ROOT / "distill" / "runs" / "foreign.py")) if isinstance(node, ast.Call)]
    loads = [node for node in reads if ast.unparse(node.func) == "torch.load"]
    words = [{word.arg: ast.unparse(word.value) for word in node.keywords} for node in loads]
    assert [one.get("weights_only") for one in words] == ["True"]


@pytest.mark.parametrize("path", ALL_PYTHON, ids=_name)
def test_nothing_is_pickled(path):
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = {"torch.load", "torch.save", "torch.hub.load", "pd.read_pickle"} - {FOREIGN.get(_name(path))}
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
        and not (_name(path) == READS_FILES_ONLY and name == "open")
    ]
    wrong += [name for _, name in _imports(path) if name.startswith("handsight.files") and name not in READ_ONLY]
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
    packages = re.findall(r'^    "handsight\.([\w.]+)",', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert sorted(packages) == sorted({_module(path / "__init__.py") for path in {p.parent for p in SOURCES} - {ROOT}})
