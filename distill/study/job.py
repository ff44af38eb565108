"""One piece of a study's work in a process of its own: `python -m handsight.distill.study.job OUT VERB CELL ...`.

The study's runner starts it; by hand it repeats a piece that failed. It keeps to its cores, holds its cell's lock
(which ends with the process, however that ends), and leaves when the runner that started it is gone.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import HandsightError

JOBS = "jobs"
"""In the study's folder, by cell: NAME.lock, held by the process that works on it, and NAME.log, what they wrote."""
VERBS = ("train", "match", "evaluate")
PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def main(words: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake that the message explains, 1 a defect, 128 + n stopped by signal n."""
    args = _parser().parse_args(words)
    if args.cores:
        os.sched_setaffinity(0, args.cores)  # before torch, MuJoCo and OpenMP count their threads
        os.environ["OMP_NUM_THREADS"] = str(len(args.cores))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if args.parent:
        leave_with(args.parent)
    logging.getLogger(__name__.partition(".")[0]).addHandler(logging.StreamHandler())
    logging.getLogger(__name__.partition(".")[0]).setLevel(logging.INFO)
    from .work import work  # torch and all that

    try:
        with locked(lock_of(args.out, args.cell)):
            work(args.out, args.verb, args.cell)
    except HandsightError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{stop or 'stopped'}\n")
        return 128 + getattr(stop, "signal_number", 2)
    except Exception:  # whatever it is: the runner reads it in the log, and other cells go on
        traceback.print_exc()
        return 1
    return 0


def leave_with(parent: int) -> None:
    """Let this process be asked to save and leave (SIGTERM) when its parent ends, even by kill -9. On Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has gone already
        raise SystemExit(128 + signal.SIGTERM)


def lock_of(out: Path, cell: str) -> Path:
    """The file that is locked by whoever works on a cell."""
    return out / JOBS / f"{cell}.lock"


def log_of(out: Path, cell: str) -> Path:
    """What the processes that worked on a cell wrote."""
    return out / JOBS / f"{cell}.log"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, after waiting for whoever holds it: a predecessor that still saves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.is_file():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="study_job", description="One piece of a study's work.")
    parser.add_argument("out", type=Path, help="the study's folder")
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("cell", help="e.g. wrist/seed0/state-teacher")
    parser.add_argument("--cores", type=lambda text: {int(core) for core in text.split(",")}, help="e.g. 0,1")
    parser.add_argument("--parent", type=int, help="process without which this one has no business")
    return parser


if __name__ == "__main__":
    sys.exit(main())
