"""Train a teacher with PPO: one that knows the state, or one that sees a depth image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ..runs.interrupt import Interrupt
from ..runs.run import Run
from . import data_parallel
from .session import carry_out, config_and_run
from .teacher_config import TeacherConfig
from .teacher_training import TeacherTraining


def train_teacher(
    config: TeacherConfig | None = None, resume: Path | None = None, run_root: Path = Path("runs"), **changes: Any
) -> Run:
    """Train a teacher in a run folder of its own, or go on with an interrupted run.

    Args:
        config: what to train; with `resume`, which goes on with the run's own, its machine settings alone count.
        resume: run folder; its newest periodic checkpoint is taken, and without one it begins anew.
        run_root: where a new run folder goes.
        changes: with `resume`: `iterations`, to train on to so many; `warm_start`, where its state teacher is now.

    Raises:
        Interrupted: Ctrl-C; everything up to the last finished iteration is saved.
    """
    config, run = config_and_run(config, resume, TeacherConfig, "train_teacher", **changes)
    fabric = data_parallel.make_fabric(config.device, config.precision, config.ranks)
    train: Any = partial(_train, config=config, run=run, root=run_root)  # Fabric would rebuild frozen arguments
    if config.ranks == 1:
        return train(fabric)
    with Interrupt():  # the ranks hear of it, too: they save, and leave
        return fabric.launch(train)


def _train(fabric: Fabric, config: TeacherConfig, run: Run | None, root: Path) -> Run:
    """The whole training, as one rank sees it."""
    return carry_out(TeacherTraining.made(config, fabric), run, root)
