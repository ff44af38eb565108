"""Train a student: DAgger rounds of rolling out and fitting, under one Lightning Trainer."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from .. import sims
from ..datasets.sequences import SequenceBuffer, prune
from ..errors import HandsightError
from ..sims.make import EnvConfig
from ..students import StereoStudent, StudentConfig
from . import checkpoint
from .dagger import DaggerConfig, DistillModule, RolloutStopped, collect
from .interrupt import Interrupt
from .policy_loading import LoadedPolicy, load_policy, policy_tree
from .progress import Stage, stage
from .run import Run

STUDENT_SEED = 2_000_000
"""Seeds of the rollouts start here, 10,000 for each run seed: apart from the teacher's and from all held-out resets."""
PERIODIC = "iteration_*.ckpt"
SEQUENCES = "sequences"
"""Folder of the run in which the aggregated buffer lies."""


@dataclass(frozen=True)
class StudentRunConfig:
    """Distil a teacher into a student."""

    teacher: Path
    """Run folder or checkpoint of the teacher."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """What the student sees and how large it is."""
    control: bool = False
    """Give the student the teacher's own observations instead of `student.sight`: what such a student cannot explain
    is optimisation error, not a limit of what can be seen."""
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    """How states are visited and how the student is fitted."""
    env: EnvConfig | None = None
    """The worlds; None takes the teacher's."""
    num_envs: int = 128
    """Worlds."""
    iterations: int = 16
    """Rounds of rolling out one episode's length in each world and fitting."""
    seed: int = 0
    """Of weights, worlds and batches."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept; one is written after each iteration, its newest sequences to a file of their own."""
    device: str = "cpu"
    """Where teacher and student compute, e.g. "cpu" or "cuda:0"."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Of the Lightning Trainer."""

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.num_envs < 1 or not 0 <= self.seed < 1000:
            raise HandsightError(
                f"student: expected iterations >= 1, num_envs >= 1 and a seed of 0..999, found "
                f"iterations={self.iterations}, num_envs={self.num_envs}, seed={self.seed}"
            )


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
    teacher = load_policy(config.teacher, config.device)
    config = replace(config, teacher=teacher.path)  # a run folder's best checkpoint may become another one
    training = StudentTraining(config, teacher)
    try:
        if run is None:
            run = Run.create(_run_name(config, teacher), config, run_root)
            training.save(run)  # whoever leaves during the first iteration can go on, too
        else:
            training.go_on(run)
        learn(training, run)
        return run
    finally:
        training.close()
        if run is not None:
            run.close()


def learn(training: StudentTraining, run: Run) -> None:
    """Iterate to the end; log and save on the way."""
    config, left = training.config, training.config.iterations - training.iteration
    if not left:
        return
    each = training.env.episode_steps + config.dagger.gradient_steps
    with (
        Interrupt() as interrupted,
        stage(run.name, config.iterations * each, "rollout and gradient steps", training.iteration * each) as progress,
    ):
        bookkeeping = Bookkeeping(training, run, progress, lambda: interrupted.requested)
        training.tick = bookkeeping.tick
        with quiet_lightning(), suppress(RolloutStopped):  # the last finished iteration is on disk already
            make_trainer(config, left, [bookkeeping]).fit(training.module, datamodule=training)


class StudentTraining(lightning.LightningDataModule):
    """All that an iteration changes: the student and its optimiser, the aggregated sequences.

    As Lightning's data module it rolls out anew whenever the Trainer asks for an epoch's batches.
    """

    def __init__(self, config: StudentRunConfig, teacher: LoadedPolicy) -> None:
        """Begins anew; raises SignatureError unless the worlds are those that the teacher knows."""
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.teacher = config, teacher
        self.env_config = config.env or teacher.env_config
        self.student_config = student_config(config, teacher)
        self.env = sims.make(self.env_config, observed(config, self.student_config, teacher), config.num_envs)
        try:
            teacher.check(self.env.signature)
            self.student = StereoStudent(self.student_config, self.env.obs_spec, self.env.action_dim)
        except HandsightError:
            self.env.close()
            raise
        self.module = DistillModule(self.student, config.dagger, config.iterations)
        self.buffer = SequenceBuffer(int(config.dagger.buffer_gib * 2**30))
        self.kept: deque[dict[str, Any]] = deque(maxlen=config.keep_checkpoints)
        """Which sequences the checkpoints on disk need."""
        self.metrics: dict[str, float] = {}
        """Of the latest rollout."""
        self.tick: Callable[[], None] = lambda: None
        """Called after each step of a rollout; may raise to break off."""

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
            self.env, self.teacher.policy, self.student, config.dagger, self.iteration, seed, self.tick
        )
        self.student.update_normalizers(columns, columns["valid"])
        self.student.train()
        if self.buffer.append(columns) == self.buffer.evicted > 0:
            warnings.warn(f"the sequences fill {config.dagger.buffer_gib} GiB: the oldest are forgotten", stacklevel=2)
        seconds = time.perf_counter() - start
        self.metrics = metrics | {
            "iteration": float(self.iteration),
            "fps": config.num_envs * self.env.episode_steps / seconds,
            "seconds/collect": seconds,
            "buffer/sequences": float(len(self.buffer)),
            "buffer/evicted": float(self.buffer.evicted),
        }
        return Batches(self.buffer, config.dagger, seed)

    def save(self, run: Run) -> None:
        """Write a checkpoint of the last finished iteration: of the sequences, only the newest are not on disk yet.

        A finished run is never gone on with, so its last checkpoint holds no sequences and their files go.
        """
        folder, sequences = run.checkpoints, run.path / SEQUENCES
        over = self.iteration >= self.config.iterations
        index = {"appended": self.iteration, "evicted": 0, "rollouts": []} if over else self.buffer.write(sequences)
        checkpoint.save(folder / PERIODIC.replace("*", f"{self.iteration:06d}"), self.tree() | {"sequences": index})
        checkpoint.keep_last(folder, self.config.keep_checkpoints, PERIODIC)
        self.kept.append(index)
        if over:
            shutil.rmtree(sequences)
        else:
            prune(sequences, self.kept)

    def tree(self) -> dict[str, Any]:
        """The policy, and what its optimiser remembers."""
        config, env = self.student_config, self.env
        config = replace(config, backbone=replace(config.backbone, pretrained=False))  # its weights come along
        tree = policy_tree(self.student, config, env.action_dim, env.signature, self.env_config, self.student.obs_keys)
        origin = {"path": str(self.config.teacher), "sha256": self._seal()}
        return tree | {"learner": self.module.learner_state() if self.iteration else None, "teacher": origin}

    def go_on(self, run: Run) -> None:
        """Continue bit for bit from the newest checkpoint of the run."""
        saved = checkpoint.load(checkpoint.latest(run.checkpoints, PERIODIC))
        if saved["teacher"]["sha256"] != self._seal():
            raise HandsightError(f"resume {run.path}: its teacher {self.teacher.path} was replaced since it began")
        self.student.load_state_dict(saved["policy"]["weights"])
        self.module.saved = saved["learner"]
        self.buffer = SequenceBuffer.read(run.path / SEQUENCES, saved["sequences"], self.buffer.capacity)
        self.kept.append(saved["sequences"])
        run.rewind(self.steps)

    def close(self) -> None:
        """Release the worlds."""
        self.env.close()

    def _seal(self) -> str:
        """Digest of the teacher's checkpoint."""
        return hashlib.sha256((self.teacher.path / checkpoint.MANIFEST).read_bytes()).hexdigest()


class Batches:
    """The batches of one iteration; the same ones however often Lightning begins to iterate."""

    def __init__(self, buffer: SequenceBuffer, config: DaggerConfig, seed: int) -> None:
        self.buffer, self.config, self.seed = buffer, config, seed

    def __len__(self) -> int:
        return self.config.gradient_steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        draws = torch.Generator().manual_seed(self.seed)
        return self.buffer.batches(self.config.batch_sequences, self.config.gradient_steps, draws)


class Bookkeeping(Callback):
    """Shows progress, notices that the user wants to leave, logs and saves after each iteration."""

    def __init__(self, training: StudentTraining, run: Run, progress: Stage, stop: Callable[[], bool]) -> None:
        self.training, self.run, self.progress, self.stop = training, run, progress, stop
        self.fitting = time.perf_counter()

    def tick(self) -> None:
        """After each step of a rollout or of the optimiser.

        Raises:
            RolloutStopped: the user wants to leave.
        """
        self.progress.advance(1)
        if self.stop():
            raise RolloutStopped

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The rollout is over, the fit begins."""
        self.fitting = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """One gradient step."""
        self.tick()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """One iteration."""
        training = self.training
        seconds = {"seconds/fit": time.perf_counter() - self.fitting}
        self.run.log(training.metrics | training.module.epoch_metrics() | seconds, training.steps)
        self.progress.advance(0, **_shown(training.metrics))
        training.save(self.run)


def make_trainer(config: StudentRunConfig, iterations: int, callbacks: list[Callback]) -> lightning.Trainer:
    """One epoch for each iteration. Logging, progress and checkpoints are the callbacks'."""
    device = torch.device(config.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    return lightning.Trainer(
        accelerator=device.type,
        devices=1 if device.index is None else [device.index],
        precision=config.precision,
        max_epochs=iterations,
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=config.dagger.max_grad_norm,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's remarks on hardware, loaders and tips are not the user's business; its warnings of trouble are."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
            yield
    finally:
        log.setLevel(level)


def student_config(config: StudentRunConfig, teacher: LoadedPolicy) -> StudentConfig:
    """The student's configuration, its sight replaced by the teacher's for a control student."""
    return replace(config.student, sight=_teacher_sight(teacher)) if config.control else config.student


def observed(config: StudentRunConfig, student: StudentConfig, teacher: LoadedPolicy) -> tuple[str, ...]:
    """Observation groups that the worlds must give: the teacher's, the student's, and the object's position."""
    label = ("state",) if config.dagger.object_weight else ()
    return tuple(dict.fromkeys((*teacher.policy.obs_keys, *student.obs_keys, *label)))


def _teacher_sight(teacher: LoadedPolicy) -> Any:
    return next(key for key in teacher.policy.obs_keys if key != "proprio")


def _run_name(config: StudentRunConfig, teacher: LoadedPolicy) -> str:
    sight = "control" if config.control else config.student.sight
    return f"student-{sight}-from-{_teacher_sight(teacher)}"


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"success_at_end": "success", "imitation_error": "error"}
    return {short: metrics[name] for name, short in names.items() if name in metrics}
