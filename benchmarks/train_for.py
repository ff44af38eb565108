"""Train for some minutes, then leave cleanly; called again it goes on where it left.

    python benchmarks/train_for.py runs/gpu/state 9 train-teacher state --preset gpu

begins in the folder, or resumes the run that is there. Exits with 0 when the training is over, and with 75 (try again)
when its minutes were up before.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from handsight.distill.runs.run import runs_under

UNFINISHED = 75
"""sysexits.h: EX_TEMPFAIL."""
GRACE = 45.0
"""s for the last iteration and its checkpoint, within the minutes."""


def command(folder: Path, words: Sequence[str]) -> list[str]:
    """What begins or resumes."""
    begun = runs_under(folder)
    rest = ["--resume", str(begun[-1])] if begun else [*words[1:], "--runs", str(folder)]
    return [sys.executable, "-m", "handsight.distill.commands.cli", words[0], *rest]


def train_for(folder: Path, minutes: float, words: Sequence[str]) -> int:
    """The exit code."""
    deadline = time.monotonic() + 60 * minutes
    process = subprocess.Popen(command(folder, words))
    try:
        return process.wait(max(1.0, deadline - GRACE - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it saves what is finished
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()  # its last periodic checkpoint is whole
        process.wait()
    return UNFINISHED if process.returncode else 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(train_for(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
