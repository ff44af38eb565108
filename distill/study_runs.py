"""What of a cell lies on the disk already: a run to adopt, to go on with, or one that is not what was asked for."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from . import checkpoint
from .alike import differences, flat
from .intervals import plain
from .policy_loading import find_checkpoint
from .run import CONFIG, Run, RunError
from .study_cells import Cell, StudyError, folder
from .study_spec import StudyConfig
from .train_student import StudentRunConfig
from .train_teacher import TeacherConfig

PERIODIC = "iteration_*.ckpt"
TRAININGS = ("train-teacher", "train-student")
"""Words by which a process is known to train."""


@dataclass(frozen=True)
class Found:
    """What lies in a cell's folder."""

    state: Literal["new", "begun", "finished"]
    """"new": nothing that could be gone on with."""
    run: Run | None = None

    @property
    def path(self) -> Path:
        """The run folder of a cell that has one."""
        if self.run is None:
            raise StudyError("this cell has no run yet")
        return self.run.path


def find(spec: StudyConfig, cell: Cell, teacher: Path | None, driver: Path | None = None) -> Found:
    """The run of a cell, if there is one that trains what the study asks for.

    Args:
        spec: of the study.
        cell: settled, if it is a matched student's.
        teacher: checkpoint that it learns from; None if it needs none.
        driver: checkpoint of the student that drives while it learns; None if it needs none.

    Raises:
        StudyError: there are runs, but none with the cell's configuration; says in what they differ.
    """
    expected, unlike = spec.config(cell, teacher, driver), []
    stub = None
    for path in sorted(path.parent for path in folder(spec.out, cell).glob(f"*/*/{CONFIG}")):
        run = Run.open(path)
        wrong = unlike_in(run, expected)
        if wrong:
            unlike.append("\n    ".join([f"{path} differs in", *wrong]))
        elif is_finished(run, expected.iterations):
            return Found("finished", run)
        elif checkpoint.complete(run.checkpoints, PERIODIC):
            return Found("begun", run)
        else:
            stub = run  # killed before its first checkpoint: there is nothing to go on with
    if unlike and stub is None:
        what = "the study wants what stands first, the run has what stands second"
        raise StudyError("\n  ".join([f"cell {cell.key} cannot adopt what lies in its folder ({what}):", *unlike]))
    return Found("new")


def is_finished(run: Run, iterations: int) -> bool:
    """Whether a training's last checkpoint is there, whole."""
    try:
        checkpoint.verify(run.checkpoints / PERIODIC.replace("*", f"{iterations:06d}"))
    except checkpoint.CheckpointError:
        return False
    return True


def unlike_in(run: Run, expected: TeacherConfig | StudentRunConfig) -> list[str]:
    """A line for everything in which a run's configuration is not the expected one.

    Typed: fields that are newer than the run have their defaults. Of a teacher, its bytes count and not its path.
    """
    try:
        found = run.config(type(expected))
    except RunError as error:
        return [str(error)]
    origins = ("teacher", "driver") if isinstance(expected, StudentRunConfig) else ("warm_start",)
    wrong = []
    for origin in origins:
        one, other = getattr(expected, origin), getattr(found, origin)
        if one != other and (one is None or other is None or not _same_origin(run, origin, one, other)):
            wrong.append(f"{origin}: {one} and {other}, which is another checkpoint")
    wanted, has = (flat(plain(asdict(config)) | dict.fromkeys(origins)) for config in (expected, found))
    return wrong + differences(wanted, has)


def _same_origin(run: Run, origin: str, expected: Path, found: Path) -> bool:
    """Whether the run learnt from the checkpoint `expected`."""
    wanted = checkpoint.digest(find_checkpoint(expected))
    if origin != "warm_start":  # the student has written down whose bytes they were
        with suppress(checkpoint.CheckpointError):
            return checkpoint.load(checkpoint.latest(run.checkpoints, PERIODIC))[origin]["sha256"] == wanted
    try:
        return checkpoint.digest(find_checkpoint(found)) == wanted
    except (OSError, RunError):  # moved, with the whole study: then the end of the path is as it was
        ends = [Path(path).parts[-6:] for path in (expected, found)]
        return ends[0] == ends[1]


def trainings_in(place: Path) -> list[int]:
    """Processes on this machine that train below this folder, whoever started them; by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = Path(os.readlink(entry / "cwd"))
        except OSError:  # ended, or another user's
            continue
        if int(entry.name) == os.getpid() or not set(TRAININGS) & set(words):
            continue
        values = [word.partition("=")[2] or word for word in words]
        places = [(here / value).resolve() for value in values if value]
        if any(path == place.resolve() or place.resolve() in path.parents for path in places):
            found.append(int(entry.name))
    return found
