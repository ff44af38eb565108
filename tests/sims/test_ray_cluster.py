import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from handsight.sims.ray_cluster import FOLDER, RayError, start_ray

from .process_tree import family_of

LEARNER = """
from chained_env import ChainedEnv
from handsight.sims.remote import RemoteVecEnv
import torch
env = RemoteVecEnv(ChainedEnv, "cpu*2", 4)
env.reset(0)
env.step(torch.zeros(4, 2))
print("ready", flush=True)
while True:
    env.step(torch.zeros(4, 2))
"""


def test_without_ray_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RayError, match=r"pip install 'handsight\[distributed\]'"):
        start_ray()


@pytest.mark.slow
def test_the_death_of_the_learner_leaves_nothing_behind():
    """kill -9: no process, no shared memory, and at the next start no file."""
    before = set(os.listdir("/dev/shm"))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    learner = subprocess.Popen([sys.executable, "-c", LEARNER], stdout=subprocess.PIPE, text=True, env=environment)
    assert learner.stdout.readline() == "ready\n"
    shared = set(os.listdir("/dev/shm")) - before
    family = family_of(learner.pid)
    assert len(family) >= 6, "Ray's processes were not found"
    os.kill(learner.pid, signal.SIGKILL)
    learner.wait()
    end = time.monotonic() + 30
    while (left := [pid for pid in family if _alive(pid)]) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == []
    assert not shared & set(os.listdir("/dev/shm"))
    code = "from handsight.sims import ray_cluster; ray_cluster._sweep()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(Path(tempfile.gettempdir()).glob(f"{FOLDER}{learner.pid}-*"))


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
