"""A study's commands as jobs of a Slurm cluster, handed over by submitit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .training import StudyError

SHARED = ("timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "name", "stderr_to_stdout")
"""Parameters that submitit has for every kind of cluster; all others are Slurm's."""


class Cluster:
    """Starts commands as jobs; the folders of the study must be the same on all machines."""

    def __init__(self, folder: Path, parameters: Sequence[str], cluster: str = "slurm") -> None:
        """
        Args:
            folder: where submitit keeps its own files.
            parameters: NAME=VALUE each, e.g. partition=gpu, as sbatch has them, or one of `SHARED`.
            cluster: "slurm", or "local" for jobs on this machine.

        Raises:
            StudyError: submitit is missing, there is no Slurm here, or no such parameter.
        """
        try:
            import submitit
        except ImportError as error:
            raise StudyError("--jobs slurm: submitit is not installed: pip install 'handsight[slurm]'") from error
        if wrong := [one for one in parameters if "=" not in one]:
            raise StudyError(f"--slurm {' '.join(wrong)}: expected NAME=VALUE, e.g. partition=gpu timeout_min=240")
        asked: dict[str, Any] = {}
        for name, value in (one.split("=", 1) for one in parameters):
            asked[name if name in SHARED else f"{cluster}_{name}"] = int(value) if value.isdecimal() else value
        try:
            self.executor = submitit.AutoExecutor(folder, cluster=cluster)
            self.executor.update_parameters(**asked)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise StudyError(f"--jobs slurm: {error}") from error

    def start(self, words: Sequence[str], log: Path | None) -> Job:
        """Hand a command over; what it says goes to the end of `log`."""
        return Job(self.executor.submit(carry_out, list(words), log))


def carry_out(words: list[str], log: Path | None) -> int:
    """Runs a command where the job is; returns its exit code."""
    with Path(log or os.devnull).open("ab") as file:
        return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode


class Job:
    """A job as the runner looks at a process."""

    def __init__(self, job: Any) -> None:
        self.job, self.returncode = job, None

    def poll(self) -> int | None:
        """Exit code of a job that is over; 143 of one that was cancelled or lost, which is begun again."""
        if self.returncode is None and self.job.done():
            try:
                self.returncode = self.job.result()
            except Exception:  # whatever the cluster did to it
                self.returncode = 143
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Cancel it: Slurm sends its command SIGTERM, which saves and leaves."""
        self.job.cancel()

    def wait(self, timeout: float | None = None) -> None:
        """Nothing: who leaves need not wait for a cluster."""

    kill = wait
