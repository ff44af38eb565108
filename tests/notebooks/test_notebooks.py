"""The notebooks: short, without logic, with outputs, and they still run."""

import ast
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ..distill import synthetic_study

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TRAIN = ("01_train_teachers", "02_distill_depth_to_stereo", "03_state_vs_depth")
"""Those that train even at toy size: a minute each."""
COMMITTED = FOLDER.parent / "benchmarks" / "results" / "study"
ALLOWED = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
"""Statements of a cell: no functions, classes, loops or branches."""


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def sources(path: Path) -> list[str]:
    return ["\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
            for cell in read(path).cells if cell.cell_type == "code"]  # fmt: skip


def test_there_are_the_four_notebooks():
    wanted = ["01_train_teachers", "02_distill_depth_to_stereo", "03_state_vs_depth", "04_disaggregated"]
    assert [path.stem for path in NOTEBOOKS] == wanted


@named(NOTEBOOKS)
def test_notebook_is_short_and_calls_functions_only(path):
    assert len(read(path).cells) < 15
    for source in sources(path):
        for statement in ast.parse(source).body:
            assert isinstance(statement, ALLOWED), f"{path.name} has logic: {ast.unparse(statement)[:80]}"
            assert not any(isinstance(node, ast.Lambda) for node in ast.walk(statement))


@named(NOTEBOOKS)
def test_notebook_was_run_from_top_to_bottom_and_shows_something(path):
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)


@named(NOTEBOOKS)
def test_notebook_names_no_place_on_a_machine(path):
    text = path.read_text()
    found = re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|opt|var)/[\w/.-]{0,40}", text)
    assert not found


def run(path: Path, folder: Path, study: Path) -> None:
    """Execute at toy size, in a folder beside copies of nothing: what it writes goes there."""
    book = read(path)
    environment = {"HANDSIGHT_TOY": "1", "HANDSIGHT_STUDY": str(study), "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    place = folder / "notebooks"
    place.mkdir()
    (folder / "benchmarks").symlink_to(FOLDER.parent / "benchmarks")
    try:
        NotebookClient(book, timeout=600, resources={"metadata": {"path": str(place)}}).execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The committed study, or an invented one as long as there is none."""
    if (COMMITTED / "study.json").is_file():
        return COMMITTED
    folder = tmp_path_factory.mktemp("study")
    synthetic_study.study(seeds=2).save(folder)
    return folder


@named([path for path in NOTEBOOKS if path.stem not in TRAIN])
def test_notebook_runs(path, study, tmp_path):
    run(path, tmp_path, study)


@pytest.mark.slow
@named([path for path in NOTEBOOKS if path.stem in TRAIN])
def test_notebook_that_trains_runs(path, study, tmp_path):
    run(path, tmp_path, study)
