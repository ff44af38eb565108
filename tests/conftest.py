"""One thread: the tests' networks are tiny, and threads that wait for each other are what would take the time.

And interpreters for the Isaac Gym worker: ours, and a true Python 3.8 with the NumPy that Isaac Gym can live with.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; subprocesses inherit it
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

NUMPY = "numpy==1.23.5"
ISAACGYM_FAKE = Path(__file__).with_name("isaacgym_fake")
"""What stands for Isaac Gym where there is none."""
sys.path.append(str(ISAACGYM_FAKE))  # at the end: it has a torch, too


def _python38() -> str | None:
    """A Python 3.8 that runs: $HANDSIGHT_PYTHON38, on the PATH, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = [
        os.environ.get("HANDSIGHT_PYTHON38"),
        shutil.which("python3.8"),
        *sorted(pyenv.glob("3.8.*/bin/python3.8")),
    ]
    for python in filter(None, named):
        done = subprocess.run([python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == "(3, 8)":
            return str(python)
    return None


@pytest.fixture(scope="session")
def python38(pytestconfig) -> str:
    """An environment of Python 3.8 with NumPy, made once and kept in pytest's cache."""
    found = _python38()
    if found is None:
        pytest.skip("no Python 3.8 on this machine: set HANDSIGHT_PYTHON38 to one")
    folder = Path(pytestconfig.cache.mkdir("python38"))
    python = folder / "bin" / "python"
    ready = python.exists() and not subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode
    if not ready:
        make = ["uv", "venv", "--quiet", "--clear", "--python", found, folder]
        for command in (make, ["uv", "pip", "install", "--quiet", "--python", python, NUMPY]):
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder.anchor)  # not under our pyproject
            if done.returncode:
                pytest.skip(f"uv cannot give Python 3.8 its {NUMPY}: {done.stderr.strip().splitlines()[-1:]}")
    return str(python)


@pytest.fixture
def isaacgym_fake(monkeypatch) -> None:
    """Workers that are started now import the fake in Isaac Gym's place."""
    monkeypatch.setenv("PYTHONPATH", str(ISAACGYM_FAKE))


@pytest.fixture(params=["ours", "3.8"])
def isaac_python(request) -> str:
    """The interpreter that a worker runs under."""
    return sys.executable if request.param == "ours" else request.getfixturevalue("python38")


@pytest.fixture(scope="session")
def ray_cluster():
    """One Ray for all tests, whose processes find the toy worlds by name: its start takes seconds."""
    from handsight.sims.remote.cluster import start_ray, stop_ray

    worlds = str(Path(__file__).parent / "sims" / "remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(worlds)
        patch.setenv("PYTHONPATH", worlds, prepend=os.pathsep)
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # or each of ten processes compiles everything anew
        start_ray()
        yield
        stop_ray()
