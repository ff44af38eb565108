"""The main job in one command: a study of four trainings (two teachers, two stereo students), and one comparison."""

from __future__ import annotations

import logging
import os
import resource
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import inside, read_json, write_json
from ...sims.machine import MACHINE, machine
from ...sims.scenes import SceneName
from ..runs.policy_io import BEST
from ..runs.run import CONFIG, Run
from ..study.runner import PROGRAM, Progress, Runner, Work
from ..training.student_config import StudentRunConfig
from ..training.teacher_config import TeacherConfig
from . import presets
from .options import Worlds

STAGES = "stages.json"
"""In the demo's folder: what each finished stage left, by name."""
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


@dataclass(frozen=True)
class DemoConfig:
    """Train a state and a depth teacher, distil each into a stereo student, compare all four and write report.html."""

    runs: Path = field(default=Path("runs"), metadata=MACHINE)
    """Where the demo's folder goes."""
    scene: SceneName = "wrist"
    """What can be seen: docs/scenes.md."""
    seed: int = 0
    """Seed of weights, environments and batches of all four."""
    from_scratch: bool = False
    """Train the depth teacher end to end, as the paper does, instead of after a warm start from the state teacher;
    takes hours on a CPU."""
    state_iterations: int = 160
    """Rollouts of the state teacher (4,096 steps each)."""
    depth_iterations: int = 110
    """Rollouts of the warm-started depth teacher, the imitated ones included."""
    scratch_iterations: int = 800
    """Rollouts of the depth teacher with `from_scratch`."""
    student_iterations: int = 16
    """DAgger rounds of each student."""
    preset: presets.PresetName = "cpu"
    """Engine and sizes: `cpu` for two cores, `gpu` for one GPU, where all four see 64 x 64 pixels."""
    device: str | None = machine(None)
    """Where everything is computed; None: where the preset says."""
    num_envs: int | None = None
    """Environments of a teacher, of which a student has half; None: as many as the preset says."""
    episodes: int = 512
    """Held-out resets on which all four are evaluated."""
    videos: bool = True
    """Film the first resets with every policy."""
    resume: Path | None = field(default=None, metadata=MACHINE)
    """Folder of an interrupted demo to go on with, under its own configuration; `device` may be given anew."""


def demo(config: DemoConfig, pause: float = 1.0) -> Path:
    """Run what is not done yet; returns the path of report.html. pause: seconds between two looks at a command.

    Raises:
        HandsightError: `resume` is not a demo's folder, or a command failed.
        Interrupted: Ctrl-C; `resume` goes on from the last saved iteration.
    """
    run, config = _open(config)
    run.close()
    stages = Stages(run.path, config)
    progress = Runner(stages, stages.note, PROGRAM, pause).run()
    if progress.failed:
        raise HandsightError("; ".join(f"{name}: {text}" for name, text in progress.failed.items()))
    report = run.path / COMPARISON / "report.html"
    _log.info("%s\nOpen %s", stages.account(), report)
    return report


def _open(config: DemoConfig) -> tuple[Run, DemoConfig]:
    if config.resume is None:
        return Run.create("demo", config, config.runs), config
    run = Run.open(config.resume)
    return run, run.resume(DemoConfig, config)


def _state(config: DemoConfig) -> TeacherConfig:
    preset = presets.teacher("state", config.preset, _words(config))
    return replace(preset, iterations=config.state_iterations, **_common(config, preset.num_envs))


def _depth(config: DemoConfig, state: Path) -> TeacherConfig:
    preset = presets.teacher("depth", config.preset, _words(config), None if config.from_scratch else state)
    iterations = config.scratch_iterations if config.from_scratch else config.depth_iterations
    return replace(preset, iterations=iterations, **_common(config, preset.num_envs))


def _student(config: DemoConfig, teacher: Path) -> StudentRunConfig:
    words = Worlds(
        image=presets.DEPTH_IMAGE if config.preset == "gpu" else None
    )  # all four see the same, to be compared
    preset = presets.student(config.preset, teacher, chosen=words)
    worlds = preset.num_envs if config.num_envs is None else max(1, config.num_envs // 2)
    return replace(preset, iterations=config.student_iterations, **_common(config, worlds) | {"num_envs": worlds})


def _words(config: DemoConfig) -> Worlds:
    return Worlds(scene=config.scene)


def _common(config: DemoConfig, usual: int) -> dict[str, Any]:
    """What all four share. usual: environments where no number is given."""
    device = {} if config.device is None else {"device": config.device}
    return {"seed": config.seed, "num_envs": config.num_envs or usual} | device


class Stages(Work[str]):
    """What a demo does, stage by stage, for the runner; each is written down when it ends, so that none is repeated."""

    def __init__(self, folder: Path, config: DemoConfig) -> None:
        self.folder, self.config, self.tasks = folder, config, TASKS
        self._file = folder / STAGES
        self.done: dict[str, dict[str, Any]] = read_json(self._file) if self._file.is_file() else {}
        for stage in self.done.values():
            inside(folder, stage["path"])

    def is_done(self, task: str) -> bool:
        """Whether it was written down as done."""
        return task in self.done

    def command(self, task: str) -> list[str]:
        """The words of the command that does a stage, or what is left of it."""
        if task == COMPARISON:
            return self._compare()
        if task in (STATE, DEPTH):
            config = _state(self.config) if task == STATE else _depth(self.config, self._best(STATE))
            run = self._run(task, config, config.run_name)
            return ["train-teacher", "--resume", str(run), "--device", config.device]
        teacher = STATE if task == STATE_STEREO else DEPTH
        config = _student(self.config, self._best(teacher))
        name = f"student-{config.student.sight}-from-{teacher.split()[0]}"
        return ["train-student", "--resume", str(self._run(task, config, name)), "--device", config.device]

    def _run(self, task: str, config: TeacherConfig | StudentRunConfig, name: str) -> Path:
        """The run of a stage: the one that an earlier session began, or a new one that holds its configuration."""
        begun = self._begun(task)
        if begun is not None:
            return begun
        run = Run.create(name, config, self._root(task))
        run.close()
        return run.path

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
        options = ["--episodes", str(self.config.episodes), "--device", _state(self.config).device]
        videos = "--videos" if self.config.videos else "--no-videos"
        return ["compare", *policies, *options, "--out", str(self.folder / COMPARISON), videos]

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
