"""What a study says while it runs."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from handsight.distill.runs.run import Run
from handsight.distill.study.progress import Pace, Watch, shown
from handsight.distill.study.runner import Progress, Running
from handsight.distill.study.spec import StudyConfig
from handsight.distill.study.training import Training
from handsight.distill.study.work import Task, Work
from handsight.ranges import from_tree

TEACHERS = [Training("wrist", seed, "state-teacher") for seed in (0, 1, 2)]


@pytest.fixture
def work(tmp_path):
    tree = {"out": tmp_path, "jobs": 2, "scenes": {"wrist": {"cells": {"state-teacher": 3}}},
            "state-teacher": {"iterations": 10}}  # fmt: skip
    return Work(from_tree(StudyConfig, tree))


def training(work: Work, cell: Training, iterations: int, seconds: float) -> Run:
    """A run that took `seconds` for each iteration so far."""
    run = Run.create("teacher-state", work.spec.config(cell), work.out / cell.key)
    for i in range(1, iterations + 1):
        run.log({"iteration": i, "seconds/collect": seconds, "success_at_end": 0.1 * i}, step=i)
    run.close()
    return run


def tasks_of(work: Work, count: int = 3) -> list[Task]:
    """Training and evaluation of so many of the teachers."""
    return list(work.tasks)[: 2 * count]


def under_way(task: Task) -> dict[Task, Running]:
    return {task: Running(task, SimpleNamespace(), (0,), 0)}  # pyright: ignore[reportArgumentType]


def test_pace_is_read_from_the_run(work):
    assert Watch(work).pace(TEACHERS[0]) is None
    training(work, TEACHERS[0], 4, 30.0)
    pace = Watch(work).pace(TEACHERS[0])
    assert pace == Pace(iteration=4, iterations=10, success=pytest.approx(0.4), seconds=120.0)
    assert pace is not None and pace.left == 180.0


def test_time_left_is_what_finished_cells_took_shared_by_the_jobs(work, monkeypatch):
    done, half, not_begun = (Task("train", cell) for cell in TEACHERS)
    run = training(work, TEACHERS[0], 10, 30.0)
    monkeypatch.setattr(work, "found", lambda cell: SimpleNamespace(run=run))
    training(work, TEACHERS[1], 5, 20.0)
    progress = Progress(dict.fromkeys((done, half, not_begun), ()), done={done: None}, running=under_way(half))
    assert Watch(work).left(progress) == ((5 * 20.0 + 300.0) / 2, 0)
    evaluation = Task("evaluate", TEACHERS[0])
    progress = Progress(dict.fromkeys((done, half, evaluation), ()), done={done: None, half: 7.0})
    assert Watch(work).left(progress) == (0.0, 1)


def test_what_cannot_be_done_any_more_takes_no_time(work):
    tasks = tasks_of(work, 1)
    assert Watch(work).left(Progress({t: work.tasks[t] for t in tasks}, failed={tasks[0]: "Traceback"})) == (0.0, 0)


def test_log_has_a_line_for_each_piece_under_way(work):
    training(work, TEACHERS[0], 4, 30.0)
    tasks = tasks_of(work)
    progress = Progress(work.tasks, running=under_way(tasks[0]), failed={tasks[2]: "Traceback"})
    text = io.StringIO()
    with shown(work, Console(file=text, width=300)) as show:
        show(progress)
        show(progress)
    (line,) = text.getvalue().splitlines()
    assert line.startswith("0 of 3 cells trained, 0 of 6 jobs, 1 failed, at least")
    assert "train wrist/seed0/state-teacher: iteration 4 of 10, success 0.400, 3:00 left" in line


def test_terminal_shows_the_state_of_every_cell(work):
    tasks = tasks_of(work)
    progress = Progress(work.tasks, done={tasks[0]: 1.0}, running=under_way(tasks[2]), failed={tasks[4]: "Traceback"})
    text = io.StringIO()
    console = Console(file=text, width=120)
    console.print(Watch(work).table(progress))
    assert "state-teacher  0● 1◐ 2✗" in text.getvalue()
