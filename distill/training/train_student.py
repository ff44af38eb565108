"""Train a student by DAgger (Ross, Gordon, Bagnell 2011, algorithm 3.1), or from recorded rollouts."""

from __future__ import annotations

import shutil
import time
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from ...datasets.sequences import SequenceBuffer, prune
from ...errors import HandsightError
from ...sims.env_config import EnvConfig
from ...sims.machine import with_machine_of
from ...sims.vec_env import VecEnv
from ...students import StudentConfig, build_student
from ..evaluation import STUDENT_SEED, training_seed
from ..runs.policy_io import LoadedPolicy, facts_of, load_policy, origin_of
from ..runs.provenance import provenance
from ..runs.run import Run
from . import memory
from .allocator import keep_freed_memory
from .dagger import collect
from .data_parallel import make_fabric
from .distiller import Distiller
from .offline import OfflineTraining
from .session import Session, Training, carry_out, config_and_run, losses, make_env
from .student_config import StudentRunConfig

SEQUENCES = "sequences"
"""Folder of the run in which the aggregated buffer lies."""


def train_student(
    config: StudentRunConfig | None = None, resume: Path | None = None, run_root: Path = Path("runs"), **changes: Any
) -> Run:
    """Distil a teacher in a run folder of its own, or go on with an interrupted run.

    Args:
        config: what to distil into what; with `resume`, which goes on with the run's own, its machine settings alone
            count.
        resume: run folder; its newest periodic checkpoint is taken.
        run_root: where a new run folder goes.
        changes: with `resume`: `iterations`, to train on to so many; `teacher`, `driver` or `data`, where that is now.

    Raises:
        Interrupted: Ctrl-C; every finished iteration is saved.
        SignatureError: the environments are not those that the teacher knows; says what differs.
    """
    here = None if config is None or resume is None else config.env
    config, run = config_and_run(config, resume, StudentRunConfig, "train_student", **changes)
    fabric = make_fabric(config.device, config.precision)
    training = OfflineTraining(config, fabric) if config.data else StudentTraining.start(config, fabric, here)
    return carry_out(training, run, run_root)


class StudentTraining(Training):
    """All that an iteration of DAgger changes: the student with its optimiser, and the sequences it has met."""

    command, unit, units = "train-student", "iterations", 1
    following = "handsight compare {run} (with its teacher), or handsight export {run}"
    collecting = 0.5
    """Share of an iteration's time that its rollout takes, as the last one was."""

    def __init__(
        self, config: StudentRunConfig, teacher: LoadedPolicy, behaviour: LoadedPolicy | None, env: VecEnv,
        distiller: Distiller,
    ) -> None:  # fmt: skip
        """Args: see `start`, which makes them. A teacher, env or student that do not fit each other are not noticed."""
        self.config, self.teacher, self.behaviour, self.env, self.distiller = config, teacher, behaviour, env, distiller
        self.student, self.env_config = distiller.student, config.env or teacher.env_config
        self.fabric = distiller.fabric
        self.name = f"student-{'control' if config.control else config.student.sight}-from-{teacher_sight(teacher)}"
        self.facts = facts_of(env, self.env_config, {"teacher": origin_of(teacher), **provenance()})
        self.buffer = SequenceBuffer(int(config.dagger.buffer_gib * 2**30), self.facts)
        self.kept: deque[dict[str, Any]] = deque(maxlen=config.keep_checkpoints)
        """Which sequences the checkpoints on disk need."""

    @classmethod
    def start(cls, config: StudentRunConfig, fabric: Fabric, here: EnvConfig | None = None) -> StudentTraining:
        """Load the policies, make the environments and a student with fresh weights.

        Args:
            config: what to distil into what.
            fabric: where, and how precisely.
            here: environments whose machine settings those of the teacher take; None: nothing was said of them.

        Raises:
            SignatureError: the environments are not those that teacher and behaviour policy know.
            StudentError, BackboneError: the student does not fit what is observed.
            TooManyWorldsError: it would not fit into memory.
        """
        assert config.teacher is not None
        teacher = load_policy(config.teacher, config.device)
        behaviour = load_policy(config.driver, config.device) if config.driver else None
        torch.manual_seed(config.seed)
        # a run folder's best checkpoint may become another one
        config = replace(config, teacher=teacher.name, driver=behaviour and behaviour.name)
        if config.env is None and here is not None:
            config = replace(config, env=with_machine_of(teacher.env_config, here))
        student, env_config = student_config(config, teacher), config.env or teacher.env_config
        groups = observed(config, student, teacher, behaviour)
        need = memory.of_student(config, env_config, groups, student)
        memory.announce(need, config.num_envs, memory.FOR_STUDENTS)
        env = make_env(config, env_config, groups, fabric, arrive="cpu")  # where the sequences lie
        try:
            for known in (teacher, *filter(None, [behaviour])):
                known.check(env.signature)
            distiller = Distiller(
                build_student(student, env.obs_spec, env.action_dim), config.dagger, config.iterations, fabric
            )
        except HandsightError:
            env.close()
            raise
        return cls(config, teacher, behaviour, env, distiller)

    @property
    def iteration(self) -> int:  # type: ignore[override]
        """Rollouts in the buffer: iterations that are over, or under way once their rollout is."""
        return self.buffer.appended

    @property
    def steps(self) -> int:
        return self.iteration * self.config.num_envs * self.env.episode_steps

    def learn(self, session: Session) -> None:
        """DAgger: the student acts, the teacher labels, and the student is fitted to all that was labelled so far."""
        keep_freed_memory()
        if not self.iteration:
            self.save()  # whoever leaves during the first iteration can go on, too
        while self.iteration < self.config.iterations:
            rollout, met = self.collect(session)
            held = self.append(rollout, met)
            learnt = self.fit(session)
            rows = self.config.num_envs * self.env.episode_steps
            seconds = met["seconds/collect"], learnt["seconds/fit"]
            self.collecting = seconds[0] / sum(seconds)
            session.log(met | held | learnt, self.steps, words=losses(met | learnt, rows))
            session.show(self, {name: rollout[name][-1] for name in ("stereo", "depth") if name in rollout})
            self.save()

    def collect(self, session: Session) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Roll out with the student as it is now. Returns columns (T, N, ...) and metrics by name."""
        start = time.perf_counter()
        torch.manual_seed(self.seed)  # dropout and augmentation of this iteration, whenever it is run
        behaviour = self.behaviour and self.behaviour.policy
        tick = partial(session.tick, self.collecting / self.env.episode_steps)
        rollout, met = collect(
            self.env, self.teacher.policy, self.student, self.config.dagger, self.iteration, self.seed, tick,
            behaviour=behaviour,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        fps = self.config.num_envs * self.env.episode_steps / seconds
        return rollout, met | {"iteration": self.iteration + 1.0, "fps": fps, "seconds/collect": seconds}

    def append(self, rollout: Mapping[str, Tensor], met: Mapping[str, float]) -> dict[str, float]:
        """Add a rollout's columns (T, N, ...) to the sequences. Returns what the buffer holds, by metric."""
        self.student.update_normalizers(rollout, rollout["valid"])
        noted = {"seed": self.seed, "beta": met["beta"], "policy_version": f"iteration {self.iteration}"}
        if self.buffer.append(rollout, noted) == self.buffer.evicted > 0:
            size = self.config.dagger.buffer_gib
            warnings.warn(f"the sequences fill {size} GiB: the oldest are forgotten", stacklevel=2)
        held = {"sequences": len(self.buffer), "evicted": self.buffer.evicted, "spilled": self.buffer.spilled}
        return {f"buffer/{name}": float(count) for name, count in held.items()}

    def fit(self, session: Session) -> dict[str, float]:
        """Gradient steps on shuffled sequences. Returns losses and seconds by name."""
        start, config = time.perf_counter(), self.config.dagger
        draws = torch.Generator().manual_seed(self.seed - 1)  # of the rollout that was appended last
        batches = self.buffer.batches(config.batch_sequences, config.gradient_steps, draws)
        learnt = self.distiller.fit(batches, partial(session.tick, (1 - self.collecting) / config.gradient_steps))
        return learnt | {"seconds/fit": time.perf_counter() - start}

    @property
    def seed(self) -> int:
        """Seed of the next rollout."""
        return training_seed(STUDENT_SEED, self.config.seed, self.iteration)

    def save(self) -> None:
        """Write a checkpoint of the last finished iteration: of the sequences, only the newest are not on disk yet.

        A finished run is never gone on with, so its last checkpoint holds no sequences and their files go, unless they
        are to outlast it (`spill`).
        """
        sequences = self.folder / SEQUENCES
        self.buffer.spill = sequences if self.config.dagger.spill else None
        keep = self.iteration < self.config.iterations or self.config.dagger.spill
        none = {"appended": self.iteration, "evicted": 0, "rollouts": []}
        index = self.buffer.write(sequences) if keep else none
        tree = self.distiller.checkpoint(self.env.signature, self.env_config, origin_of(self.teacher))
        tree |= {"driver": origin_of(self.behaviour)} if self.behaviour else {}
        self.keep(tree | {"sequences": index}, self.iteration)
        self.kept.append(index)
        if keep:
            prune(sequences, self.kept)
        else:
            shutil.rmtree(sequences, ignore_errors=True)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Continue bit for bit from a checkpoint of the run.

        Raises:
            HandsightError: teacher or behaviour policy are not those that it began with.
            DatasetError: a file of sequences is missing, cut or altered.
        """
        for who, known in (("teacher", self.teacher), ("driver", self.behaviour)):
            if known is not None and saved[who]["sha256"] != origin_of(known)["sha256"]:
                raise HandsightError(f"resume {self.folder}: its {who} {known.path} was replaced since it began")
        self.distiller.restore(saved)
        folder = self.folder / SEQUENCES
        spill = folder if self.config.dagger.spill else None
        self.buffer = SequenceBuffer.read(folder, saved["sequences"], self.buffer.capacity, self.facts, spill)
        self.kept.append(saved["sequences"])
        if self.config.iterations > self.iteration > 0 == len(self.buffer):
            lost = "was finished, and dropped its sequences: it goes on with new ones alone (--dagger.spill keeps them)"
            warnings.warn(f"{self.folder} {lost}", stacklevel=2)

    def close(self) -> None:
        self.env.close()


def observed(
    config: StudentRunConfig, student: StudentConfig, teacher: LoadedPolicy, behaviour: LoadedPolicy | None = None
) -> tuple[str, ...]:
    """Observation groups that the environments must give: what teacher, behaviour policy and student read, and the
    labels of the object's position and of depth where they are learnt."""
    label = ("state",) if config.dagger.object_weight else ()
    depth = ("depth",) if student.depth_head else ()
    acting = behaviour.policy.obs_keys if behaviour else ()
    return tuple(dict.fromkeys((*teacher.policy.obs_keys, *acting, *student.obs_keys, *label, *depth)))


def student_config(config: StudentRunConfig, teacher: LoadedPolicy) -> StudentConfig:
    """The student's configuration, told what its task tells all, its sight replaced by the teacher's for a control
    student."""
    student = config.student.told((config.env or teacher.env_config).task.told)
    return replace(student, sight=teacher_sight(teacher)) if config.control else student


def teacher_sight(teacher: LoadedPolicy) -> Any:
    """The observation group that a teacher reads beside "proprio": "state" or "depth"."""
    return next(key for key in teacher.policy.obs_keys if key != "proprio")
