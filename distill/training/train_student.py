"""Train a student: DAgger rounds of rolling out and fitting, under one Lightning Trainer."""

from __future__ import annotations

import shutil
import time
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import sims
from ...datasets.sequences import SequenceBuffer, prune
from ...errors import HandsightError
from ...sims.vec_env import VecEnv
from ...students import StudentConfig
from ..runs import checkpoint
from ..runs.policy_io import LoadedPolicy, facts_of, load_policy, origin_of
from ..runs.provenance import provenance
from ..runs.run import Run
from . import memory
from .dagger import DaggerConfig, collect
from .offline import OfflineTraining
from .student_config import StudentRunConfig, _teacher_sight, student_config
from .student_training import PERIODIC, StudentFit, learn

STUDENT_SEED = 2_000_000
"""Seeds of the rollouts start here, 10,000 for each run seed: apart from the teacher's and from all held-out resets."""
SEQUENCES = "sequences"
"""Folder of the run in which the aggregated buffer lies."""


def train_student(
    config: StudentRunConfig | None = None,
    resume: Path | None = None,
    run_root: Path = Path("runs"),
) -> Run:
    """Distil a teacher in a run folder of its own, or go on with an interrupted run.

    Args:
        config: what to distil into what; not with `resume`, which goes on with the run's own.
        resume: run folder; its newest periodic checkpoint is taken.
        run_root: where a new run folder goes.

    Raises:
        Interrupted: Ctrl-C; every finished iteration is saved.
        SignatureError: the worlds are not those that the teacher knows; says what differs.
    """
    if (config is None) == (resume is None):
        raise HandsightError("train_student: expected either a config or a run to resume")
    run = Run.open(resume) if resume is not None else None
    if run is not None:
        config = run.config(StudentRunConfig)
    assert config is not None
    if config.data is not None:
        training: StudentFit = OfflineTraining(config)
        name = f"student-{config.student.sight}-from-data"
    else:
        assert config.teacher is not None
        teacher = load_policy(config.teacher, config.device)
        driver = load_policy(config.driver, config.device) if config.driver else None
        # a run folder's best checkpoint may become another one
        config = replace(config, teacher=teacher.name, driver=driver and driver.name)
        training, name = StudentTraining(config, teacher, driver), _run_name(config, teacher)
    try:
        if run is None:
            run = Run.create(name, config, run_root)
            training.save(run)  # whoever leaves during the first iteration can go on, too
        elif not checkpoint.complete(run.checkpoints, PERIODIC):
            run.rewind(0)  # it has its configuration, and nothing else yet
            training.save(run)
        else:
            training.go_on(run)
        learn(training, run)
        return run
    finally:
        training.close()
        if run is not None:
            run.close()


class StudentTraining(StudentFit):
    """DAgger: as Lightning's data module it rolls out anew whenever the Trainer asks for an epoch's batches."""

    def __init__(self, config: StudentRunConfig, teacher: LoadedPolicy, driver: LoadedPolicy | None = None) -> None:
        """Begins anew; raises SignatureError unless the worlds are those that teacher and driver know."""
        super().__init__(config, student_config(config, teacher), config.env or teacher.env_config)
        self.teacher, self.driver = teacher, driver
        groups = observed(config, self.student_config, teacher, driver)
        memory.announce(memory.of_student(config, self.env_config, groups, self.student_config), config.num_envs)
        self.env = self._make_worlds(groups)
        try:
            teacher.check(self.env.signature)
            if driver is not None:
                driver.check(self.env.signature)
            self.build(self.env.obs_spec, self.env.signature, self.env.action_dim)
        except HandsightError:
            self.env.close()
            raise
        self.steps_each = self.env.episode_steps + config.dagger.gradient_steps
        self.facts = facts_of(self.env, self.env_config, {"teacher": origin_of(teacher), **provenance()})
        self.buffer = SequenceBuffer(int(config.dagger.buffer_gib * 2**30), self.facts)
        self.kept: deque[dict[str, Any]] = deque(maxlen=config.keep_checkpoints)
        """Which sequences the checkpoints on disk need."""

    @property
    def iteration(self) -> int:
        """Iterations begun: while one is under way, its number counted from 1."""
        return self.buffer.appended

    @property
    def steps(self) -> int:
        """Environment steps that were learnt from."""
        return self.iteration * self.config.num_envs * self.env.episode_steps

    def train_dataloader(self) -> Batches:
        """Roll out with the student as it is now, add to the sequences, and hand out batches of all of them."""
        config, start = self.config, time.perf_counter()
        seed = STUDENT_SEED + 10_000 * config.seed + self.iteration
        torch.manual_seed(seed)  # dropout and augmentation of this iteration, whenever it is run
        columns, metrics = collect(
            self.env,
            self.teacher.policy,
            self.student,
            config.dagger,
            self.iteration,
            seed,
            self.tick,
            driver=self.driver and self.driver.policy,
        )
        self.student.update_normalizers(columns, columns["valid"])
        self.student.train()
        noted = {"seed": seed, "beta": metrics["beta"], "policy_version": f"iteration {self.iteration}"}
        if self.buffer.append(columns, noted) == self.buffer.evicted > 0:
            warnings.warn(f"the sequences fill {config.dagger.buffer_gib} GiB: the oldest are forgotten", stacklevel=2)
        seconds = time.perf_counter() - start
        self.metrics = metrics | {
            "iteration": float(self.iteration),
            "fps": config.num_envs * self.env.episode_steps / seconds,
            "seconds/collect": seconds,
            "buffer/sequences": float(len(self.buffer)),
            "buffer/evicted": float(self.buffer.evicted),
            "buffer/spilled": float(self.buffer.spilled),
        }
        return Batches(self.buffer, config.dagger, seed)

    def save(self, run: Run) -> None:
        """Write a checkpoint of the last finished iteration: of the sequences, only the newest are not on disk yet.

        A finished run is never gone on with, so its last checkpoint holds no sequences and their files go, unless they
        are to outlast it (`spill`).
        """
        folder, sequences = run.checkpoints, run.path / SEQUENCES
        self.buffer.spill = sequences if self.config.dagger.spill else None
        over = self.iteration >= self.config.iterations
        keep = not over or self.config.dagger.spill
        none = {"appended": self.iteration, "evicted": 0, "rollouts": []}
        index = self.buffer.write(sequences) if keep else none
        place = folder / PERIODIC.replace("*", f"{self.iteration:06d}")
        origins = {"driver": origin_of(self.driver)} if self.driver else {}
        checkpoint.save(place, self.tree(origin_of(self.teacher)) | origins | {"sequences": index})
        checkpoint.keep_last(folder, self.config.keep_checkpoints, PERIODIC)
        self.kept.append(index)
        if not keep:
            shutil.rmtree(sequences)
        else:
            prune(sequences, self.kept)

    def go_on(self, run: Run) -> None:
        """Continue bit for bit from the newest checkpoint of the run."""
        saved = checkpoint.load(checkpoint.latest(run.checkpoints, PERIODIC))
        for who, known in (("teacher", self.teacher), ("driver", self.driver)):
            if known is not None and saved[who]["sha256"] != origin_of(known)["sha256"]:
                raise HandsightError(f"resume {run.path}: its {who} {known.path} was replaced since it began")
        self.student.load_state_dict(saved["policy"]["weights"])
        self.module.saved = saved["learner"]
        folder = run.path / SEQUENCES
        spill = folder if self.config.dagger.spill else None
        self.buffer = SequenceBuffer.read(folder, saved["sequences"], self.buffer.capacity, self.facts, spill)
        self.kept.append(saved["sequences"])
        run.rewind(self.steps)

    def close(self) -> None:
        """Release the worlds."""
        self.env.close()

    def _make_worlds(self, groups: tuple[str, ...]) -> VecEnv:
        """Here, or where the simulators are; what these see arrives in host memory, where the sequences lie."""
        config = self.config
        if config.sims:
            return sims.make_remote(self.env_config, groups, config.num_envs, config.sims, config.remote)
        place = sims.worlds_device(self.env_config, config.device)
        return sims.make(self.env_config, groups, config.num_envs, device=place)


class Batches:
    """The batches of one iteration; the same ones however often Lightning begins to iterate."""

    def __init__(self, buffer: SequenceBuffer, config: DaggerConfig, seed: int) -> None:
        self.buffer, self.config, self.seed = buffer, config, seed

    def __len__(self) -> int:
        return self.config.gradient_steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        draws = torch.Generator().manual_seed(self.seed)
        return self.buffer.batches(self.config.batch_sequences, self.config.gradient_steps, draws)


def observed(
    config: StudentRunConfig, student: StudentConfig, teacher: LoadedPolicy, driver: LoadedPolicy | None = None
) -> tuple[str, ...]:
    """Observation groups that the worlds must give: teacher's, driver's and student's, and the object's position."""
    label = ("state",) if config.dagger.object_weight else ()
    depth = ("depth",) if student.depth_head else ()
    driving = driver.policy.obs_keys if driver else ()
    return tuple(dict.fromkeys((*teacher.policy.obs_keys, *driving, *student.obs_keys, *label, *depth)))


def _run_name(config: StudentRunConfig, teacher: LoadedPolicy) -> str:
    sight = "control" if config.control else config.student.sight
    return f"student-{sight}-from-{_teacher_sight(teacher)}"
