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
from typing import Any, Literal

from pydantic import TypeAdapter

from ...files import explained, inside, read_json
from ...sims.env_config import EnvConfig
from ...sims.machine import with_machine_of
from ..evaluation.statistics import plain
from ..report.candidates import Candidate, differences, flat, load_candidate
from ..report.policy_kind import read_kind
from ..report.results import TrialConfig, Trials, is_evaluated, who_met
from ..report.study_results import Match
from ..runs import checkpoint
from ..runs.policy_io import BEST, find_checkpoint
from ..runs.run import CONFIG, Run, RunError
from ..training.student_config import StudentRunConfig
from ..training.teacher_config import TeacherConfig
from .matching import choose
from .spec import StudyConfig
from .training import RIVALS, TEACHER_NAMES, StudyError, Training, folder

Verb = Literal["train", "match", "evaluate"]
PERIODIC = "iteration_*.ckpt"
COMPARISON = "comparison.json"
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


class Work:
    """A study's work: what there is to do, in which order, what of it is done, and which command does it."""

    def __init__(self, spec: StudyConfig) -> None:
        self.spec, self.out = spec, spec.out
        self._finished: dict[Training, Found] = {}
        """What has been seen to be finished: it stays so, and to make sure means to read its checkpoint."""
        self._matches: dict[Path, Match] = {}

    @property
    def jobs(self) -> int:
        """Trainings side by side."""
        return self.spec.jobs

    @property
    def tasks(self) -> dict[Task, tuple[Task, ...]]:
        """All pieces of work with what must be done before, in the order in which they are begun if nothing holds them
        up."""
        tasks: dict[Task, tuple[Task, ...]] = {}
        for training in self.spec.trainings:
            train = Task("train", training)
            before = tuple(Task("train", need) for need in training.needs)
            if not training.settled:
                match = Task("match", training.beside("matched-to-stereo"))
                tasks[match] = tuple(Task("train", training.beside(name)) for name in RIVALS)
                before = (*before, match)
            tasks |= {train: before, Task("evaluate", training): (train,)}
        return tasks

    def is_done(self, task: Task) -> bool:
        """Whether the disk holds its outcome.

        Raises:
            StudyError: it holds another training.
        """
        match task.verb:
            case "train":
                return self.found(task.training).state == "finished"
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
        return any(workers_in(folder(self.out, one)) for one in {training, self.settled(training) or training})

    def command(self, task: Task) -> list[str]:
        """The words of the command that does a piece of work, or what is left of it."""
        training = self.settled(task.training) or task.training
        match task.verb:
            case "train":
                run = self.begun(training)
                return ["train-teacher" if training.name in TEACHER_NAMES else "train-student", "--resume", str(run)]
            case "match":
                best = [self.found(training.beside(name)).path / "checkpoints" for name in RIVALS]
                policies = [path for one in best for path in (one / BEST, *checkpoint.complete(one, PERIODIC))]
                return self._compare(policies, self._matching, match_folder(self.out, training))
            case "evaluate":
                teacher = [self.teacher_of(training)] if training.sight else []
                policies = [path for path in (*teacher, self.found(training).path) if path]
                return self._compare(policies, self.trial, folder(self.out, training) / "comparison")

    def _compare(self, policies: list[Path], trial: TrialConfig, out: Path) -> list[str]:
        options = {"--episodes": trial.episodes, "--seed": trial.seed, "--num-envs": trial.num_envs}
        options |= {"--reset-kind": trial.reset_kind, "--out": out}
        quiet = ["--no-videos", "--no-report", "--ablations" if trial.ablations else "--no-ablations"]
        return ["compare", *map(str, policies), *(str(word) for pair in options.items() for word in pair), *quiet]

    def begun(self, training: Training) -> Path:
        """The run folder of a settled training: the one that is there, or a new one that holds its configuration."""
        found = self.found(training)
        if found.run is not None:
            return found.path
        config = self.spec.config(training, self.teacher_of(training), self.driver_of(training))
        name = config.run_name if isinstance(config, TeacherConfig) else _student_name(training)
        run = Run.create(name, config, folder(self.out, training))
        run.close()
        return run.path

    def found(self, training: Training) -> Found:
        """What lies in a training's folder.

        Raises:
            StudyError: that is another training.
        """
        settled = self.settled(training)
        if settled is None:
            return Found("new")
        if settled not in self._finished:
            found = find(self.spec, settled, self.teacher_of(settled), self.driver_of(settled))
            if found.state != "finished":
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
        if found.state != "finished":
            raise StudyError(f"cell {training.key} needs {other.key}, which is not finished")
        return found

    def match_of(self, training: Training) -> Match | None:
        """How the teachers of a training's seed were matched; None if they are not, or were other ones."""
        place = match_folder(self.out, training)
        if place not in self._matches:
            rivals = [self.found(training.beside(name)) for name in RIVALS]
            if any(found.state != "finished" for found in rivals):
                return None
            match = self._first_edition(place, rivals) or self._compared(place, training, rivals)
            if match is None:
                return None
            self._matches[place] = match
        return self._matches[place]

    def _compared(self, place: Path, training: Training, rivals: list[Found]) -> Match | None:
        """From what the command `compare` found out about the two teachers' checkpoints."""
        if not (place / COMPARISON).is_file():
            return None
        facts = read_json(place / COMPARISON, StudyError)
        with explained(place / COMPARISON):
            return self._chosen(facts, training, rivals)

    def _chosen(self, facts: dict[str, Any], training: Training, rivals: list[Found]) -> Match | None:
        """The choice that follows from a comparison of the two teachers' checkpoints; None if it was another one."""
        policies, settings, asked = facts["policies"], facts["settings"], self.spec.matching
        same = (settings["episodes"], settings["seed"]) == (asked.episodes, asked.seed)
        if not same or not set(_best(rivals)) <= {policy["digest"] for policy in policies}:
            return None
        successes: dict[str, dict[str, float]] = {name: {} for name in RIVALS}
        for policy in policies:
            of_state = read_kind(policy["role"]).teacher == TEACHER_NAMES[RIVALS[0]].teacher
            name = Path(policy["checkpoint"]).name
            successes[RIVALS[not of_state]][name] = policy["summary"]["success_at_end"]["value"]
        return choose(training.scene, training.seed, successes, asked)

    def _first_edition(self, place: Path, rivals: list[Found]) -> Match | None:
        """What the first edition wrote down, in match.json."""
        path, asked = place.with_name("match.json"), self.spec.matching
        facts = read_json(path, StudyError) if path.is_file() else {}
        wanted = {"episodes": asked.episodes, "seed": asked.seed, "best": _best(rivals)}
        if facts.get("asked") != wanted:
            return None
        with explained(path):
            match = TypeAdapter(Match).validate_python(facts["match"])
        inside(path.parent, match.chosen, StudyError)
        return match

    def is_evaluated(self, training: Training) -> bool:
        """Whether all that there is to find out about a finished training is on the disk."""
        settled = self.settled(training)
        assert settled is not None
        run, origin, driver = self.found(training).path, self.teacher_of(settled), self.driver_of(settled)
        teacher = checkpoint.digest(origin) if origin and settled.sight else None
        policy = checkpoint.digest(find_checkpoint(run))
        trials = Trials(self.trial, self.env(training), self.out)
        asked = [(run, who_met(policy, teacher, how)) for how in (None, *self.trial.ablations_of(settled.kind))]
        if driver is not None:
            asked.append((run, who_met(policy, teacher, driver=checkpoint.digest(driver))))
        if settled.kind.matched and origin and teacher:
            kinds = (None, *self.trial.ablations_of(settled.kind.its_teacher))
            asked += [(origin.parents[1], who_met(teacher, None, how)) for how in kinds]
        return all(is_evaluated(trials.folder(home, who)) for home, who in asked)

    def env(self, training: Training) -> EnvConfig:
        """The environment in which a policy is trained and evaluated."""
        return self.spec.env(training.scene)

    def candidates(self, training: Training) -> list[Candidate]:
        """The policies of a finished training: its own, and before a matched student's that of its teacher."""
        settled = self.settled(training)
        assert settled is not None
        own, origin = load_candidate(self.found(training).path), self.teacher_of(settled)
        if not settled.kind.matched or origin is None:
            return [own]
        return [replace(one, kind=replace(one.kind, matched=True)) for one in (load_candidate(origin), own)]

    @property
    def trial(self) -> TrialConfig:
        """How every policy is evaluated."""
        return TrialConfig(**asdict(self.spec.evaluation))

    @property
    def _matching(self) -> TrialConfig:
        """How teachers are tried to be matched."""
        asked, trial = self.spec.matching, replace(self.trial, ablations=False)
        return replace(trial, episodes=asked.episodes, seed=asked.seed, num_envs=min(trial.num_envs, asked.episodes))


def _best(rivals: list[Found]) -> list[str]:
    return [checkpoint.digest(found.path / "checkpoints" / BEST) for found in rivals]


def _student_name(training: Training) -> str:
    """Name of a student's run."""
    return f"student-{training.sight}-from-{training.kind.teacher}"


def match_folder(out: Path, training: Training) -> Path:
    """Where the teachers of a training's seed are compared to be matched."""
    return out / training.scene / f"seed{training.seed}" / "matching"


@dataclass(frozen=True)
class Found:
    """What lies in a training's folder."""

    state: Literal["new", "begun", "finished"]
    """"new": nothing that could be gone on with."""
    run: Run | None = None

    @property
    def path(self) -> Path:
        """The run folder of a training that has one.

        Raises:
            StudyError: it has none.
        """
        if self.run is None:
            raise StudyError("this cell has no run yet")
        return self.run.path


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
    expected, unlike = spec.config(training, teacher, driver), []
    stub = None
    for path in sorted(path.parent for path in folder(spec.out, training).glob(f"*/*/{CONFIG}")):
        run = Run.open(path)
        wrong = unlike_in(run, expected)
        if wrong:
            unlike.append("\n    ".join([f"{path} differs in", *wrong]))
        elif is_finished(run, expected.iterations):
            return Found("finished", run)
        elif checkpoint.complete(run.checkpoints, PERIODIC):
            return Found("begun", run)
        else:
            stub = run  # has its configuration and no checkpoint yet
    if unlike and stub is None:
        what = "the study wants what stands first, the run has what stands second"
        head = f"cell {training.key} cannot adopt what lies in its folder ({what}):"
        raise StudyError("\n  ".join([head, *unlike]))
    return Found("new", stub)


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
    wanted, has = (
        flat(plain(asdict(config)) | dict.fromkeys(origins)) for config in (with_machine_of(expected), found)
    )
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
        places = [(here / value).resolve() for value in values if value]
        if any(path == place.resolve() or place.resolve() in path.parents for path in places):
            found.append(int(entry.name))
    return found
