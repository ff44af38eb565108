"""Ctrl-C saves once and leaves quickly; the resumed run ends exactly where an uninterrupted one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from handsight.distill.runs import checkpoint
from handsight.distill.runs.run import Run, runs_under
from handsight.distill.training.train_student import train_student
from handsight.distill.training.train_teacher import train_teacher

from . import toy_training

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def teacher(toy, server, tmp_path_factory) -> Run:
    """The uninterrupted teacher, trained while the other process imports."""
    return train_teacher(toy_training.TEACHER, run_root=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def server():
    """A process from which trainings are started."""
    program = [sys.executable, str(Path(toy_training.__file__))]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield process
        process.stdin.close()


def _interrupt(server: subprocess.Popen, number: signal.Signals, root: Path, *words: str) -> tuple[Run, float]:
    """Start a training, send a signal once it has logged three rows; returns its run and the seconds it took to go."""
    server.stdin.write(" ".join([words[0], str(root), *words[1:]]) + "\n")
    child = int(server.stdout.readline())
    deadline = time.monotonic() + 120
    while not any(len(Run.open(path).metrics()) >= 3 for path in runs_under(root)):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            pytest.fail("no three rows of metrics within two minutes")
        time.sleep(0.02)
    start = time.monotonic()
    os.kill(child, number)
    assert int(server.stdout.readline()) == 130
    return Run.open(runs_under(root)[0]), time.monotonic() - start


def _last(run: Run) -> dict:
    """The last checkpoint, but for the random streams that nothing in a training draws from or seeds."""
    tree = checkpoint.load(checkpoint.latest(run.checkpoints, "iteration_*.ckpt"))
    for stream in ("numpy", "python"):
        tree.get("worlds", {}).get("random", {}).pop(stream, None)
    return tree


def _assert_same(a, b, where=""):
    """Exactly equal, whatever is inside."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            _assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            _assert_same(x, y, f"{where}/{index}")
    elif isinstance(a, torch.Tensor):
        assert a.equal(b), where
    else:
        assert repr(a) == repr(b), where


def _limit() -> float:
    """Five seconds, on a machine that has nothing else to do."""
    return 5.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def test_interrupted_teacher_ends_where_an_uninterrupted_one_does(teacher, server, tmp_path):
    run, seconds = _interrupt(server, signal.SIGINT, tmp_path, "teacher")
    assert seconds < _limit()
    saved = _last(run)
    assert 3 <= saved["iteration"] < toy_training.TEACHER.iterations
    resumed = train_teacher(resume=run.path)
    assert resumed.path == run.path
    _assert_same(_last(resumed), _last(teacher))
    assert [row["step"] for row in resumed.metrics()] == [row["step"] for row in teacher.metrics()]
    assert resumed.meta["resumed"][0]["step"] == saved["iteration"] * 8 * 6


def test_interrupted_student_ends_where_an_uninterrupted_one_does(teacher, server, tmp_path):
    best = str(teacher.checkpoints / "best.ckpt")
    whole = train_student(toy_training.student(Path(best)), run_root=tmp_path / "whole")
    run, seconds = _interrupt(server, signal.SIGTERM, tmp_path / "cut", "student", best)
    assert seconds < _limit()
    assert 1 <= _last(run)["sequences"]["appended"] < 12
    resumed = train_student(resume=run.path)
    _assert_same(_last(resumed), _last(whole))
    assert [row["step"] for row in resumed.metrics()] == [row["step"] for row in whole.metrics()]


def test_a_run_that_holds_only_its_configuration_is_begun_by_resume(teacher, tmp_path):
    run = Run.create("prepared", toy_training.TEACHER, tmp_path)
    run.close()
    resumed = train_teacher(resume=run.path)
    assert resumed.path == run.path
    last = f"iteration_{toy_training.TEACHER.iterations:06d}.ckpt"
    one, other = (checkpoint.load(r.checkpoints / last)["policy"]["weights"] for r in (teacher, resumed))
    assert all(one[name].equal(other[name]) for name in one)
