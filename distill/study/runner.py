"""Runs a study's cells side by side, each piece of work in a process of its own on cores of its own.

The runner keeps nothing in memory that is not on the disk: what is done is seen there, so it may be killed at any time
and started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...errors import HandsightError
from ...files import owned
from ..runs.interrupt import Interrupt
from .cells import Cell, StudyError, folder
from .job import is_locked, lock_of, log_of
from .work import Work, trainings_in, write_spec

Verb = Literal["train", "match", "evaluate"]
PROGRAM = (sys.executable, "-m", f"{__package__}.job")
TRIES = 3
"""Times that a piece of work is begun again after its process was killed, before it counts as failed."""
PATIENCE = 60.0
"""Seconds that stopped processes have to save and leave."""
TRACEBACK_LINES = 25
"""Of a failed piece's log that are shown."""


@dataclass(frozen=True)
class Task:
    """One piece of work."""

    verb: Verb
    cell: Cell

    @property
    def name(self) -> str:
        return f"{self.verb} {self.cell.key}"


@dataclass
class Running:
    """A piece of work under way."""

    task: Task
    process: subprocess.Popen[bytes]
    cores: tuple[int, ...]
    log_start: int
    """Bytes of the cell's log before it began."""
    began: float = field(default_factory=time.monotonic)


@dataclass
class Progress:
    """Where a study stands; the runner changes it, a display shows it."""

    tasks: tuple[Task, ...]
    done: dict[Task, float | None] = field(default_factory=dict)
    """Seconds that a finished piece of work took in this session; None for one that was done before."""
    failed: dict[Task, str] = field(default_factory=dict)
    """Last lines of what failed pieces wrote."""
    running: list[Running] = field(default_factory=list)
    elsewhere: set[Task] = field(default_factory=set)
    """Waiting for a training that somebody else started in the cell's folder."""

    def needs(self, task: Task) -> list[Task]:
        """What must be done before."""
        if task.verb != "train":
            return [Task("train", cell) for cell in (task.cell.needs if task.verb == "match" else (task.cell,))]
        driver = [Task("train", task.cell.driver)] if task.cell.driver else []
        if task.cell.matched:
            return [one for one in self.tasks if one.verb == "match" and same_seed(one.cell, task.cell)] + driver
        return [Task("train", cell) for cell in task.cell.needs] + driver

    def blocked(self, task: Task) -> bool:
        """Whether something that it needs has failed."""
        return any(need in self.failed or self.blocked(need) for need in self.needs(task))


def same_seed(one: Cell, other: Cell) -> bool:
    """Whether two cells belong to the same scene and seed."""
    return (one.scene, one.seed) == (other.scene, other.seed)


def tasks_of(cells: Sequence[Cell]) -> tuple[Task, ...]:
    """All pieces of work, in the order in which they are begun if nothing holds them up."""
    tasks: dict[Task, None] = {}
    for cell in cells:
        if cell.matched and not any(t.verb == "match" and same_seed(t.cell, cell) for t in tasks):
            tasks[Task("match", cell)] = None
        tasks |= {Task("train", cell): None, Task("evaluate", cell): None}
    return tuple(tasks)


class Runner:
    """Gets a study done."""

    def __init__(
        self,
        work: Work,
        show: Callable[[Progress], None] = lambda progress: None,
        program: Sequence[str] = PROGRAM,
        pause: float = 1.0,
    ) -> None:
        """
        Args:
            work: the study, and what of it is done.
            show: called whenever something may have changed.
            program: command line of a piece of work's process, without its arguments.
            pause: seconds between two looks at the processes.

        Raises:
            StudyError: more jobs than cores.
        """
        self.spec, self.work, self.show = work.spec, work, show
        self.program, self.pause = tuple(program), pause
        self.slots = slots(self.spec.jobs)
        self.progress = Progress(tasks_of(self.spec.cells))
        self._killed: dict[Task, int] = {}

    def run(self) -> Progress:
        """Do all that can be done; a piece that fails holds up only those that need it.

        Raises:
            StudyError: another runner is at work in this folder, or a folder holds another training than asked for.
            Interrupted: Ctrl-C; what was under way has saved itself.
        """
        with alone(self.spec.out), Interrupt() as interrupted:
            write_spec(self.spec)
            self._look()
            try:
                while not interrupted.requested and self._step():
                    time.sleep(self.pause)
            finally:
                self._stop()
        return self.progress

    def _look(self) -> None:
        """What is done already. Refuses before anything is begun if a folder holds what is not asked for."""
        wrong = []
        for task in self.progress.tasks:
            try:
                self._is_done(task)
            except HandsightError as error:
                wrong.append(str(error))
        if wrong:
            raise StudyError("\n".join(dict.fromkeys(wrong)))

    def _step(self) -> bool:
        """Look after what runs, begin what can be begun. Returns whether there is anything left to wait for."""
        progress = self.progress
        for running in list(progress.running):
            if running.process.poll() is not None:
                self._finish(running)
        left = [t for t in progress.tasks if t not in progress.done and t not in progress.failed]
        busy = {running.task for running in progress.running}
        progress.elsewhere.clear()
        for task in left:
            if task not in busy and all(need in progress.done for need in progress.needs(task)):
                self._begin(task)
        self.show(progress)
        return bool(progress.running or progress.elsewhere)

    def _begin(self, task: Task) -> None:
        """Start it, if there are cores, it is not done and nobody is at it."""
        used = {running.cores for running in self.progress.running}
        free = [cores for cores in self.slots if cores not in used]
        if not free:
            return
        try:
            if self._is_done(task):
                return
            if self._elsewhere(task.cell):
                self.progress.elsewhere.add(task)
                return
        except HandsightError as error:
            self.progress.failed[task] = str(error)
            return
        self.progress.running.append(self._start(task, free[0]))

    def _start(self, task: Task, cores: tuple[int, ...]) -> Running:
        log = log_of(self.spec.out, task.cell.key)
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [str(self.spec.out.resolve()), task.verb, task.cell.key, "--parent", str(os.getpid())]
        words += ["--cores", ",".join(map(str, cores))]
        with log.open("ab") as file:
            start = file.tell()
            process = subprocess.Popen(
                [*self.program, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is the runner's business, which asks its processes to leave
            )
        return Running(task, process, cores, start)

    def _finish(self, running: Running) -> None:
        """A process has ended: well, by a mistake, or because somebody killed it."""
        progress, task, code = self.progress, running.task, running.process.returncode
        progress.running.remove(running)
        if code == 0:
            progress.done[task] = time.monotonic() - running.began
            return
        killed = code < 0 or code > 128
        self._killed[task] = self._killed.get(task, 0) + killed
        if not killed or self._killed[task] > TRIES:
            tail = log_of(self.spec.out, task.cell.key).read_bytes()[running.log_start :].decode(errors="replace")
            lines = tail.strip().splitlines() or [f"its process ended with code {code} and wrote nothing"]
            progress.failed[task] = "\n".join(lines[-TRACEBACK_LINES:])

    def _is_done(self, task: Task) -> bool:
        """Whether the disk holds its outcome. Raises StudyError where it holds another training."""
        if task in self.progress.done:
            return True
        if any(not self._is_done(need) for need in self.progress.needs(task)):
            return False
        match task.verb:
            case "train":
                done = self.work.found(task.cell).state == "finished"
            case "match":
                done = self.work.match_of(task.cell) is not None
            case "evaluate":
                done = self.work.is_evaluated(task.cell)
        if done:
            self.progress.done[task] = None
        return done

    def _elsewhere(self, cell: Cell) -> bool:
        """Whether another's process works on the cell: one started by hand, or a killed runner's that still saves."""
        settled = self.work.settled(cell)
        places = [folder(self.spec.out, one) for one in (settled, cell) if one]
        return is_locked(lock_of(self.spec.out, cell.key)) or any(trainings_in(place) for place in places)

    def _stop(self) -> None:
        """Ask all processes to save and leave, and wait for them."""
        for running in self.progress.running:
            running.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        for running in self.progress.running:
            try:
                running.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()  # what it saved last is whole


def slots(jobs: int) -> list[tuple[int, ...]]:
    """Cores for each of `jobs` processes: disjoint, and all that there are if they can be shared out evenly.

    Raises:
        StudyError: more jobs than cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        raise StudyError(f"jobs: expected at most {len(cores)}, one for each core that may be used, found {jobs}")
    each = len(cores) // jobs
    return [tuple(cores[i * each : (i + 1) * each]) for i in range(jobs)]


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Be the only runner in this folder.

    Raises:
        StudyError: there is another one.
    """
    with owned(out, StudyError):
        yield
