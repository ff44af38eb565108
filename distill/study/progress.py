"""What the user sees while a study runs: what is under way, what has become of every cell, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..runs.progress import clock
from ..runs.run import CONFIG, Run
from .collect import spent
from .runner import Progress, Running
from .training import Training, folder
from .work import Task, Work

REDRAW, LINE_EVERY = 5.0, 60.0
"""Seconds between two looks at the disk: on a terminal, and in a log."""
SIGNS = {"done": "●", "running": "◐", "elsewhere": "◌", "waiting": "·", "failed": "✗"}
"""States of a cell in the list; "elsewhere": a training that was started by hand is under way."""


@dataclass(frozen=True)
class Pace:
    """How far a training is."""

    iteration: int
    iterations: int
    success: float | None
    seconds: float
    """Spent on collecting and learning so far."""

    @property
    def left(self) -> float | None:
        """Seconds at the rate so far."""
        return self.seconds / self.iteration * (self.iterations - self.iteration) if self.iteration else None


@contextmanager
def shown(work: Work, console: Console | None = None) -> Iterator[Callable[[Progress[Task]], None]]:
    """Show where a study stands, by a table on a terminal and by lines in a log."""
    console, watch, last = console or Console(stderr=True), Watch(work), -LINE_EVERY
    if not console.is_terminal:
        before: tuple[int, int] = (-1, -1)

        def line(progress: Progress[Task]) -> None:
            nonlocal last, before
            now = (len(progress.done) + len(progress.failed), len(progress.running))
            if time.monotonic() - last >= LINE_EVERY or now != before:
                last, before = time.monotonic(), now
                console.print("; ".join(watch.lines(progress)), markup=False, highlight=False, soft_wrap=True)

        yield line
        return
    with Live(console=console, auto_refresh=False) as live:

        def draw(progress: Progress[Task]) -> None:
            nonlocal last
            if time.monotonic() - last >= REDRAW:
                last = time.monotonic()
                live.update(watch.table(progress), refresh=True)

        yield draw


class Watch:
    """Reads from the runs how far they are."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._spent: dict[Training, float] = {}

    def lines(self, progress: Progress[Task]) -> list[str]:
        """The state of the whole, then a line for each piece under way."""
        return [self.summary(progress), *(self.line(running) for running in progress.running)]

    def summary(self, progress: Progress[Task]) -> str:
        """How many pieces are done, and the time left."""
        trained = [sum(task.verb == "train" for task in tasks) for tasks in (progress.done, progress.tasks)]
        parts = [f"{trained[0]} of {trained[1]} cells trained", f"{len(progress.done)} of {len(progress.tasks)} jobs"]
        parts += [f"{len(progress.failed)} failed"] if progress.failed else []
        seconds, unknown = self.left(progress)
        if unknown:  # nothing of their kind is finished yet
            return ", ".join([*parts, f"at least {clock(seconds)} left, without {unknown} jobs of unknown length"])
        return ", ".join([*parts, f"about {clock(seconds)} left"])

    def line(self, running: Running[Task]) -> str:
        """One piece of work under way."""
        name, pace = running.task.name, self.pace(running.task.training)
        if running.task.verb != "train" or pace is None:
            return f"{name}: {clock(time.monotonic() - running.began)}"
        success = "" if pace.success is None else f", success {pace.success:.3f}"
        left = "" if pace.left is None else f", {clock(pace.left)} left"
        return f"{name}: iteration {pace.iteration} of {pace.iterations}{success}{left}"

    def table(self, progress: Progress[Task]) -> Group:
        """The same, and every cell's state."""
        cells = Table.grid(padding=(0, 2))
        for scene in self.work.spec.scenes:
            members = [cell for cell in self.work.spec.trainings if cell.scene == scene]
            for name in dict.fromkeys(cell.name for cell in members):
                signs = [
                    f"{cell.seed}{SIGNS[state_of(Task('train', cell), progress)]}"
                    for cell in members
                    if cell.name == name
                ]
                cells.add_row(scene, name, " ".join(signs))
        legend = Text("  ".join(f"{sign} {name}" for name, sign in SIGNS.items()), style="dim")
        return Group(*self.lines(progress), cells, legend)

    def pace(self, training: Training) -> Pace | None:
        """How far the newest run of a cell is; None if it has none."""
        settled = self.work.settled(training) or training
        runs = sorted(folder(self.work.out, settled).glob(f"*/*/{CONFIG}"))
        if not runs:
            return None
        rows = Run.open(runs[-1].parent).metrics()
        done = [row for row in rows if "iteration" in row]
        success = [row["success_at_end"] for row in rows if "success_at_end" in row]
        return Pace(
            iteration=int(done[-1]["iteration"]) if done else 0,
            iterations=self.work.spec.config(settled).iterations,
            success=success[-1] if success else None,
            seconds=spent(rows),
        )

    def left(self, progress: Progress[Task]) -> tuple[float, int]:
        """Seconds until all is done, from what finished pieces took, and how many pieces are like none of these."""
        known = self._known(progress)
        under_way = {running.task: running for running in progress.running}
        seconds, unknown = 0.0, 0
        for task in progress.tasks:
            if task in progress.done or task in progress.failed or progress.blocked(task):
                continue
            pace = self.pace(task.training) if task in under_way and task.verb == "train" else None
            each = known.get(kind_of(task))
            if pace is not None and pace.left is not None:
                seconds += pace.left
            elif each is not None:
                seconds += max(0.0, each - (time.monotonic() - under_way[task].began if task in under_way else 0.0))
            else:
                unknown += 1
        return seconds / self.work.spec.jobs, unknown

    def _known(self, progress: Progress[Task]) -> Mapping[str, float]:
        """Mean seconds of the finished pieces of each kind; of trainings that were done before, from their metrics."""
        taken: dict[str, list[float]] = {}
        for task, took in progress.done.items():
            seconds = took
            if task.verb == "train":
                seconds = self._spent.get(task.training) or spent(self._rows(task.training))
                self._spent[task.training] = seconds
            if seconds is not None:
                taken.setdefault(kind_of(task), []).append(seconds)
        return {kind: sum(values) / len(values) for kind, values in taken.items()}

    def _rows(self, training: Training) -> list[dict[str, float]]:
        run = self.work.found(training).run
        return run.metrics() if run else []


def kind_of(task: Task) -> str:
    """Pieces of one kind take about as long as each other."""
    return f"{task.verb} {task.training.name if task.verb == 'train' else task.training.kind.sight}"


def state_of(task: Task, progress: Progress[Task]) -> str:
    """State of a task, one of `SIGNS`."""
    if task in progress.done:
        return "done"
    if task in progress.failed:
        return "failed"
    if task in progress.elsewhere:
        return "elsewhere"
    return "running" if any(running.task == task for running in progress.running) else "waiting"
