"""Train a teacher with PPO: one that knows the state, or one that sees a depth image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ...teachers import RolloutStoppedError
from ..runs import checkpoint
from ..runs.interrupt import Interrupt
from ..runs.run import Run
from . import data_parallel
from .session import PERIODIC, config_and_run, session
from .teacher_config import TeacherConfig
from .teacher_training import TeacherTraining


def train_teacher(
    config: TeacherConfig | None = None,
    resume: Path | None = None,
    run_root: Path = Path("runs"),
) -> Run:
    """Train a teacher in a run folder of its own, or go on with an interrupted run.

    Args:
        config: what to train; with `resume`, which goes on with the run's own, its machine settings alone count.
        resume: run folder; its newest periodic checkpoint is taken, and without one it begins anew.
        run_root: where a new run folder goes.

    Raises:
        Interrupted: Ctrl-C; everything up to the last finished iteration is saved.
    """
    config, run = config_and_run(config, resume, TeacherConfig, "train_teacher")
    fabric = data_parallel.make_fabric(config.device, config.precision, config.ranks)
    if config.ranks == 1:
        return _train(fabric, config, run, run_root)
    with Interrupt():  # the ranks hear of it, too: they save, and leave
        train: Any = _train
        return fabric.launch(train, config, run, run_root)


def _train(fabric: Fabric, config: TeacherConfig, run: Run | None, run_root: Path) -> Run:
    """The whole training, as one rank sees it: collect and update, log, validate, save, until there were as many
    iterations as the configuration says."""
    rank, each = fabric.global_rank, config.num_envs * config.rollout_steps
    if run is not None and checkpoint.complete(run.checkpoints, PERIODIC):
        training = TeacherTraining.resume(run, config, fabric)
    else:  # a run that holds nothing but its configuration begins, too
        training = TeacherTraining.start(config, fabric, run)
    try:
        if run is None:  # only now: a configuration that is refused leaves no folder behind
            run = training.run = _create(config, run_root, rank)
        elif not rank:
            run.rewind(training.steps)
        with session(run, training.title, config.iterations * each, done=training.steps, silent=rank > 0) as sitting:
            stop = sitting.stop if config.ranks == 1 else lambda: False
            try:
                while training.iteration < config.iterations:
                    metrics = training.iterate(stop)
                    sitting.advance(each)
                    sitting.log(metrics, training.steps)
                    sitting.say(losses(metrics))
                    if _due(training.iteration, config.validate_every, config.iterations):
                        sitting.log(training.validate(stop), training.steps)
                    if _due(training.iteration, config.checkpoint_every, config.iterations):
                        training.save()
                    if config.ranks > 1 and data_parallel.agreed(sitting.stop):
                        raise RolloutStoppedError
            except RolloutStoppedError:
                training.save()
        return run
    finally:
        training.close()
        if run is not None:
            run.close()


def _create(config: TeacherConfig, root: Path, rank: int) -> Run:
    """The run's folder, which the first rank makes."""
    mine = None if rank else Run.create(config.run_name, config, root)
    path = data_parallel.gather(mine and mine.path)[0]
    return mine or Run.open(path)


def _due(iteration: int, every: int, last: int) -> bool:
    return every > 0 and (iteration % every == 0 or iteration == last)


def losses(metrics: Mapping[str, float]) -> str:
    """What to tell of simulators that failed or were replaced meanwhile; nothing if none did."""
    failed, back = metrics.get("remote/replaced", 0.0), metrics.get("remote/seconds_restart", 0.0)
    told = [f"{failed:.0f} of the simulators failed, its worlds are missing and not learnt from"] * (failed > 0)
    return "; ".join(told + [f"a successor took over after {back:.1f} s"] * (back > 0))
