import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from handsight.sims.remote.cluster import FOLDER, RayError, start_ray

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


GUEST = """
import sys
import torch
from chained_env import ChainedEnv, Ledger
from handsight.sims.remote import RemoteVecEnv
from handsight.sims.env_config import RemoteConfig
env = RemoteVecEnv(ChainedEnv, "CPU=1*2", 8, RemoteConfig(address=sys.argv[1], step_timeout=60.0))
ledger, action = Ledger(env.reset(0)), torch.zeros(8, 2)
for _ in range(10):
    ledger.check(action, env.step(action))
import ray
print(ledger.lost, ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0))
env.close()
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


@pytest.mark.slow
def test_a_cluster_is_joined_by_its_address_and_outlives_its_guest(ray_cluster):
    """And a simulator placed by resources reserves them."""
    import ray

    address = ray.get_runtime_context().gcs_address
    guest = subprocess.run([sys.executable, "-c", GUEST, address], capture_output=True, text=True)
    assert guest.stdout.splitlines()[-1:] == ["0 2.0"], guest.stderr
    assert ray.cluster_resources()["CPU"] >= 2
    without = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"}
    stranger = subprocess.run([sys.executable, "-c", GUEST, address], capture_output=True, text=True, env=without)
    assert stranger.returncode and "token" in stranger.stderr.lower()


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
