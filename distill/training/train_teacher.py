"""Train a teacher with PPO: one that knows the state, or one that sees a depth image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ...errors import HandsightError
from ...teachers import RolloutStoppedError
from ..runs import checkpoint
from ..runs.interrupt import Interrupt
from ..runs.progress import stage
from ..runs.run import Run
from . import data_parallel
from .teacher_config import TeacherConfig
from .teacher_training import OTHER_RANK, PERIODIC, TeacherTraining


def train_teacher(
    config: TeacherConfig | None = None,
    resume: Path | None = None,
    run_root: Path = Path("runs"),
) -> Run:
    """Train a teacher in a run folder of its own, or go on with an interrupted run.

    Args:
        config: what to train; not with `resume`, which goes on with the run's own.
        resume: run folder; its newest periodic checkpoint is taken, and without one it begins anew.
        run_root: where a new run folder goes.

    Raises:
        Interrupted: Ctrl-C; everything up to the last finished iteration is saved.
    """
    if (config is None) == (resume is None):
        raise HandsightError("train_teacher: expected either a config or a run to resume")
    run = None if resume is None else Run.open(resume)
    if run is not None:
        config = run.config(TeacherConfig)
    assert config is not None
    if config.ranks == 1:
        return _train(None, config, run, run_root)
    with Interrupt():  # the ranks hear of it, too: they save, and leave
        train: Any = _train
        return data_parallel.make_fabric(config).launch(train, config, run, run_root)


def _train(fabric: Fabric | None, config: TeacherConfig, run: Run | None, run_root: Path) -> Run:
    """The whole training, as one rank sees it."""
    rank = fabric.global_rank if fabric else 0
    training = TeacherTraining(config, run, None if run is None else _saved(run, rank), fabric)
    try:
        if run is None:  # only now: a configuration that is refused leaves no folder behind
            run = training.save_into(_create(config, run_root, rank))
        elif not rank:
            run.rewind(training.steps)
        learn(training)
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


def _saved(run: Run, rank: int) -> dict[str, Any] | None:
    """The newest checkpoint, with this rank's worlds; None where the run has none yet."""
    if not checkpoint.complete(run.checkpoints, PERIODIC):
        return None
    newest = checkpoint.latest(run.checkpoints, PERIODIC)
    saved = checkpoint.load(newest)
    if rank:
        beside = OTHER_RANK.format(rank).replace("iteration_*.ckpt", newest.name)
        saved |= checkpoint.load(run.checkpoints / beside)
    return saved


def learn(training: TeacherTraining) -> None:
    """Iterate to the end; log, validate and save on the way."""
    config, run = training.config, training.run
    per_iteration = config.num_envs * config.rollout_steps
    total = config.iterations * per_iteration
    log = run.log if not training.fabric.global_rank else lambda *_: None
    shown = stage(training.title, total, done=training.steps) if not training.fabric.global_rank else nullcontext()
    with Interrupt() as interrupted, shown as progress:
        stop = lambda: interrupted.requested and config.ranks == 1  # noqa: E731
        try:
            while training.iteration < config.iterations:
                metrics = training.iterate(stop)
                log(metrics, training.steps)
                if progress:
                    progress.advance(per_iteration, **_shown(metrics))
                    if lost := losses(metrics):
                        progress.say(lost)
                if _due(training.iteration, config.validate_every, config.iterations):
                    log(training.validate(stop), training.steps)
                if _due(training.iteration, config.checkpoint_every, config.iterations):
                    training.save()
                if config.ranks > 1 and data_parallel.agreed(lambda: interrupted.requested):
                    raise RolloutStoppedError
        except RolloutStoppedError:
            training.save()


def _due(iteration: int, every: int, last: int) -> bool:
    return every > 0 and (iteration % every == 0 or iteration == last)


def losses(metrics: Mapping[str, float]) -> str:
    """What to tell of simulators that failed or were replaced meanwhile; nothing if none did."""
    failed, back = metrics.get("remote/replaced", 0.0), metrics.get("remote/seconds_restart", 0.0)
    told = [f"{failed:.0f} of the simulators failed, its worlds are missing and not learnt from"] * (failed > 0)
    return "; ".join(told + [f"a successor took over after {back:.1f} s"] * (back > 0))


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"success_at_end": "success", "return": "return", "kl": "kl"}
    return {short: metrics[name] for name, short in names.items() if name in metrics}
