"""The main job in one command: a study of four trainings (two teachers, two stereo students), and one comparison."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import inside, read_json, write_json
from ...sims.env_config import EnvConfig
from ..report.film import make_film, write_video
from ..runs.policy_io import BEST, load_policy
from ..runs.run import CONFIG, Run
from ..study.runner import PROGRAM, Progress, Runner, Work
from . import presets
from .arguments import DemoConfig

STAGES = "stages.json"
"""In the demo's folder: what each finished stage left, by name."""
FIRST_FILM = "first_look.mp4"
"""In the demo's folder: what the state teacher does at its first checkpoint."""
STATE, DEPTH, STATE_STEREO, DEPTH_STEREO = "state teacher", "depth teacher", "state → stereo", "depth → stereo"
COMPARISON = "comparison"
TASKS = {
    STATE: (),
    DEPTH: (STATE,),
    STATE_STEREO: (STATE,),
    DEPTH_STEREO: (DEPTH,),
    COMPARISON: (STATE, DEPTH, STATE_STEREO, DEPTH_STEREO),
}
"""All stages with those that each needs."""
_log = logging.getLogger(__name__)


def demo(config: DemoConfig, pause: float = 1.0) -> Path:
    """Run what is not done yet; returns the path of report.html. pause: seconds between two looks at a command.

    Raises:
        HandsightError: `resume` is not a demo's folder, or a command failed.
        Interrupted: Ctrl-C; `resume` goes on from the last saved iteration.
    """
    run, config = _open(config)
    run.close()
    stages = Stages(run.path, config)
    if not stages.filmed:
        _log.info("In a minute or two: a first film, %s; now: handsight view zoo:stereo", stages.folder / FIRST_FILM)
    progress = Runner(stages, stages.look, PROGRAM, pause).run()
    if progress.failed:
        raise HandsightError("; ".join(f"{name}: {text}" for name, text in progress.failed.items()))
    report = run.path / COMPARISON / "report.html"
    _log.info("%s\nOpen %s", stages.account(), report)
    return report


def _open(config: DemoConfig) -> tuple[Run, DemoConfig]:
    config = config.by_name()
    config.change(EnvConfig())  # what is none is said before anything begins
    if config.resume is None:
        return Run.create("demo", config, config.runs), config
    run = Run.open(config.resume)
    return run, run.resume(DemoConfig, config)


class Stages(Work[str]):
    """What a demo does, stage by stage, for the runner; each is written down when it ends, so that none is repeated."""

    def __init__(self, folder: Path, config: DemoConfig) -> None:
        self.folder, self.config, self.tasks = folder, config, TASKS
        self.again = f"handsight demo --resume {folder} goes on"
        self._file = folder / STAGES
        self.done: dict[str, dict[str, Any]] = read_json(self._file) if self._file.is_file() else {}
        for stage in self.done.values():
            inside(folder, stage["path"])
        self.filmed = not config.videos or STATE in self.done or (folder / FIRST_FILM).exists()

    def is_done(self, task: str) -> bool:
        """Whether it was written down as done."""
        return task in self.done

    def command(self, task: str) -> list[str]:
        """The words of the command that does a stage, or what is left of it."""
        if task == COMPARISON:
            return self._compare()
        begun = self._begun(task)
        words = self._teacher(task) if task in (STATE, DEPTH) else self._student(task)
        words = words if begun is None else [words[0], "--resume", str(begun)]
        return [*words, "--device", self._device]

    @property
    def _device(self) -> str:
        return self.config.device or presets.teacher("state", self.config.preset).device

    def _teacher(self, task: str) -> list[str]:
        config = self.config
        words = ["train-teacher", task.split()[0], *config.words, "--iterations"]
        if task == STATE:
            words += [str(config.state_iterations)]
        elif config.from_scratch:
            words += [str(config.scratch_iterations)]
        else:
            words += [str(config.depth_iterations), "--warm-start", str(self._best(STATE))]
        return words + self._shared(task, config.num_envs)

    def _student(self, task: str) -> list[str]:
        config, (teacher,) = self.config, TASKS[task]
        words = ["train-student", "--teacher", str(self._best(teacher)), "--iterations", str(config.student_iterations)]
        if config.preset == "gpu":
            words += ["--image", presets.DEPTH_IMAGE]  # all four see the same, to be compared
        return words + self._shared(task, config.num_envs and max(1, config.num_envs // 2))

    def _shared(self, task: str, num_envs: int | None) -> list[str]:
        """What is said to each training. num_envs: its environments; None: as many as the preset says."""
        worlds = [] if num_envs is None else ["--num-envs", str(num_envs)]
        preset = ["--preset", self.config.preset, "--seed", str(self.config.seed)]
        return [*preset, *worlds, "--runs", str(self._root(task))]

    def _begun(self, task: str) -> Path | None:
        runs = sorted(path.parent for path in self._root(task).glob(f"*/*/{CONFIG}"))
        return runs[-1] if runs else None

    def _root(self, task: str) -> Path:
        return self.folder / task.replace(" → ", "-to-").replace(" ", "-")

    def _trained(self, task: str) -> Path:
        """The run of a stage that is done."""
        run = self._begun(task)
        if run is None:
            raise HandsightError(f"{self.folder}: expected the run of the {task}, found none")
        return run

    def _best(self, teacher: str) -> Path:
        """Path of a trained teacher's best checkpoint."""
        return self._trained(teacher) / "checkpoints" / BEST

    def _compare(self) -> list[str]:
        students = (self._trained(name) for name in (STATE_STEREO, DEPTH_STEREO))
        policies = [str(path) for path in (self._best(STATE), self._best(DEPTH), *students)]
        options = ["--episodes", str(self.config.episodes), "--device", self._device]
        videos = "--videos" if self.config.videos else "--no-videos"
        return ["compare", *policies, *options, "--out", str(self.folder / COMPARISON), videos]

    def look(self, progress: Progress[str]) -> None:
        """Write down what has ended, and film what the state teacher does as soon as there is a checkpoint of it, in
        environments of the film's own; a film that cannot be made stops nothing."""
        self.note(progress)
        run = None if self.filmed or STATE not in progress.running else self._begun(STATE)
        if run is None or not (run / "checkpoints" / BEST).is_dir():
            return
        self.filmed, place = True, self.folder / FIRST_FILM
        try:
            loaded, steps = load_policy(run).tried_on("cpu"), Run.open(run).metrics()[-1]["step"]
            film = make_film(loaded.policy, loaded.env_config.with_postures("held_out"), 2, reset_kind="wide")
            write_video(place, film, f"{STATE} after {steps:,.0f} steps")
        except HandsightError as error:
            return _log.warning("no first film: %s", error)
        _log.info("\nWhat the %s does after %s steps: open %s", STATE, f"{steps:,.0f}", place)

    def note(self, progress: Progress[str]) -> None:
        """Write down what each stage that has ended left, and what it took."""
        for task, seconds in progress.done.items():
            if task in self.done:
                continue
            path = self._begun(task) or self.folder / COMPARISON
            self.done[task] = {
                "path": os.path.relpath(path, self.folder),
                "seconds": round(seconds or 0.0, 1),
                "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
            }
            write_json(self._file, self.done)

    def account(self) -> str:
        """A line for each stage, and one for all.

        Raises:
            HandsightError: no stage is done.
        """
        if not self.done:
            raise HandsightError(f"{self.folder}: no stage is done")
        lines = [f"{name}: {one['seconds'] / 60:.1f} min" for name, one in self.done.items()]
        total = sum(one["seconds"] for one in self.done.values()) / 60
        peak = max(one["peak_memory_gib"] for one in self.done.values())
        return "\n".join([*lines, f"all: {total:.1f} min, peak memory {peak:.1f} GiB"])
