"""The main job in one command: two teachers, two stereo students, one comparison."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import inside, read_json, write_json
from ...sims.machine import MACHINE, machine
from ...sims.scenes import SceneName
from ..runs.policy_io import BEST
from ..runs.run import Run
from ..training.student_config import StudentRunConfig
from ..training.teacher_config import TeacherConfig
from ..training.train_student import train_student
from ..training.train_teacher import train_teacher
from . import presets
from .compare import CompareArgs, compare
from .options import Worlds

STAGES = "stages.json"
"""In the demo's folder: what each finished stage left, by name."""
STATE, DEPTH, STATE_STEREO, DEPTH_STEREO = "state teacher", "depth teacher", "state → stereo", "depth → stereo"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoConfig:
    """Train a state and a depth teacher, distil each into a stereo student, compare all four and write report.html."""

    runs: Path = field(default=Path("runs"), metadata=MACHINE)
    """Where the demo's folder goes."""
    scene: SceneName = "wrist"
    """What can be seen: docs/scenes.md."""
    seed: int = 0
    """Of weights, worlds and batches of all four."""
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
    """Worlds of a teacher, of which a student has half; None: as many as the preset says."""
    episodes: int = 512
    """Held-out resets on which all four are evaluated."""
    videos: bool = True
    """Film every policy."""
    resume: Path | None = field(default=None, metadata=MACHINE)
    """Folder of an interrupted demo to go on with, under its own configuration; `device` may be given anew."""


def demo(config: DemoConfig) -> Path:
    """Run what is not done yet; returns the path of report.html.

    Raises:
        HandsightError: `resume` is not a demo's folder.
        Interrupted: Ctrl-C; `resume` goes on from the last saved iteration.
    """
    run, config = _open(config)
    stages = Stages(run.path)
    state = stages.teacher(STATE, _state(config))
    depth = stages.teacher(DEPTH, _depth(config, state))
    students = [stages.student(name, _student(config, teacher)) for name, teacher in _pairs(state, depth)]
    args = CompareArgs(
        (state, depth, *students),
        episodes=config.episodes,
        videos=config.videos,
        out=run.path / "comparison",
        device=_state(config).device,
    )
    stages.once("comparison", lambda: compare(args) and args.out)
    run.close()
    report = run.path / "comparison" / "report.html"
    _log.info("%s\nOpen %s", stages.account(), report)
    return report


def _open(config: DemoConfig) -> tuple[Run, DemoConfig]:
    if config.resume is None:
        return Run.create("demo", config, config.runs), config
    run = Run.open(config.resume)
    return run, run.resume(DemoConfig, config)


def _pairs(state: Path, depth: Path) -> tuple[tuple[str, Path], tuple[str, Path]]:
    return (STATE_STEREO, state), (DEPTH_STEREO, depth)


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
    """What all four share. usual: worlds where no number is given."""
    device = {} if config.device is None else {"device": config.device}
    return {"seed": config.seed, "num_envs": config.num_envs or usual} | device


class Stages:
    """Which stages of a demo are done; each is written down when it ends, so that none is ever repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / STAGES
        self.done: dict[str, dict[str, Any]] = read_json(self._file) if self._file.is_file() else {}
        for stage in self.done.values():
            inside(folder, stage["path"])

    def teacher(self, name: str, config: TeacherConfig) -> Path:
        """Path of the trained teacher's best checkpoint."""
        return self._train(name, lambda old, root: train_teacher(config, old, root)) / BEST

    def student(self, name: str, config: StudentRunConfig) -> Path:
        """Run folder of the distilled student."""
        return self._train(name, lambda old, root: train_student(config, old, root)).parent

    def _train(self, name: str, train: Callable[[Path | None, Path], Run]) -> Path:
        """The checkpoints of the run of a stage, gone on with if an earlier session had begun it."""
        root = self.folder / name.replace(" → ", "-to-").replace(" ", "-")
        begun = sorted(path.parent for path in root.glob("*/*/config.json"))
        self.once(name, lambda: train(begun[-1] if begun else None, root).path)
        return self.folder / self.done[name]["path"] / "checkpoints"

    def once(self, name: str, work: Callable[[], Any]) -> None:
        """Do the work of a stage unless it is done, and write down where it lies and what it took."""
        if name in self.done:
            return
        start = time.perf_counter()
        path = Path(work())
        self.done[name] = {
            "path": os.path.relpath(path, self.folder),
            "seconds": round(time.perf_counter() - start, 1),
            "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }
        write_json(self._file, self.done)

    def account(self) -> str:
        """A line for each stage, and one for all."""
        if not self.done:
            raise HandsightError(f"{self.folder}: no stage is done")
        lines = [f"{name}: {one['seconds'] / 60:.1f} min" for name, one in self.done.items()]
        total = sum(one["seconds"] for one in self.done.values()) / 60
        peak = max(one["peak_memory_gib"] for one in self.done.values())
        return "\n".join([*lines, f"all: {total:.1f} min, peak memory {peak:.1f} GiB"])
