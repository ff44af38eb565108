"""Every command that needs an extra says which one in a line, where the extra is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STUDY = Path(__file__).resolve().parents[3] / "benchmarks" / "study" / "small.toml"
PACKAGES = (
    "coacd", "mlflow", "mujoco_menagerie", "onnx", "onnxruntime", "onnxscript", "pyarrow", "ray", "submitit", "trimesh",
    "viser", "wandb",
)  # fmt: skip
NEEDS = {
    "view zoo:state": "view",
    "export zoo:state": "export",
    "deploy policy.onnx": "export",
    "export-lerobot data out": "lerobot",
    "train-student --data theirs": "lerobot",
    "objects import meshes set": "objects",
    "robot init menagerie:kuka_iiwa_14 menagerie:leap_hand/right_hand": "robots",
    "study study.toml --jobs slurm": "slurm",
    "train-teacher state --logger wandb": "wandb",
    "train-teacher state --logger mlflow": "mlflow",
    "train-teacher state --sims cpu*2": "distributed",
}
"""Extra by command line, in a folder where what it names is there."""
PROGRAM = f"""
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import PathFinder

find = PathFinder.find_spec
hidden = lambda name, *rest: None if name.partition(".")[0] in {PACKAGES!r} else find(name, *rest)
PathFinder.find_spec = staticmethod(hidden)
from handsight.distill.commands.cli import main

answers = {{}}
for words in {list(NEEDS)!r}:
    with redirect_stderr(io.StringIO()) as said, redirect_stdout(io.StringIO()):
        try:
            code = main(words.split())
        except Exception as error:
            code = repr(error)
    answers[words] = [code, [line for line in said.getvalue().splitlines() if "loading" not in line]]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit code and lines of each command, in one process that finds none of the packages."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "theirs/meta").mkdir(parents=True)
    (folder / "theirs/meta/info.json").write_text('{"codebase_version": "v3.0"}')
    (folder / "meshes").mkdir()
    (folder / "study.toml").write_text(STUDY.read_text())
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", NEEDS)
def test_a_command_names_the_extra_that_it_lacks_in_one_line(answers, words):
    code, lines = answers[words]
    assert code == 2 and f"pip install 'handsight[{NEEDS[words]}]'" in lines[-1], (code, lines)
