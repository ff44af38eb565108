"""What the user sees while a study runs: what is under way, what has become of every cell, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from statistics import mean

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..report.candidates import spent
from ..runs.progress import clock
from ..runs.run import CONFIG, Run
from .runner import Progress, Running
from .training import Training
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
    console, watch = console or Console(stderr=True, markup=False, highlight=False), Watch(work)
    terminal = console.is_terminal
    every = REDRAW if terminal else LINE_EVERY
    last, before = -every, (-1, -1)
    with Live(console=console, auto_refresh=False) if terminal else nullcontext() as live:

        def show(progress: Progress[Task]) -> None:
            nonlocal last, before
            now = (len(progress.done) + len(progress.failed), len(progress.running))
            if time.monotonic() - last < every and (terminal or now == before):
                return
            last, before = time.monotonic(), now
            if live:
                live.update(watch.table(progress), refresh=True)
            else:
                console.print("; ".join(watch.lines(progress)), soft_wrap=True)

        yield show


class Watch:
    """Reads from the runs how far they are."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._spent: dict[Training, float] = {}

    def lines(self, progress: Progress[Task]) -> list[str]:
        """How many pieces are done and the time left, then a line for each piece under way."""
        trained = [sum(task.verb == "train" for task in tasks) for tasks in (progress.done, progress.tasks)]
        parts = [f"{trained[0]} of {trained[1]} cells trained", f"{len(progress.done)} of {len(progress.tasks)} jobs"]
        parts += [f"{len(progress.failed)} failed"] if progress.failed else []
        seconds, unknown = self.left(progress)
        if unknown:  # nothing of their kind is finished yet
            parts.append(f"at least {clock(seconds)} left, without {unknown} jobs of unknown length")
        else:
            parts.append(f"about {clock(seconds)} left")
        return [", ".join(parts), *map(self.line, progress.running.values())]

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
        signs: dict[tuple[str, str], list[str]] = {}
        for cell in self.work.spec.trainings:
            sign = SIGNS[state_of(Task("train", cell), progress)]
            signs.setdefault((cell.scene, cell.name), []).append(f"{cell.seed}{sign}")
        cells = Table.grid(padding=(0, 2))
        for (scene, name), each in signs.items():
            cells.add_row(scene, name, " ".join(each))
        legend = Text("  ".join(f"{sign} {name}" for name, sign in SIGNS.items()), style="dim")
        return Group(*self.lines(progress), cells, legend)

    def pace(self, training: Training) -> Pace | None:
        """How far the newest run of a cell is; None if it has none."""
        settled = self.work.settled(training) or training
        runs = sorted((self.work.out / settled.key).glob(f"*/*/{CONFIG}"))
        if not runs:
            return None
        rows = Run.open(runs[-1].parent).metrics()
        newest = {name: value for row in rows for name, value in row.items()}
        iteration, iterations = int(newest.get("iteration", 0)), self.work.spec.config(settled).iterations
        return Pace(iteration, iterations, newest.get("success_at_end"), spent(rows) or 0.0)

    def left(self, progress: Progress[Task]) -> tuple[float, int]:
        """Seconds until all is done, from what finished pieces took, and how many pieces are like none of these."""
        taken: dict[str, list[float]] = {}
        for task in progress.done:
            if seconds := self._took(task, progress):
                taken.setdefault(kind_of(task), []).append(seconds)
        total, unknown = 0.0, 0
        for task in progress.tasks:
            if task in progress.done or task in progress.failed or progress.blocked(task):
                continue
            running, each = progress.running.get(task), taken.get(kind_of(task))
            pace = self.pace(task.training) if running and task.verb == "train" else None
            if pace is not None and pace.left is not None:
                total += pace.left
            elif each is not None:
                total += max(0.0, mean(each) - (time.monotonic() - running.began if running else 0.0))
            else:
                unknown += 1
        return total / self.work.spec.jobs, unknown

    def _took(self, task: Task, progress: Progress[Task]) -> float | None:
        """Seconds that a finished piece took; of a training, also of one that was done before, from its metrics."""
        if task.verb != "train":
            return progress.done[task]
        if task.training not in self._spent:
            run = self.work.found(task.training).run
            self._spent[task.training] = (run and spent(run.metrics())) or 0.0
        return self._spent[task.training]


def kind_of(task: Task) -> str:
    """Pieces of one kind take about as long as each other."""
    return f"{task.verb} {task.training.name if task.verb == 'train' else task.training.kind.sight}"


def state_of(task: Task, progress: Progress[Task]) -> str:
    """State of a task, one of `SIGNS`."""
    states = {
        "done": progress.done, "failed": progress.failed, "elsewhere": progress.elsewhere, "running": progress.running,
    }  # fmt: skip
    return next((name for name, tasks in states.items() if task in tasks), "waiting")
