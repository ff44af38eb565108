"""The notebooks: short, without logic, with outputs that open with results, and they still run, from a wheel, too."""

import ast
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ..distill import synthetic_study

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TRAIN = ("01_train_teachers", "02_distill_depth_to_stereo", "03_state_vs_depth")
"""Those that train even at toy size: a minute each."""
FILMED = TRAIN[:2]
MOST_BYTES = 1_500_000
"""Size of a notebook with its outputs."""
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
def test_notebook_opens_with_results_before_it_trains(path):
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    trained = [number for number, cell in enumerate(cells) if re.search(r"\btrain_\w+\(", cell.source)]
    shown = [number for number, cell in enumerate(cells) if cell.outputs]
    assert shown[0] == 1 and len([number for number in shown if number < (trained or [9])[0]]) >= 3
    assert "<table>" in "".join(one.get("data", {}).get("text/html", "") for one in cells[1].outputs)


@named(NOTEBOOKS)
def test_notebook_has_films_and_tables_in_it_and_no_wall_of_lines(path):
    outputs = [output for cell in read(path).cells if cell.cell_type == "code" for output in cell.outputs]
    page = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert ("<video controls" in page) == (path.stem in FILMED) and "<table>" in page
    assert path.stat().st_size < MOST_BYTES
    assert "\\u001b" not in path.read_text()
    streams = [output for output in outputs if output.output_type == "stream"]
    assert max((output.text.count("\n") for output in streams), default=0) < 12
    assert not [output for output in streams if output.name == "stderr"]


@named(NOTEBOOKS)
def test_notebook_names_no_place_on_a_machine(path):
    text = path.read_text()
    found = re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|opt|var)/[\w/.-]{0,40}", text)
    assert not found


@named(NOTEBOOKS)
def test_notebook_reads_nothing_but_what_the_wheel_holds(path):
    code = "\n".join(sources(path))
    assert ".." not in code and "__file__" not in code.replace("Path(handsight.__file__).parent", "")
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["handsight"]
    results = {f"benchmarks/results/{name}" for name in re.findall(r'results / "([\w.]+)"', code)}
    for file in {f"notebooks/{path.name}", *results} - {"benchmarks/results/study.json"}:  # the one that is asked for
        assert (ROOT / file).is_file() and any(fnmatch.fnmatch(file, pattern) for pattern in told), file


def run(path: Path, folder: Path, study: Path, kernel: str = "python3") -> nbformat.NotebookNode:
    """Execute at toy size, in an empty folder: what it writes goes there."""
    book = read(path)
    environment = {"HANDSIGHT_TOY": "1", "HANDSIGHT_STUDY": str(study), "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        how = {"timeout": 600, "resources": {"metadata": {"path": str(folder)}}}
        return NotebookClient(book, kernel_name=kernel, **how).execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's results, invented."""
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A folder with a kernel of an environment of its own, in which the wheel is installed; of the environment of the
    tests it has only what the wheel depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = ("tests", "runs", "build", "dist", "site", "notebooks/runs", "benchmarks/results/study")
    left = {ROOT / name for name in unwanted}
    shutil.copytree(ROOT, folder / "source", ignore=lambda at, names: [
        name for name in names if name[0] == "." or name.endswith(".egg-info") or Path(at) / name in left
    ])  # fmt: skip
    how = ["--wheel", "--no-isolation", "--outdir", folder, folder / "source"]
    subprocess.run([sys.executable, "-m", "build", *how], check=True, capture_output=True)
    shutil.rmtree(folder / "source")
    venv.create(folder / "clean", symlinks=True)
    (packages,) = (folder / "clean" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(*folder.glob("*.whl")).extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])  # its own .pth files are not read
    kernel = folder / "kernels" / "wheel" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    python = [str(folder / "clean" / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": python, "display_name": "wheel", "language": "python"}))
    return folder


@pytest.mark.slow
@named(NOTEBOOKS)
def test_notebook_of_the_wheel_runs_away_from_the_checkout(path, wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(wheel))
    (inside,) = (wheel / "clean").glob(f"lib/python*/site-packages/handsight/notebooks/{path.name}")
    book = run(inside, tmp_path, tmp_path / "none", kernel="wheel")
    said = "".join(one.text for cell in book.cells for one in cell.get("outputs", []) if one.output_type == "stream")
    assert ("HANDSIGHT_STUDY names that folder" in said) == (path.stem == "03_state_vs_depth")
    where = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import handsight; print(handsight.__file__)")])
    (found,) = NotebookClient(where, kernel_name="wheel").execute().cells[0].outputs
    assert Path(found.text.strip()).is_relative_to(wheel)
