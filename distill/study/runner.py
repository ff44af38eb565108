"""Does tasks side by side, each by a command in a process of its own on cores of its own, after those that it needs.

The runner keeps nothing in memory that is not on the disk: what is done is seen there, so it may be killed at any time
and started again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...errors import HandsightError
from ..runs.interrupt import Interrupt
from .slurm import Cluster, Job
from .training import StudyError

Task = TypeVar("Task", bound=Hashable)
PROGRAM = (sys.executable, "-m", "handsight.distill.commands.cli")
TRIES = 3
"""Times that a task is begun again after its process was killed, before it counts as failed."""
PATIENCE = 60.0
"""Seconds that stopped processes have to save and leave."""
TRACEBACK_LINES = 25
"""So many lines are shown of a failed task's log."""
PR_SET_PDEATHSIG = 1
"""Number of a request in linux/prctl.h."""


class Work(Generic[Task]):
    """What is to be done, and by which commands; every question is answered from the disk."""

    jobs = 1
    """Tasks side by side."""
    again = "the same command goes on"
    """How whoever stopped it goes on, in words."""
    tasks: Mapping[Task, tuple[Task, ...]]
    """All tasks with those that each needs, each after these: the order in which they are begun."""

    def is_done(self, task: Task) -> bool:
        """Whether the disk holds its outcome."""
        raise NotImplementedError

    def command(self, task: Task) -> list[str]:
        """The words of the command that does it, or what is left of it."""
        raise NotImplementedError

    def is_busy(self, task: Task) -> bool:
        """Whether somebody else works on it."""
        return False

    def log(self, task: Task) -> Path | None:
        """The file to which its command writes; None for the terminal."""
        return None


@dataclass
class Running(Generic[Task]):
    """A task under way."""

    task: Task
    process: subprocess.Popen[bytes] | Job
    cores: tuple[int, ...]
    log_start: int
    """Bytes of the log before it began."""
    began: float = field(default_factory=time.monotonic)


@dataclass
class Progress(Generic[Task]):
    """Where a study stands; the runner changes it, a display shows it."""

    tasks: Mapping[Task, tuple[Task, ...]]
    """All tasks with those that each needs."""
    done: dict[Task, float | None] = field(default_factory=dict)
    """Seconds that a finished task took in this session; None for one that was done before."""
    failed: dict[Task, str] = field(default_factory=dict)
    """Last lines of what failed tasks wrote."""
    running: dict[Task, Running[Task]] = field(default_factory=dict)
    elsewhere: set[Task] = field(default_factory=set)
    """Waiting for somebody else's process that works on the same training."""

    def ready(self, task: Task) -> bool:
        """Whether it could be begun: it is not done, failed or under way, and all that it needs is done."""
        begun = task in self.done or task in self.failed or task in self.running
        return not begun and all(need in self.done for need in self.tasks[task])

    def blocked(self, task: Task) -> bool:
        """Whether something that it needs has failed."""
        return any(need in self.failed or self.blocked(need) for need in self.tasks[task])


class Runner(Generic[Task]):
    """Gets a study done."""

    def __init__(
        self,
        work: Work[Task],
        show: Callable[[Progress[Task]], None] = lambda progress: None,
        program: Sequence[str] = PROGRAM,
        pause: float = 1.0,
        cluster: Cluster | None = None,
    ) -> None:
        """
        Args:
            work: the study, and what of it is done.
            show: called whenever something may have changed.
            program: command line of our commands.
            pause: seconds between two looks at the processes.
            cluster: where the commands run, all that can be begun at once; None: on this machine.

        Raises:
            StudyError: more jobs than cores.
        """
        self.work, self.show, self.program, self.pause = work, show, tuple(program), pause
        self.slots = slots(work.jobs) if cluster is None else [(place,) for place in range(len(work.tasks))]
        self.cluster = cluster
        self.progress = Progress[Task](work.tasks)
        self._killed = Counter[Task]()

    def run(self) -> Progress[Task]:
        """Do all that can be done; a task that fails holds up only those that need it.

        Raises:
            StudyError: a folder holds another training than asked for.
            Interrupted: Ctrl-C; what was under way has saved itself.
        """
        with Interrupt() as interrupted:
            self._look()
            try:
                while not interrupted.requested and self._step():
                    time.sleep(self.pause)
            finally:
                under_way = ", ".join(str(getattr(task, "name", task)) for task in self.progress.running)
                interrupted.what = f"{under_way or 'nothing'} was under way and has saved itself; {self.work.again}"
                self._stop()
        return self.progress

    def _look(self) -> None:
        """See what is done already; refuse before anything is begun if a folder holds what is not asked for."""
        wrong = []
        for task in self.progress.tasks:
            try:
                if self.progress.ready(task) and self.work.is_done(task):
                    self.progress.done[task] = None
            except HandsightError as error:
                wrong.append(str(error))
        if wrong:
            raise StudyError("\n".join(dict.fromkeys(wrong)))

    def _step(self) -> bool:
        """Look after what runs, begin what can be begun. Returns whether there is anything left to wait for."""
        progress = self.progress
        for running in [one for one in progress.running.values() if one.process.poll() is not None]:
            self._finish(running)
        progress.elsewhere.clear()
        for task in filter(progress.ready, progress.tasks):
            self._begin(task)
        self.show(progress)
        return bool(progress.running or progress.elsewhere)

    def _begin(self, task: Task) -> None:
        """Start it, if there are cores, it is not done and nobody is at it."""
        used = {running.cores for running in self.progress.running.values()}
        free = [cores for cores in self.slots if cores not in used]
        if not free:
            return
        try:
            if self.work.is_done(task):
                self.progress.done[task] = None
            elif self.work.is_busy(task):
                self.progress.elsewhere.add(task)
            else:
                self.progress.running[task] = self._start(task, free[0])
        except HandsightError as error:
            self.progress.failed[task] = str(error)

    def _start(self, task: Task, cores: tuple[int, ...]) -> Running[Task]:
        words, log = [*self.program, *self.work.command(task)], self.work.log(task)
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        if self.cluster is not None:
            start = log.stat().st_size if log is not None and log.exists() else 0
            return Running(task, self.cluster.start(words, log), cores, start)
        with nullcontext() if log is None else log.open("ab") as file:
            start = file.tell() if file else 0
            process: Any = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "OMP_NUM_THREADS": str(len(cores))},
                start_new_session=True,  # Ctrl-C is the runner's business, which asks its processes to leave
                preexec_fn=at_home(cores, os.getpid()),
            )
        return Running(task, process, cores, start)

    def _finish(self, running: Running[Task]) -> None:
        """A process has ended: well, by a mistake, or because somebody killed it."""
        task, code = running.task, running.process.returncode or 0
        del self.progress.running[task]
        if code == 0:
            self.progress.done[task] = time.monotonic() - running.began
            return
        killed = code < 0 or code > 128
        self._killed[task] += killed
        if killed and self._killed[task] <= TRIES:
            return
        log = self.work.log(task)
        tail = log.read_bytes()[running.log_start :].decode(errors="replace") if log else ""
        lines = tail.strip().splitlines() or [f"its process ended with code {code} and wrote nothing"]
        self.progress.failed[task] = "\n".join(lines[-TRACEBACK_LINES:])

    def _stop(self) -> None:
        """Ask all processes to save and leave, and wait for them."""
        processes = [running.process for running in self.progress.running.values()]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()  # what it saved last is whole


def at_home(cores: tuple[int, ...], parent: int) -> Callable[[], None]:
    """What a new process does before it becomes a command: it keeps to its cores, and asks to be told to save and leave
    (SIGTERM) when its parent ends, even by kill -9; the latter on Linux only."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def settle() -> None:
        os.sched_setaffinity(0, cores)
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has gone already
            os._exit(128 + signal.SIGTERM)

    return settle


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
