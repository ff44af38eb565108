"""A study in the toy environment: kill -9 of a cell and of the runner loses nothing, and nothing done is repeated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from handsight.distill import Study
from handsight.distill.runs import checkpoint

HERE = Path(__file__).resolve().parent
RUN = """
import sys
from pathlib import Path
from handsight.distill.commands.study import StudyArgs, study

sys.argv[0] = "handsight"
program = (sys.executable, str(Path(sys.argv[1]) / "toy_study_job.py"))
study(StudyArgs(Path(sys.argv[2]), out=Path(sys.argv[3]), report=False), program=program, pause=0.1)
"""
TEACHER = """
curriculum = { start = { near = 1.0 }, goal = { wide = 1.0 }, gate = "near" }
ppo = { epochs = 2, minibatches = 2 }
num-envs = 8
rollout-steps = 6
iterations = 24
checkpoint-every = 5
keep-checkpoints = 99
validate-every = 10
validation-episodes = 8
"""
STUDY = f"""
scenes.wrist.cells = {{ state-to-control = 1, matched-to-control = 1 }}
evaluation = {{ episodes = 8, num-envs = 4 }}
matching = {{ episodes = 8 }}
[student]
iterations = 6
num-envs = 8
student = {{ image-features = 8, proprio-features = 8, memory-size = 8, hidden = 8 }}
dagger = {{ gradient-steps = 3, batch-sequences = 4 }}
[state-teacher]
policy = {{ hidden = [16] }}
{TEACHER}
[depth-teacher]
policy = {{ hidden = [16], depth-features = 8, depth-channels = [4, 4], auxiliary = ["object_from_palm"] }}
warm = {{ iterations = 2, gradient-steps = 2, minibatch = 16 }}
{TEACHER}
"""


def start(folder: Path, name: str, pause: float = 0.0) -> subprocess.Popen:
    (folder / "study.toml").write_text(STUDY)
    words = [sys.executable, "-c", RUN, str(HERE), str(folder / "study.toml"), str(folder / name)]
    quiet = {**os.environ, "TOY_PAUSE": str(pause), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=quiet, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def started():
    """Starts runners; those that a failing test leaves behind are ended, and their pieces leave with them."""
    running = []
    yield lambda *where, **how: running.append(start(*where, **how)) or running[-1]
    for process in running:
        process.kill()
        process.wait()


def wait_for(path: Path, pattern: str, seconds: float = 600.0) -> list[Path]:
    end = time.monotonic() + seconds
    while not (found := sorted(path.glob(pattern))):
        assert time.monotonic() < end, f"no {pattern} in {path}"
        time.sleep(0.02)
    return found


def pieces_in(out: Path) -> list[int]:
    """Processes of pieces of work of this study."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if any(word.endswith("toy_study_job.py") for word in words) and any(str(out) in word for word in words):
            found.append(int(entry.name))
    return found


def weights(out: Path, cell: str, iteration: int) -> dict:
    (path,) = (out / "wrist" / "seed0" / cell).glob(f"*/*/checkpoints/iteration_{iteration:06d}.ckpt")
    return checkpoint.load(path)["policy"]["weights"]


@pytest.mark.slow
def test_killed_study_ends_like_one_that_went_through(tmp_path, started):
    broken = started(tmp_path, "broken", pause=0.03)
    out = tmp_path / "broken"
    wait_for(out, "wrist/seed0/state-teacher/*/*/checkpoints/iteration_000005.ckpt")
    (cell,) = pieces_in(out)
    os.kill(cell, signal.SIGKILL)  # the cell: the runner begins it again where it had saved
    wait_for(out, "wrist/seed0/state-to-control/*/*/checkpoints/iteration_000002.ckpt")
    broken.kill()  # the runner: its pieces leave with it
    broken.wait()
    end = time.monotonic() + 60
    while pieces_in(out):
        assert time.monotonic() < end, "a piece of work outlived its runner"
        time.sleep(0.05)
    done = sorted((out / "wrist").glob("seed0/*-teacher/*/*/checkpoints/*.ckpt"))
    saved = {path: path.stat().st_mtime_ns for path in done}
    for name in ("broken", "whole"):
        process = started(tmp_path, name)
        _, error = process.communicate(timeout=1200)
        assert process.returncode == 0, error
    assert {path: path.stat().st_mtime_ns for path in saved} == saved  # nothing finished was done again
    one, other = (Study.load(tmp_path / name / "results") for name in ("whole", "broken"))
    assert [cell.state for cell in other.cells] == ["finished"] * 6
    assert other.matches == one.matches and len(one.matches) == 1
    for name, iteration in (("state-teacher", 24), ("state-to-control", 6), ("depth-teacher", 24)):
        mine, theirs = (weights(tmp_path / folder, name, iteration) for folder in ("whole", "broken"))
        assert all(mine[key].equal(theirs[key]) for key in mine), name
    for a, b in zip(one.comparisons["wrist"].policies, other.comparisons["wrist"].policies, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.evaluation.episode_return, b.evaluation.episode_return)
    text = "".join(path.read_text(errors="ignore") for path in (out / "results").rglob("*.*") if path.is_file())
    assert str(tmp_path) not in text  # no path of this machine
