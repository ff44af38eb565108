"""What a piece of a study's work does: train a cell, match the teachers of a seed, evaluate a cell."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from ...files import explained, inside, read_json, write_json
from ...sims.env_config import EnvConfig
from ...sims.machine import with_machine_of
from ..evaluation.ablation import kinds_of
from ..evaluation.evaluate import evaluate
from ..evaluation.statistics import plain
from ..report.candidates import Candidate, differences, flat, load_candidate
from ..report.results import TrialConfig, Trials, is_evaluated, who_met
from ..report.study_results import Match
from ..runs import checkpoint, stored_config
from ..runs.policy_io import BEST, find_checkpoint, load_policy
from ..runs.run import CONFIG, Run, RunError
from ..training.student_config import StudentRunConfig
from ..training.teacher_config import TeacherConfig
from ..training.train_student import train_student
from ..training.train_teacher import train_teacher
from .cells import MATCHED, RIVALS, Cell, StudyError, folder
from .matching import choose
from .spec import StudyConfig

SPEC, MATCH = "spec.json", "match.json"
"""The study's configuration in its folder; what matching found in the folder of a seed."""


def work(out: Path, verb: str, key: str) -> None:
    """Do one piece of work, or what is left of it."""
    study, cell = Work(read_spec(out)), Cell.of(key)
    {"train": study.train, "match": study.match, "evaluate": study.evaluate}[verb](cell)


def write_spec(spec: StudyConfig) -> None:
    """Put the study's configuration where its pieces of work read it."""
    write_json(spec.out / SPEC, TypeAdapter(StudyConfig).dump_python(spec, mode="json"))


def read_spec(out: Path) -> StudyConfig:
    """The configuration of the study in this folder, wherever the folder is now."""
    path = out / SPEC
    if not path.is_file():
        raise StudyError(f"study {out}: expected a folder with {SPEC}, found none")
    return replace(stored_config.read(StudyConfig, read_json(path, StudyError), path, StudyError), out=out)


class Work:
    """A study's work, as far as it lies on the disk: every question is answered from there."""

    def __init__(self, spec: StudyConfig) -> None:
        self.spec, self.out = spec, spec.out
        self._finished: dict[Cell, Found] = {}
        """What has been seen to be finished: it stays so, and to make sure means to read its checkpoint."""

    def found(self, cell: Cell) -> Found:
        """What lies in a cell's folder. Raises StudyError where that is another training."""
        settled = self.settled(cell)
        if settled is None:
            return Found("new")
        if settled not in self._finished:
            found = find(self.spec, settled, self.teacher_of(settled), self.driver_of(settled))
            if found.state != "finished":
                return found
            self._finished[settled] = found
        return self._finished[settled]

    def settled(self, cell: Cell) -> Cell | None:
        """The cell with its final name; None for a matched student's as long as its teachers are not matched."""
        if cell.source != MATCHED:
            return cell
        match = self.match_of(cell)
        return cell.settled(match.stronger) if match else None

    def teacher_of(self, cell: Cell) -> Path | None:
        """The checkpoint that a settled cell learns from, as far as there is one."""
        if cell.teacher is None:
            return None
        found = self._needed(cell, Cell(cell.scene, cell.seed, cell.teacher))
        if not cell.matched:
            return found.path / "checkpoints" / BEST
        match = self.match_of(cell)
        assert match is not None
        return found.path / "checkpoints" / match.chosen

    def driver_of(self, cell: Cell) -> Path | None:
        """The checkpoint of the student that drives while a settled cell learns, as far as there is one."""
        if cell.driver is None:
            return None
        return find_checkpoint(self._needed(cell, cell.driver).path)

    def _needed(self, cell: Cell, other: Cell) -> Found:
        """What another cell, which this one builds on, has trained. Raises StudyError unless it is finished."""
        found = self.found(other)
        if found.state != "finished":
            raise StudyError(f"cell {cell.key} needs {other.key}, which is not finished")
        return found

    def train(self, cell: Cell) -> None:
        """Begin a cell's training, or go on with it."""
        settled = self.settled(cell)
        if settled is None:
            raise StudyError(f"cell {cell.key}: its teachers are not matched yet")
        found = self.found(cell)
        config = self.spec.config(settled, self.teacher_of(settled), self.driver_of(settled))
        if found.state == "finished":
            return
        run = found.run.path if found.run else None
        root = folder(self.out, settled)
        if isinstance(config, TeacherConfig):
            train_teacher(config, run, root)
        else:
            train_student(config, run, root)

    def match_of(self, cell: Cell) -> Match | None:
        """How the teachers of a cell's seed were matched; None if they are not, or were other ones."""
        path = match_path(self.out, cell)
        if not path.is_file():
            return None
        facts = read_json(path, StudyError)
        with explained(path):
            if facts["asked"] != self._asked(cell):
                return None
            match = TypeAdapter(Match).validate_python(facts["match"])
        inside(path.parent, match.chosen, StudyError)
        return match

    def match(self, cell: Cell) -> None:
        """Choose the checkpoint of the stronger teacher of this seed that is as good as the weaker one's best."""
        if self.match_of(cell):
            return
        successes = {name: self._successes(self.found(Cell(cell.scene, cell.seed, name)).path) for name in RIVALS}
        match = choose(cell.scene, cell.seed, successes, self.spec.matching)
        path = match_path(self.out, cell)
        write_json(path, {"asked": self._asked(cell), "match": TypeAdapter(Match).dump_python(match)})

    def evaluate(self, cell: Cell) -> None:
        """Evaluate a finished cell, and the chosen checkpoint of its teacher if it was chosen for it."""
        for candidate, teacher in self.candidates(cell):
            Trials(self.trial, self.env(cell), self.out).result(candidate, teacher)

    def is_evaluated(self, cell: Cell) -> bool:
        """Whether all that `evaluate` finds out about a finished cell is on the disk."""
        settled = self.settled(cell)
        assert settled is not None
        run, origin, driver = self.found(cell).path, self.teacher_of(settled), self.driver_of(settled)
        teacher = checkpoint.digest(origin) if origin and not settled.is_teacher else None
        policy = checkpoint.digest(find_checkpoint(run))
        asked = [(run, who_met(policy, teacher, kind)) for kind in (None, *self._ablations(settled.seen))]
        if driver is not None:
            asked.append((run, who_met(policy, teacher, driver=checkpoint.digest(driver))))
        if settled.matched and origin and teacher:
            kinds = (None, *self._ablations(settled.taught_by))
            asked += [(origin.parents[1], who_met(teacher, None, kind)) for kind in kinds]
        trials = Trials(self.trial, self.env(cell), self.out)
        return all(is_evaluated(trials.folder(home, who)) for home, who in asked)

    def _ablations(self, sight: str) -> tuple[str, ...]:
        return kinds_of(sight) if self.trial.ablations else ()

    def env(self, cell: Cell) -> EnvConfig:
        """The worlds in which a cell is trained and evaluated."""
        return self.spec.env(cell.scene)

    def candidates(self, cell: Cell) -> list[tuple[Candidate, Candidate | None]]:
        """The policies of a finished cell, each with its teacher: one, or for a matched student that and its own."""
        settled = self.settled(cell)
        assert settled is not None
        found, origin = self.found(cell), self.teacher_of(settled)
        own = load_candidate(found.path)
        if not settled.is_teacher:
            assert origin is not None
            teacher = load_candidate(origin)
            if settled.matched:
                own, teacher = (replace(one, kind=replace(one.kind, matched=True)) for one in (own, teacher))
                return [(teacher, None), (own, teacher)]
            return [(own, teacher)]
        return [(own, None)]

    @property
    def trial(self) -> TrialConfig:
        """How every policy is evaluated."""
        asked = self.spec.evaluation
        return TrialConfig(asked.episodes, asked.seed, asked.num_envs, asked.reset_kind, ablations=asked.ablations)

    def _asked(self, cell: Cell) -> dict[str, Any]:
        """What the match of a seed depends on."""
        rivals = [self.found(Cell(cell.scene, cell.seed, name)) for name in RIVALS]
        digests = [checkpoint.digest(found.path / "checkpoints" / BEST) for found in rivals if found.run]
        return {"episodes": self.spec.matching.episodes, "seed": self.spec.matching.seed, "best": digests}

    def _successes(self, run: Path) -> dict[str, float]:
        """success_at_end of a teacher's best and of all its periodic checkpoints on the matching resets, by name."""
        checkpoints = [run / "checkpoints" / BEST, *checkpoint.complete(run / "checkpoints", PERIODIC)]
        asked, successes = self.spec.matching, {}
        for path in checkpoints:
            loaded = load_policy(path)
            result = evaluate(
                loaded.policy,
                loaded.env_config,
                num_envs=min(self.spec.evaluation.num_envs, asked.episodes),
                reset_kind=self.spec.evaluation.reset_kind,
                episodes=asked.episodes,
                seed=asked.seed,
            )
            successes[path.name] = float(result.success_at_end.mean())
        return successes


def match_path(out: Path, cell: Cell) -> Path:
    """Where the match of a seed's teachers is written down."""
    return out / cell.scene / f"seed{cell.seed}" / MATCH


PERIODIC = "iteration_*.ckpt"
TRAININGS = ("train-teacher", "train-student")
"""Words by which a process is known to train."""


@dataclass(frozen=True)
class Found:
    """What lies in a cell's folder."""

    state: Literal["new", "begun", "finished"]
    """"new": nothing that could be gone on with."""
    run: Run | None = None

    @property
    def path(self) -> Path:
        """The run folder of a cell that has one."""
        if self.run is None:
            raise StudyError("this cell has no run yet")
        return self.run.path


def find(spec: StudyConfig, cell: Cell, teacher: Path | None, driver: Path | None = None) -> Found:
    """The run of a cell, if there is one that trains what the study asks for.

    Args:
        spec: of the study.
        cell: settled, if it is a matched student's.
        teacher: checkpoint that it learns from; None if it needs none.
        driver: checkpoint of the student that drives while it learns; None if it needs none.

    Raises:
        StudyError: there are runs, but none with the cell's configuration; says in what they differ.
    """
    expected, unlike = spec.config(cell, teacher, driver), []
    stub = None
    for path in sorted(path.parent for path in folder(spec.out, cell).glob(f"*/*/{CONFIG}")):
        run = Run.open(path)
        wrong = unlike_in(run, expected)
        if wrong:
            unlike.append("\n    ".join([f"{path} differs in", *wrong]))
        elif is_finished(run, expected.iterations):
            return Found("finished", run)
        elif checkpoint.complete(run.checkpoints, PERIODIC):
            return Found("begun", run)
        else:
            stub = run  # killed before its first checkpoint: there is nothing to go on with
    if unlike and stub is None:
        what = "the study wants what stands first, the run has what stands second"
        raise StudyError("\n  ".join([f"cell {cell.key} cannot adopt what lies in its folder ({what}):", *unlike]))
    return Found("new")


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


def trainings_in(place: Path) -> list[int]:
    """Processes on this machine that train below this folder, whoever started them; by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = Path(os.readlink(entry / "cwd"))
        except OSError:  # ended, or another user's
            continue
        if int(entry.name) == os.getpid() or not set(TRAININGS) & set(words):
            continue
        values = [word.partition("=")[2] or word for word in words]
        places = [(here / value).resolve() for value in values if value]
        if any(path == place.resolve() or place.resolve() in path.parents for path in places):
            found.append(int(entry.name))
    return found
