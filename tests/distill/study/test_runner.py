"""The runner: order, cores, failures, kills, and trainings of somebody else. Its pieces of work are small scripts."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from handsight.distill.commands.study import StudyArgs, study
from handsight.distill.runs.interrupt import Interrupted
from handsight.distill.study.runner import TRIES, Runner, slots
from handsight.distill.study.spec import StudyConfig
from handsight.distill.study.training import StudyError, Training
from handsight.distill.study.work import Task, Work, workers_in
from handsight.files import owned
from handsight.ranges import from_tree

PIECE = """
    import os, pathlib, sys, time
    out, verb, cell = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    cores = os.sched_getaffinity(0)
    name = f"{verb} {cell}"
    with (out / "journal").open("a") as file:
        file.write(f"{name}|{sorted(cores)}|{time.monotonic()}|begin\\n")
    bad = (out / "fails").read_text().splitlines() if (out / "fails").is_file() else []
    if name in bad:
        raise ZeroDivisionError("division by zero")
    deaths = out / "deaths"
    if deaths.is_file() and deaths.read_text().startswith(name):
        left = int(deaths.read_text().split("|")[1])
        deaths.write_text(f"{name}|{left - 1}" if left > 1 else "nobody")
        os.kill(os.getpid(), 9)
    time.sleep(float((out / "pause").read_text()))
    (out / "done").mkdir(exist_ok=True)
    (out / "done" / name.replace("/", "_")).touch()
    with (out / "journal").open("a") as file:
        file.write(f"{name}|{sorted(cores)}|{time.monotonic()}|end\\n")
"""
needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")


class Marks(Work):
    """A piece is done when its mark lies in the folder."""

    def __init__(self, out: Path, jobs: int = 1, **cells) -> None:
        scenes = {"wrist": {"cells": {name.replace("_", "-"): seeds for name, seeds in cells.items()}}}
        super().__init__(from_tree(StudyConfig, {"out": out, "jobs": jobs, "scenes": scenes}))
        out.mkdir(exist_ok=True)
        (out / "pause").write_text("0")

    def is_done(self, task):
        return (self.out / "done" / task.name.replace("/", "_")).is_file()

    def command(self, task):
        return [str(self.out), task.verb, task.training.key]

    def settled(self, training):
        return training

    def journal(self):
        rows = (self.out / "journal").read_text().splitlines() if (self.out / "journal").is_file() else []
        return [(name, cores, float(at), what) for name, cores, at, what in (row.split("|") for row in rows)]

    def begun(self):
        return [name for name, _, _, what in self.journal() if what == "begin"]


@pytest.fixture
def run(tmp_path):
    piece = tmp_path / "piece.py"
    piece.write_text(textwrap.dedent(PIECE))

    def run(work, **more):
        return Runner(work, program=(sys.executable, "-S", "-E", str(piece)), pause=0.02, **more).run()

    return run


def test_everything_is_done_once_and_after_what_it_needs(tmp_path, run):
    work = Marks(tmp_path / "out", depth_to_stereo=1, matched_to_stereo=1)
    progress = run(work)
    assert not progress.failed and len(progress.done) == len(progress.tasks) == 9
    begun = work.begun()
    assert len(begun) == len(set(begun)) == 9
    order = {name.replace("wrist/seed0/", ""): i for i, name in enumerate(begun)}
    assert order["train state-teacher"] < order["train depth-teacher"] < order["train depth-to-stereo"]
    assert order["train depth-teacher"] < order["match matched-to-stereo"] < order["train matched-to-stereo"]
    assert order["train depth-to-stereo"] < order["evaluate depth-to-stereo"]


@needs_two_cores
def test_a_control_student_comes_after_the_student_that_drives_it(tmp_path, run):
    work = Marks(tmp_path / "out", jobs=2, depth_to_control=1, matched_to_control=1)
    (work.out / "pause").write_text("0.3")
    assert not run(work).failed
    at = {(name.replace("wrist/seed0/", ""), what): when for name, _, when, what in work.journal()}
    for source in ("depth", "matched"):
        assert at[f"train {source}-to-stereo", "end"] < at[f"train {source}-to-control", "begin"]


def test_what_is_done_is_not_done_again(tmp_path, run):
    work = Marks(tmp_path / "out", state_to_stereo=1)
    run(work)
    before = work.begun()
    assert set(run(work).done.values()) == {None}
    assert work.begun() == before
    (work.out / "done" / "evaluate wrist_seed0_state-to-stereo").unlink()
    run(work)
    assert work.begun()[len(before) :] == ["evaluate wrist/seed0/state-to-stereo"]


@needs_two_cores
def test_jobs_run_side_by_side_on_cores_of_their_own(tmp_path, run):
    work = Marks(tmp_path / "out", jobs=2, state_teacher=2)
    (work.out / "pause").write_text("0.5")
    run(work)
    rows = [row for row in work.journal() if row[0].startswith("train")]
    cores = {row[0]: row[1] for row in rows}
    assert len(set(cores.values())) == 2
    begins, ends = ([row[2] for row in rows if row[3] == what] for what in ("begin", "end"))
    assert max(begins) < min(ends)


def test_failed_cell_is_reported_with_its_traceback_and_others_go_on(tmp_path, run):
    work = Marks(tmp_path / "out", state_to_stereo=2)
    (work.out / "fails").write_text("train wrist/seed0/state-teacher")
    progress = run(work)
    ((task, text),) = progress.failed.items()
    assert task == Task("train", Training("wrist", 0, "state-teacher"))
    assert text.startswith("Traceback") and text.endswith("ZeroDivisionError: division by zero")
    assert Task("evaluate", Training("wrist", 1, "state-to-stereo")) in progress.done
    assert progress.blocked(Task("train", Training("wrist", 0, "state-to-stereo")))
    assert "train wrist/seed0/state-to-stereo" not in work.begun()


def test_killed_piece_is_begun_again(tmp_path, run):
    work = Marks(tmp_path / "out", state_teacher=1)
    (work.out / "deaths").write_text("train wrist/seed0/state-teacher|2")
    progress = run(work)
    assert not progress.failed
    assert work.begun().count("train wrist/seed0/state-teacher") == 3


def test_piece_that_is_killed_again_and_again_fails(tmp_path, run):
    work = Marks(tmp_path / "out", state_teacher=1)
    (work.out / "deaths").write_text("train wrist/seed0/state-teacher|99")
    ((_, text),) = run(work).failed.items()
    assert "ended with code -9" in text
    assert work.begun().count("train wrist/seed0/state-teacher") == TRIES + 1


def test_ctrl_c_stops_the_pieces_and_leaves(tmp_path, run):
    work = Marks(tmp_path / "out", state_teacher=1)
    (work.out / "pause").write_text("30")
    pids = []

    def press(progress):
        if progress.running and not pids:
            pids.extend(running.process.pid for running in progress.running.values())
            os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(work, show=press)
    assert time.monotonic() - began < 20
    assert not Path(f"/proc/{pids[0]}").exists()


def test_training_that_was_started_by_hand_is_waited_for(tmp_path, run):
    work = Marks(tmp_path / "out", state_teacher=1)
    place = work.out / "wrist" / "seed0" / "state-teacher"
    words = [sys.executable, "-c", "import time; time.sleep(60)", "train-teacher", "state", "--runs", str(place)]
    other, seen = subprocess.Popen(words), []
    try:
        while not workers_in(place):
            time.sleep(0.02)

        def show(progress):
            seen.append(set(progress.elsewhere))
            if len(seen) == 3:
                other.kill()
                other.wait()

        run(work, show=show)
    finally:
        other.kill()
        other.wait()
    assert seen[0] == {Task("train", Training("wrist", 0, "state-teacher"))}
    assert work.begun()[0] == "train wrist/seed0/state-teacher"
    assert not workers_in(place)


def test_more_jobs_than_cores_are_refused():
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(StudyError, match=f"expected at most {cores}.*found {cores + 1}"):
        slots(cores + 1)
    assert slots(1) == [tuple(sorted(os.sched_getaffinity(0)))]


def test_teachers_of_a_seed_are_matched_once(tmp_path):
    tasks = Marks(tmp_path, matched_to_stereo=1, matched_to_left=1).tasks
    (match,) = [task for task in tasks if task.verb == "match"]
    assert match.name == "match wrist/seed0/matched-to-stereo"
    assert [need.name for need in tasks[match]] == [
        "train wrist/seed0/state-teacher",
        "train wrist/seed0/depth-teacher",
    ]
    for name in ("matched-to-stereo", "matched-to-left"):
        assert match in tasks[Task("train", Training("wrist", 0, name))]


def test_one_runner_at_a_time(tmp_path):
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text("[scenes.wrist.cells]\nstate-to-stereo = 1\n")
    with owned(out), pytest.raises(StudyError, match="another process is at work in this folder"):
        study(StudyArgs(file, out=out))
