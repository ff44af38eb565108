"""Every way in which the worker can fail is an error that says it, and none leaves a process behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from handsight.sims import EnvConfig, make
from handsight.sims.env_config import IsaacConfig
from handsight.sims.isaacgym import engine as isaac
from handsight.sims.isaacgym.process import WorkerError, WorkerProcess

ARRAYS = {"targets": ((4, 23), "float32")}
SPEAK = """
import json, os, socket, sys, time
start = json.loads(sys.argv[1])
control = socket.socket(fileno=start["control"]).makefile("rw")
def say(message):
    control.write(message + chr(10)); control.flush()
"""


pytestmark = pytest.mark.usefixtures("isaacgym_fake")


def start(program=isaac.WORKER, python=sys.executable, timeout=30.0):
    return WorkerProcess(python, program, ARRAYS, timeout)


def script(folder: Path, body: str) -> Path:
    path = folder / "worker.py"
    path.write_text(SPEAK + textwrap.dedent(body))
    return path


def is_gone(pid: int, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_killed_worker_is_named_with_its_signal():
    worker = start()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"worker.py \(process \d+\): the worker is gone, ended by SIGKILL"):
        worker.call("advance", substeps=1, reset=False, render=[])


def test_stopped_worker_is_named_and_does_not_stay(isaac_python):
    worker = start(python=isaac_python, timeout=60)
    worker.timeout = 1.0
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match=r"did not answer 'advance' in 1 s or more: its process is stopped"):
        worker.call("advance", substeps=1, reset=False, render=[])
    assert is_gone(worker.pid)


def test_silent_worker_is_named_and_does_not_stay(tmp_path):
    program = script(tmp_path, 'print("importing", flush=True); time.sleep(60)')
    with pytest.raises(WorkerError, match=r"(?s)did not answer 'start' in 2 s .* running.*\| importing"):
        start(program, timeout=2.0)


def test_worker_of_another_version_is_refused(tmp_path):
    program = script(tmp_path, 'say(json.dumps({"protocol": 2})); time.sleep(60)')
    with pytest.raises(WorkerError, match=r"speaks protocol 2, expected 1"):
        start(program)


def test_noise_on_the_channel_is_no_answer(tmp_path):
    program = script(tmp_path, 'say("Importing module gym_38"); time.sleep(60)')
    with pytest.raises(WorkerError, match=r"expected a line of JSON from the worker, found b'Importing module gym_38'"):
        start(program)


def test_last_words_of_a_dying_worker_are_shown(tmp_path):
    program = script(tmp_path, 'print("[Error] no CUDA device", file=sys.stderr); os._exit(3)')
    with pytest.raises(WorkerError, match=r"(?s)ended with exit code 3.*\| \[Error\] no CUDA device"):
        start(program)


def test_error_inside_the_worker_comes_with_its_traceback():
    worker = start()
    with pytest.raises(WorkerError, match=r"(?s)'nonsense' failed: ValueError: unknown command 'nonsense'.*Traceback"):
        worker.call("nonsense")
    assert is_gone(worker.pid)


def test_missing_interpreter_is_named():
    with pytest.raises(WorkerError, match=r"'/no/python3.8' is no interpreter that runs here .* --isaac-python PATH"):
        start(python="/no/python3.8")


def test_missing_binary_is_named(isaac_python, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(WorkerError, match=r"(?s)No module named 'isaacgym'.*expected NumPy, PyTorch and Isaac Gym"):
        start(python=isaac_python)


def test_without_a_named_interpreter_the_error_says_how_to_name_one(monkeypatch):
    monkeypatch.delenv("HANDSIGHT_ISAAC_PYTHON", raising=False)
    with pytest.raises(WorkerError, match="none is named: expected --isaac-python PATH or HANDSIGHT_ISAAC_PYTHON"):
        make(EnvConfig(engine="isaacgym"), ("state",), 2)


def test_interpreter_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("HANDSIGHT_ISAAC_PYTHON", "/somewhere/python3.8")
    with pytest.raises(WorkerError, match=r"'/somewhere/python3\.8'"):
        make(EnvConfig(engine="isaacgym"), ("state",), 2)


def test_missing_camera_tensors_are_explained():
    config = EnvConfig(engine="isaacgym", isaac=IsaacConfig(python=sys.executable, graphics_device=-1))
    env = make(config, ("depth",), 2)
    with pytest.raises(WorkerError, match=r"error 101\): graphics device -1 is not the GPU of compute device 0"):
        env.reset(0)
    assert is_gone(env.engine.worker.pid)


def test_a_configuration_of_the_first_edition_that_names_the_stand_in_is_still_read():
    assert TypeAdapter(IsaacConfig).validate_python({"python": "p", "stand_in": True}) == IsaacConfig(python="p")


def test_closed_worker_leaves_and_may_be_closed_again():
    worker = start()
    worker.close()
    worker.close()
    assert is_gone(worker.pid)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_worker_never_outlives_a_killed_owner(stopped, tmp_path):
    """The owner is killed, so it cannot clean up; a stopped worker cannot notice by itself either."""
    owner = tmp_path / "owner.py"
    sims = "handsight.sims"
    owner.write_text(
        textwrap.dedent(f"""
        import sys, time, types
        from pathlib import Path
        bare = sys.modules[{sims!r}] = types.ModuleType({sims!r})  # without its __init__, which imports torch
        bare.__path__ = [{str(isaac.WORKER.parents[1])!r}]
        from handsight.sims.isaacgym.process import WorkerProcess
        worker = WorkerProcess(sys.executable, Path({str(isaac.WORKER)!r}), {ARRAYS!r}, 60.0)
        print(worker.pid, flush=True)
        time.sleep(60)
        """)
    )
    with subprocess.Popen([sys.executable, owner], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        process.kill()
    assert is_gone(pid)
