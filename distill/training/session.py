"""One sitting of a training, of a teacher or a student: which run it is, what the user sees, how it is broken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

from ...errors import HandsightError
from ...teachers import RolloutStoppedError
from ..runs.interrupt import Interrupt
from ..runs.progress import Stage, stage
from ..runs.run import Run

Config = TypeVar("Config")
PERIODIC = "iteration_*.ckpt"
"""Names of the checkpoints from which a run is gone on with."""
SHOWN = {"success_at_end": "success", "return": "return", "kl": "kl", "imitation_error": "error"}
"""Metrics that stand beside the progress bar, and what they are called there."""


def config_and_run(
    config: Config | None, resume: Path | None, config_class: type[Config], command: str
) -> tuple[Config, Run | None]:
    """The configuration of a new run, or that of the run to go on with, and this run.

    Args:
        config: of a new run; with `resume` its machine settings alone count.
        resume: run folder, or None.
        config_class: what the run's config.json must hold.
        command: who asks, for the message.

    Raises:
        HandsightError: neither is given.
        RunError: `resume` is no run folder, or one of another kind.
    """
    run = None if resume is None else Run.open(resume)
    found = config if run is None else run.resume(config_class, config)
    if found is None:
        raise HandsightError(f"{command}: expected either a config or a run to resume")
    return found, run


class Session:
    """What a training loop reports to, and asks whether to go on."""

    def __init__(self, run: Run, interrupt: Interrupt, progress: Stage | None) -> None:
        """progress: None for a rank that neither shows nor logs anything."""
        self.run, self.interrupt, self.progress = run, interrupt, progress

    def stop(self) -> bool:
        """Whether the user wants to leave."""
        return self.interrupt.requested

    def tick(self) -> None:
        """One unit of work is done.

        Raises:
            RolloutStoppedError: the user wants to leave.
        """
        self.advance(1)
        if self.stop():
            raise RolloutStoppedError

    def advance(self, units: int) -> None:
        """Show that so many units more are done."""
        if self.progress:
            self.progress.advance(units)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write a row of metrics at an environment step, and show the most telling ones."""
        if self.progress:
            self.run.log(metrics, step)
            self.progress.advance(0, **{short: metrics[name] for name, short in SHOWN.items() if name in metrics})

    def say(self, words: str) -> None:
        """Show a line that stays, if there is anything to say."""
        if self.progress and words:
            self.progress.say(words)


@contextmanager
def session(
    run: Run, title: str, total: int, unit: str = "steps", done: int = 0, silent: bool = False
) -> Iterator[Session]:
    """Train inside it: Ctrl-C asks the loop to leave, which then breaks off by a RolloutStoppedError.

    Args:
        run: where metrics go.
        title: what is shown.
        total: units of work in all.
        unit: what is counted.
        done: units done before, by an earlier session of the run.
        silent: show and log nothing, as every rank but the first.

    Raises:
        Interrupted: after a request to leave, once the loop has left.
    """
    shown = nullcontext() if silent else stage(title, total, unit, done)
    with Interrupt() as interrupt, shown as progress, suppress(RolloutStoppedError):
        yield Session(run, interrupt, progress)
