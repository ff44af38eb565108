"""What of a study is done, as far as it lies on the disk, and the commands that do the rest: our own command line.

train      handsight train-teacher|train-student --resume RUN    RUN holds the configuration that the study wants
match      handsight compare CHECKPOINT ...                      both teachers of a seed, on resets of their own
evaluate   handsight compare TEACHER RUN                         what it finds out is kept in the run folders
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from ...datasets.reader import leaves
from ...sims.machine import with_machine_of
from ..evaluation.statistics import plain
from ..evaluation.trial import TrialConfig
from ..report.candidates import Candidate, differences, load_candidate
from ..report.results import Trials, ablations_of, is_evaluated, who_met
from ..report.study_results import Match
from ..runs import checkpoint
from ..runs.policy_io import BEST, find_checkpoint
from ..runs.run import CONFIG, Run, RunError
from ..training.student_config import StudentRunConfig
from ..training.teacher_config import TeacherConfig
from . import runner
from .matching import match_folder, read_match
from .spec import StudyConfig
from .training import RIVALS, StudyError, Training

Verb = Literal["train", "match", "evaluate"]
COMMANDS = ("train-teacher", "train-student", "compare")
"""Words by which a process is known to work on a training."""


@dataclass(frozen=True)
class Task:
    """One piece of work."""

    verb: Verb
    training: Training

    @property
    def name(self) -> str:
        """How it is called for people."""
        return f"{self.verb} {self.training.key}"


@dataclass(frozen=True)
class Found:
    """What lies in a training's folder."""

    run: Run | None = None
    """The one to go on with, if there is any."""
    finished: bool = False

    @property
    def path(self) -> Path:
        """The run folder of a training that has one.

        Raises:
            StudyError: it has none.
        """
        if self.run is None:
            raise StudyError("this cell has no run yet")
        return self.run.path


class Work(runner.Work[Task]):
    """A study's work: what there is to do, in which order, what of it is done, and which command does it."""

    def __init__(self, spec: StudyConfig) -> None:
        self.spec, self.out, self.jobs = spec, spec.out, spec.jobs
        self.tasks = tasks_of(spec)
        self._finished: dict[Training, Found] = {}
        """What has been seen to be finished: it stays so, and to make sure means to read its checkpoint."""
        self._matches: dict[Path, Match] = {}

    def is_done(self, task: Task) -> bool:
        """Whether the disk holds its outcome.

        Raises:
            StudyError: it holds another training.
        """
        match task.verb:
            case "train":
                return self.found(task.training).finished
            case "match":
                return self.match_of(task.training) is not None
            case "evaluate":
                return self.is_evaluated(task.training)

    def log(self, task: Task) -> Path:
        """What the processes that worked on a training wrote."""
        return self.out / "jobs" / f"{task.training.key}.log"

    def is_busy(self, task: Task) -> bool:
        """Whether a process on this machine works on a task's training: one started by hand, or one that a killed study
        left behind while it saves."""
        training = task.training
        return any(workers_in(self.out / one.key) for one in {training, self.settled(training) or training})

    def command(self, task: Task) -> list[str]:
        """The words of the command that does a piece of work, or what is left of it."""
        training, asked = self.settled(task.training) or task.training, self.spec.evaluation
        match task.verb:
            case "train":
                command = "train-student" if training.sight else "train-teacher"
                return [command, "--resume", str(self.begun(training))]
            case "match":
                best = [self.found(training.beside(name)).path / "checkpoints" for name in RIVALS]
                policies = [
                    path for one in best for path in (one / BEST, *checkpoint.complete(one, checkpoint.PERIODIC))
                ]
                resets = asdict(self.spec.matching)
                resets |= {"num_envs": min(asked.num_envs, resets["episodes"]), "ablations": False}
                trial = TrialConfig(**{**vars(asked), **resets})
                return compare_command(policies, trial, match_folder(self.out, training))
            case "evaluate":
                teacher = [self.teacher_of(training)] if training.sight else []
                policies = [path for path in (*teacher, self.found(training).path) if path]
                return compare_command(policies, asked, self.out / training.key / "comparison")

    def begun(self, training: Training) -> Path:
        """The run folder of a settled training: the one that is there, or a new one that holds its configuration."""
        found = self.found(training)
        if found.run is not None:
            return found.path
        config = self.spec.config(training, self.teacher_of(training), self.driver_of(training))
        student = f"student-{training.sight}-from-{training.kind.teacher}"
        name = config.run_name if isinstance(config, TeacherConfig) else student
        run = Run.create(name, config, self.out / training.key)
        run.close()
        return run.path

    def found(self, training: Training) -> Found:
        """What lies in a training's folder.

        Raises:
            StudyError: that is another training.
        """
        settled = self.settled(training)
        if settled is None:
            return Found()
        if settled not in self._finished:
            found = find(self.spec, settled, self.teacher_of(settled), self.driver_of(settled))
            if not found.finished:
                return found
            self._finished[settled] = found
        return self._finished[settled]

    def settled(self, training: Training) -> Training | None:
        """The training with its final name; None for a matched student's as long as its teachers are not matched."""
        if training.settled:
            return training
        match = self.match_of(training)
        return training.settle(match.stronger) if match else None

    def teacher_of(self, training: Training) -> Path | None:
        """The checkpoint that a settled training learns from, as far as there is one."""
        if training.teacher is None:
            return None
        found = self._needed(training, training.beside(training.teacher))
        match = self.match_of(training) if training.kind.matched else None
        return found.path / "checkpoints" / (match.chosen if match else BEST)

    def driver_of(self, training: Training) -> Path | None:
        """The checkpoint of the behaviour policy of a settled control student's training, as far as there is one."""
        return find_checkpoint(self._needed(training, training.driver).path) if training.driver else None

    def _needed(self, training: Training, other: Training) -> Found:
        """What another training, which this one builds on, has left. Raises StudyError unless it is finished."""
        found = self.found(other)
        if not found.finished:
            raise StudyError(f"cell {training.key} needs {other.key}, which is not finished")
        return found

    def match_of(self, training: Training) -> Match | None:
        """How the teachers of a training's seed were matched; None if they are not, or were other ones."""
        place = match_folder(self.out, training)
        rivals = [self.found(training.beside(name)) for name in RIVALS]
        if place not in self._matches and all(found.finished for found in rivals):
            best = [checkpoint.digest(found.path / "checkpoints" / BEST) for found in rivals]
            match = read_match(place, training, best, self.spec.matching)
            self._matches |= {place: match} if match else {}
        return self._matches.get(place)

    def is_evaluated(self, training: Training) -> bool:
        """Whether all that there is to find out about a finished training is on the disk."""
        settled, trial = self.settled(training), self.spec.evaluation
        assert settled is not None
        run, origin, driver = self.found(training).path, self.teacher_of(settled), self.driver_of(settled)
        teacher = checkpoint.digest(origin) if origin and settled.sight else None
        policy = checkpoint.digest(find_checkpoint(run))
        asked = [(run, who_met(policy, teacher, how)) for how in (None, *ablations_of(settled.kind, trial))]
        if driver is not None:
            asked.append((run, who_met(policy, teacher, driver=checkpoint.digest(driver))))
        if settled.kind.matched and origin and teacher:
            kinds = (None, *ablations_of(settled.kind.its_teacher, trial))
            asked += [(origin.parents[1], who_met(teacher, None, how)) for how in kinds]
        trials = Trials(trial, self.spec.env(training.scene), self.out)
        return all(is_evaluated(trials.folder(home, who)) for home, who in asked)

    def candidates(self, training: Training) -> list[Candidate]:
        """The policies of a finished training: its own, and before a matched student's that of its teacher."""
        settled = self.settled(training)
        assert settled is not None
        own, origin = load_candidate(self.found(training).path), self.teacher_of(settled)
        if not settled.kind.matched or origin is None:
            return [own]
        return [replace(one, kind=replace(one.kind, matched=True)) for one in (load_candidate(origin), own)]


def tasks_of(spec: StudyConfig) -> dict[Task, tuple[Task, ...]]:
    """All pieces of work of a study with what must be done before, each after these."""
    tasks: dict[Task, tuple[Task, ...]] = {}
    for training in spec.trainings:
        train, before = Task("train", training), tuple(Task("train", need) for need in training.needs)
        if not training.settled:
            match = Task("match", training.beside("matched-to-stereo"))
            tasks[match] = tuple(Task("train", training.beside(name)) for name in RIVALS)
            before = (*before, match)
        tasks |= {train: before, Task("evaluate", training): (train,)}
    return tasks


def compare_command(policies: list[Path], trial: TrialConfig, out: Path) -> list[str]:
    """The words of the command that evaluates policies on the same resets."""
    options = {**{f"--{name.replace('_', '-')}": value for name, value in trial.resets.items()}, "--out": out}
    quiet = ["--no-videos", "--no-report", "--ablations" if trial.ablations else "--no-ablations"]
    return ["compare", *map(str, policies), *(str(word) for pair in options.items() for word in pair), *quiet]


def find(spec: StudyConfig, training: Training, teacher: Path | None, driver: Path | None = None) -> Found:
    """The run of a training, if there is one that trains what the study asks for.

    Args:
        spec: of the study.
        training: settled, if it is a matched student's.
        teacher: checkpoint that it learns from; None if it needs none.
        driver: checkpoint of the behaviour policy of a control student; None if it needs none.

    Raises:
        StudyError: there are runs, but none with the training's configuration; says in what they differ.
    """
    expected = spec.config(training, teacher, driver)
    runs = [Run.open(path.parent) for path in sorted((spec.out / training.key).glob(f"*/*/{CONFIG}"))]
    wrong = {run: unlike_in(run, expected) for run in runs}
    alike = [run for run in runs if not wrong[run]]
    if runs and not alike:
        what = "the study wants what stands first, the run has what stands second"
        head = f"cell {training.key} cannot adopt what lies in its folder ({what}):"
        unlike = ["\n    ".join([f"{run.path} differs in", *lines]) for run, lines in wrong.items()]
        raise StudyError("\n  ".join([head, *unlike]))
    finished = [run for run in alike if is_finished(run, expected.iterations)]
    begun = [run for run in alike if checkpoint.complete(run.checkpoints, checkpoint.PERIODIC)]
    return Found(next(iter([*finished, *begun, *alike]), None), bool(finished))


def is_finished(run: Run, iterations: int) -> bool:
    """Whether a training's last checkpoint is there, whole."""
    try:
        checkpoint.verify(run.checkpoints / checkpoint.PERIODIC.replace("*", f"{iterations:06d}"))
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
    wanted, has = (
        leaves(plain(asdict(config)) | dict.fromkeys(origins)) for config in (with_machine_of(expected), found)
    )
    return wrong + differences(wanted, has)


def _same_origin(run: Run, origin: str, expected: Path, found: Path) -> bool:
    """Whether the run learnt from the checkpoint `expected`."""
    wanted = checkpoint.digest(find_checkpoint(expected))
    if origin != "warm_start":  # the student has written down whose bytes they were
        with suppress(checkpoint.CheckpointError):
            return checkpoint.load(checkpoint.latest(run.checkpoints, checkpoint.PERIODIC))[origin]["sha256"] == wanted
    try:
        return checkpoint.digest(find_checkpoint(found)) == wanted
    except (OSError, RunError):  # moved, with the whole study: then the end of the path is as it was
        ends = [Path(path).parts[-6:] for path in (expected, found)]
        return ends[0] == ends[1]


def workers_in(place: Path) -> list[int]:
    """Processes on this machine that work below this folder, whoever started them; by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = Path(os.readlink(entry / "cwd"))
        except OSError:  # ended, or another user's
            continue
        if int(entry.name) == os.getpid() or not set(COMMANDS) & set(words):
            continue
        values = [word.partition("=")[2] or word for word in words]
        if any((here / value).resolve().is_relative_to(place.resolve()) for value in values if value):
            found.append(int(entry.name))
    return found
