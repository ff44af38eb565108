"""One sitting of a training, of a teacher or a student: its run, what the user sees, how it is broken off."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from ... import sims
from ...datasets.schema import EYES
from ...errors import HandsightError
from ...files import explained, owned
from ...policies.finite import NotFiniteError
from ...sims.env_config import EnvConfig
from ...sims.vec_env import VecEnv
from ...teachers import RolloutStoppedError
from ..runs import checkpoint, loggers, stored_config
from ..runs.interrupt import Interrupt
from ..runs.policy_io import BEST, differences, find_checkpoint, found_again
from ..runs.progress import Stage, stage
from ..runs.run import CONFIG, Run, RunError
from .data_parallel import gather

Config = TypeVar("Config")
_log = logging.getLogger(__name__)
MAY_CHANGE = ("iterations", "checkpoint_every", "keep_checkpoints", "memory_budget_gib")
"""Fields of a configuration that may be others when a run is gone on with: no iteration depends on them."""
ORIGINS = ("teacher", "driver", "warm_start", "data")
"""Fields that say where something is; a digest in the checkpoints says what it is."""
MOST_DIVERGED = 0.2
"""Share of diverged steps above which it is said aloud."""
SHOWN = {"success_at_end": "success", "return": "return", "kl": "kl", "imitation_error": "error"}
"""Metrics that stand beside the progress bar, and what they are called there."""


class Training(ABC):
    """What one iteration changes, and how it is put back: of a teacher, or of a student."""

    config: Any
    """The frozen dataclass that the run is made from."""
    fabric: Fabric
    """Device, precision and rank that it computes with."""
    name: str
    """What kind of run it is, e.g. "teacher-state": the folder above the date."""
    command: str
    """The command that trains it."""
    unit: str
    """What its progress bar counts."""
    units: int
    """How many of them an iteration takes."""
    following: str
    """What its policy is for: commands to type next, with {run} for its folder."""
    iteration: int
    """Iterations that are over by now."""
    run: Run | None = None
    """Where checkpoints and metrics go."""

    @property
    def title(self) -> str:
        """What stands before the progress bar."""
        return self.name

    @property
    @abstractmethod
    def steps(self) -> int:
        """Environment steps that were learnt from."""

    def begin(self) -> None:  # noqa: B027
        """What is done once, before the first iteration."""

    @abstractmethod
    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue bit for bit from a checkpoint. Raises HandsightError: what it was learnt from was replaced."""

    @abstractmethod
    def learn(self, session: Session) -> None:
        """Iterate, log and save until there were as many iterations as the configuration says."""

    def keep(self, tree: Mapping[str, Any], iteration: int, pattern: str = checkpoint.PERIODIC) -> None:
        """Write a checkpoint of an iteration, with the configuration that led to it, and drop the oldest ones."""
        path = self.folder / "checkpoints" / pattern.replace("*", f"{iteration:06d}")
        checkpoint.save(
            path, tree if self.fabric.global_rank or not self.run else {**tree, "run_config": self.run.stored}
        )
        checkpoint.keep_last(path.parent, self.config.keep_checkpoints, pattern, path)

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        assert self.run is not None, "expected a run to save into"
        return self.run.path

    def close(self) -> None:  # noqa: B027
        """Release environments, simulators and threads."""


def carry_out(training: Training, run: Run | None, root: Path) -> Run:
    """Train in a run folder of its own, or go on with an interrupted run; the training is closed.

    Args:
        training: with fresh weights.
        run: to go on with from its newest checkpoint; without one in it, it begins, too. None: a new one.
        root: where a new run folder goes.

    Raises:
        Interrupted: Ctrl-C; every finished iteration is saved.
        RunError: another process trains this run, or it has done more iterations than it is to have.
        NotFiniteError: it came to NaN or infinite numbers; its last finite checkpoint is kept.
    """
    rank, training.run, held = training.fabric.global_rank, run, ExitStack()
    try:
        logged = loggers.chosen(training.config.logger)
        if run is not None and not rank:
            held.enter_context(owned(run.path, RunError))
        if run is not None and (saved := newest(run)):
            with explained(run.path):
                training.restore(saved)
            if training.iteration > training.config.iterations:
                done, asked = training.iteration, training.config.iterations
                raise RunError(f"run {run.path} has done {done:,} iterations: expected no fewer, found {asked:,}")
        else:
            training.begin()
        if run is None:  # only now: a configuration that is refused leaves no folder behind
            mine = None if rank else Run.create(training.name, training.config, root)
            path = gather(mine and mine.path)[0]
            run = training.run = mine or Run.open(path)
            held.enter_context(nullcontext() if rank else owned(run.path, RunError))
        elif not rank:
            run.rewind(training.steps, training.iteration)
        run.loggers = logged
        done, total = (count * training.units for count in (training.iteration, training.config.iterations))
        if done >= total:
            _log.info("run %s is finished: nothing to do; --iterations N trains on to N of them", run.path)
        else:
            with _session(run, training.title, total, training.unit, done, silent=rank > 0) as sitting:
                try:
                    training.learn(sitting)
                finally:
                    place = f"{training.name} after iteration {training.iteration:,} of {training.config.iterations:,}"
                    sitting.interrupt.what = f"{place}; handsight {training.command} --resume {run.path} goes on"
            if not rank:
                _log.info("%s", conclusion(training, run))
        return run
    except NotFiniteError as lost:
        if run is None:
            raise
        kept = checkpoint.complete(run.checkpoints, checkpoint.PERIODIC)
        raise NotFiniteError(f"run {run.path} stopped: {lost}; kept: {kept[-1].name if kept else 'nothing'}") from lost
    finally:
        training.close()
        if run is not None:
            run.close()
        held.close()


def conclusion(training: Training, run: Run) -> str:
    """What a finished training reached, where its policy is, and what to do next, in words."""
    rows, best = run.metrics(), checkpoint.standing(run.checkpoints / BEST)
    validated = [(row["validation/success_at_end"], row["step"]) for row in rows if "validation/success_at_end" in row]
    newest = next((row["success_at_end"] for row in reversed(rows) if "success_at_end" in row), None)
    told = [f"{training.name}: {training.iteration:,} iterations, {training.steps:,} steps"]
    if validated and best.exists():
        success, step = max(validated, key=lambda one: one[0])
        told.append(f"best validation: success {success:.3f} after {step:,.0f} steps, kept as {best}")
    else:
        reached = [] if newest is None else [f"success {newest:.3f} of the last iteration's episodes"]
        kept = checkpoint.complete(run.checkpoints, checkpoint.PERIODIC)
        told.append(", ".join([*reached, f"kept as {kept[-1]}" if kept else "no checkpoint was kept"]))
    return "\n".join([*told, f"next: {training.following.format(run=run.path)}"])


def make_env(
    config: Any, env_config: EnvConfig, groups: tuple[str, ...], fabric: Fabric, arrive: str | None = None
) -> VecEnv:
    """This rank's share of a training's environments, here or where the simulators are (`config.sims`).

    arrive: device on which the observations of these simulators arrive; None: where is learnt.
    """
    rank, ranks, learner = fabric.global_rank, fabric.world_size, str(fabric.device)
    share = config.num_envs // ranks
    if config.sims:
        arrive = arrive or learner
        return sims.make_remote(env_config, groups, share, config.sims, config.remote, arrive, rank, ranks)
    place = sims.worlds_device(env_config, learner)
    if env_config.engine == "mujoco_warp" and place == "cpu":
        stored_config.tell("engine mujoco_warp on device cpu: one core does what a GPU is for (--device cuda:0)")
    return sims.make(env_config, groups, share, share * rank, place)


def newest(run: Run) -> dict[str, Any]:
    """The checkpoint from which a run is gone on with; empty if it has none."""
    begun = checkpoint.complete(run.checkpoints, checkpoint.PERIODIC)
    return checkpoint.load(checkpoint.latest(run.checkpoints, checkpoint.PERIODIC)) if begun else {}


def config_and_run(
    config: Config | None, resume: Path | None, config_class: type[Config], command: str, **changes: Any
) -> tuple[Config, Run | None]:
    """The configuration of a new run, or that of the run to go on with, and this run.

    With `resume`, a run folder of this kind of configuration, the machine settings of `config` alone count, and the
    `changes`: `iterations`, and where a policy or data are now. `command` is who asks, for the message.

    Raises:
        HandsightError: neither is given; RunError: `resume` is no run folder, one of another kind, one whose
            config.json is not what its checkpoint was trained with, or what is named anew is not what it began with.
    """
    if resume is None and changes:
        raise HandsightError(f"{command}: {', '.join(changes)} change a run that is resumed; found none")
    run = None if resume is None else Run.open(resume)
    if run is not None:
        return _gone_on_with(run, run.resume(config_class, config, **changes)), run
    if config is None:
        raise HandsightError(f"{command}: expected either a config or a run to resume")
    return config, run


def _gone_on_with(run: Run, config: Config) -> Config:
    """The configuration of a run to go on with, the policies and data that it names looked up where they are now."""
    saved, now = newest(run), run.stored
    if saved.get("run_config"):
        where = f"the newest checkpoint of {run.path}"
        was = stored_config.dump(stored_config.read(type(config), saved["run_config"], where, RunError))
        names = [name for name in was if name not in (*MAY_CHANGE, *ORIGINS)]
        if lines := [line for name in names for line in differences(name, was[name], now[name])]:
            told = (
                f"{run.path / CONFIG} is not what its newest checkpoint was trained with; put it back, or begin anew:"
            )
            raise RunError("\n  ".join([told, *lines]))
    found = {who: path for who in ORIGINS if (path := getattr(config, who, None))}
    for who, path in found.items():  # shards have no manifest; they are asked when they are read
        sha256 = None if who == "data" else (saved.get(who) or {}).get("sha256")
        if who in run.changes and who != "data":
            found[who] = find_checkpoint(path)
            if (here := checkpoint.digest(found[who])) != sha256:
                known = f"expected sha256 {sha256}" if sha256 else "no checkpoint says yet which one that is"
                raise RunError(f"resume {run.path}: {path} is not its {who}: {known}, found {here}")
        elif who not in run.changes:
            found[who] = found_again(path, run.path, sha256)
        _log.info("resume %s reads its %s from %s", run.path, who, found[who])
    return replace(config, **found)  # type: ignore[type-var]


class Session:
    """What a training loop reports to, and asks whether to go on."""

    def __init__(self, run: Run, interrupt: Interrupt, progress: Stage | None) -> None:
        """progress: None for a rank that neither shows nor logs anything."""
        self.run, self.interrupt, self.progress = run, interrupt, progress

    def stop(self) -> bool:
        """Whether the user wants to leave."""
        return self.interrupt.requested

    def tick(self, n: float = 1) -> None:
        """So many units of work are done. Raises RolloutStoppedError if the user wants to leave."""
        if self.progress:
            self.progress.advance(n)
        if self.stop():
            raise RolloutStoppedError

    def show(self, training: Training, obs: Mapping[str, Tensor]) -> None:
        """Log pictures of observations (N, ...) after the first iteration and after each quarter of all."""
        quarter = max(1, training.config.iterations // 4)
        seen = self.progress and (training.iteration == 1 or training.iteration % quarter == 0) and pictures(obs)
        if seen:
            self.run.show(seen, training.steps)

    def log(self, metrics: Mapping[str, float], step: int, units: int = 0, words: str = "") -> None:
        """Write a row of metrics at an environment step; show that `units` of work were done for it, its most telling
        figures, and words that stay, if any."""
        if self.progress:
            self.run.log(metrics, step)
            self.progress.advance(units, **{short: metrics[name] for name, short in SHOWN.items() if name in metrics})
            if words:
                self.progress.say(words)


def pictures(obs: Mapping[str, Tensor], count: int = 4) -> dict[str, NDArray[np.uint8]]:
    """What the first `count` of N environments see, side by side: (H, W, 3) for each eye, and for depth."""
    found, groups = {}, set(obs.keys())  # a TensorDict is not asked by `in`
    if "stereo" in groups:
        for eye, name in enumerate(EYES):
            found[f"{name} eye"] = torch.cat(list(obs["stereo"][:count, eye]), dim=-1)
    if "depth" in groups:
        depth = torch.cat(list(obs["depth"][:count]), dim=-1).float()
        found["depth"] = (255 * depth / depth.max().clamp(min=1)).expand(3, -1, -1)
    return {name: image.permute(1, 2, 0).to("cpu", torch.uint8).numpy() for name, image in found.items()}


def losses(metrics: Mapping[str, float], rows: int) -> str:
    """What to tell of an iteration that was not learnt from as a whole. rows: its environment steps."""
    failed, back = metrics.get("remote/replaced", 0.0), metrics.get("remote/seconds_restart", 0.0)
    told = [f"{failed:.0f} of the simulators failed, its worlds are missing and not learnt from"] * (failed > 0)
    told += [f"a successor took over after {back:.1f} s"] * (back > 0)
    spare = metrics.get("remote/spares_lost", 0.0)
    told += [f"{spare:.0f} spare simulators hung or died, others take their places"] * (spare > 0)
    skipped, nonfinite, lost = (metrics.get(name, 0.0) for name in ("skipped", "nonfinite", "diverged"))
    told += [f"{skipped:.0f} gradient steps were skipped: NaN or infinite gradients"] * (skipped > 0)
    told += [f"{nonfinite:.0f} of {rows:,} steps had NaN or infinite numbers and are not learnt from"] * (nonfinite > 0)
    if lost > MOST_DIVERGED * rows:
        told.append(f"{lost / rows:.0%} of the steps diverged: the physics of these worlds is not sound")
    return "; ".join(told)


@contextmanager
def _session(run: Run, title: str, total: int, unit: str, done: int, silent: bool) -> Iterator[Session]:
    """Train inside it: Ctrl-C asks the loop to leave, which then breaks off by a RolloutStoppedError."""
    shown = nullcontext() if silent else stage(title, total, unit, done)
    with Interrupt() as interrupt, shown as progress, suppress(RolloutStoppedError):
        yield Session(run, interrupt, progress)
