"""A training whose terminal, reader or owner goes away: the real command in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handsight.distill.runs import checkpoint
from handsight.distill.runs.run import Run, runs_under

SIZE = "--num-envs 4 --rollout-steps 4 --validate-every 0 --env.threads 1 --ppo.minibatches 2 --policy.hidden 8"
TRAIN = ["train-teacher", "state", *SIZE.split(), "--iterations"]
PYTHON = [sys.executable, "-m", "handsight.distill.commands.cli"]


def begin(root: Path, iterations: int, **streams) -> subprocess.Popen:
    return subprocess.Popen([*PYTHON, *TRAIN, str(iterations), "--runs", str(root)], **streams)


def wait_for_rows(root: Path) -> Run:
    deadline = time.monotonic() + 120
    while not (found := runs_under(root)) or len(Run.open(found[0]).metrics()) < 3:
        assert time.monotonic() < deadline, "no three rows within two minutes"
        time.sleep(0.05)
    return Run.open(found[0])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["closed pipe", "/dev/full", "closed descriptors"])
def test_a_reader_that_goes_does_not_end_a_training(tmp_path, where):
    if where == "closed pipe":
        process = begin(tmp_path, 30, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        process.stdout.readline(), process.stdout.close()
    elif where == "/dev/full":
        with open(where, "w") as full:
            process = begin(tmp_path, 30, stdout=full, stderr=full)
    else:
        line = " ".join([*PYTHON, *TRAIN, "30", "--runs", str(tmp_path)])
        process = subprocess.Popen(["sh", "-c", f"exec {line} >&- 2>&- <&-"])
    assert process.wait(120) == 0
    assert (Run.open(runs_under(tmp_path)[0]).checkpoints / "iteration_000030.ckpt").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_saves_and_its_reason_is_said(tmp_path, number):
    process = begin(tmp_path, 10_000, stderr=subprocess.PIPE, text=True)
    run = wait_for_rows(tmp_path)
    second = subprocess.run([*PYTHON, "train-teacher", "--resume", str(run.path)], capture_output=True, text=True)
    assert second.returncode == 2 and f"process {process.pid}, since" in second.stderr
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert f"handsight train-teacher: stopped by {number.name}" in process.stderr.read()
    assert checkpoint.load(checkpoint.latest(run.checkpoints))["iteration"] >= 3
    assert len(run.metrics()) == checkpoint.load(checkpoint.latest(run.checkpoints))["iteration"]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 4.0])
def test_ctrl_c_in_the_first_seconds_is_no_traceback(tmp_path, seconds):
    process = begin(tmp_path, 10_000, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in said and "train-teacher: stopped by SIGINT" in said


@pytest.mark.slow
def test_a_killed_owner_leaves_a_run_that_can_be_gone_on_with(tmp_path):
    process = begin(tmp_path, 10_000)
    run = wait_for_rows(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = subprocess.Popen([*PYTHON, "train-teacher", "--resume", str(run.path)])
    wait = time.monotonic() + 120
    while not run.meta["resumed"] and time.monotonic() < wait:
        time.sleep(0.1)
    resumed.kill()
    resumed.wait()
    assert run.meta["resumed"]
