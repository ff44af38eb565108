"""Fitting a student under one Lightning Trainer, whether its sequences are rolled out on the way or were recorded."""

from __future__ import annotations

import ctypes
import logging
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback

from ...sims.vec_env import ArraySpec
from ...students import StereoStudent, StudentConfig
from ..runs.interrupt import Interrupt
from ..runs.policy_io import policy_tree
from ..runs.progress import Stage, stage
from ..runs.run import Run
from .dagger import DistillModule, RolloutStopped
from .student_config import StudentRunConfig

PERIODIC = "iteration_*.ckpt"
"""Names of the checkpoints that are written after each iteration."""


class StudentFit(lightning.LightningDataModule, ABC):
    """All that an iteration changes: the student, its optimiser, and where its batches come from."""

    steps_each: int
    """Units of progress in an iteration."""
    units: str = "rollout and gradient steps"
    """What is counted."""

    def __init__(self, config: StudentRunConfig, student_config: StudentConfig, env_config: Any) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.student_config, self.env_config = config, student_config, env_config
        self.metrics: dict[str, float] = {}
        """Of this iteration, beside the losses."""
        self.tick: Callable[[], None] = lambda: None
        """Called after each unit of progress; may raise to break off."""

    def build(self, obs_spec: Mapping[str, ArraySpec], signature: Mapping[str, Any], action_dim: int) -> None:
        """Make the student and what trains it.

        Raises:
            StudentError, BackboneError: the student does not fit what is observed.
        """
        self.signature, self.action_dim = signature, action_dim
        self.student = StereoStudent(self.student_config, obs_spec, action_dim)
        self.module = DistillModule(self.student, self.config.dagger, self.config.iterations)

    @property
    @abstractmethod
    def iteration(self) -> int:
        """Iterations begun: while one is under way, its number counted from 1."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """What curves are drawn over."""

    @abstractmethod
    def save(self, run: Run) -> None:
        """Write a checkpoint of the last finished iteration."""

    @abstractmethod
    def go_on(self, run: Run) -> None:
        """Continue bit for bit from the newest checkpoint of the run."""

    def validate(self) -> dict[str, float]:
        """Metrics that are measured once an iteration is over."""
        return {}

    def close(self) -> None:
        """Release what it holds."""

    def tree(self, origin: Mapping[str, Any]) -> dict[str, Any]:
        """The policy, and what its optimiser remembers. origin: of the teacher, {"path", "sha256"}."""
        config = self.student_config
        config = replace(config, backbone=replace(config.backbone, pretrained=False))  # its weights come along
        tree = policy_tree(
            self.student, config, self.action_dim, self.signature, self.env_config, self.student.obs_keys
        )
        return tree | {"learner": self.module.learner_state() if self.iteration else None, "teacher": dict(origin)}


def learn(training: StudentFit, run: Run) -> None:
    """Iterate to the end; log and save on the way."""
    config, left = training.config, training.config.iterations - training.iteration
    if not left:
        return
    keep_freed_memory()
    each = training.steps_each
    with (
        Interrupt() as interrupted,
        stage(run.name, config.iterations * each, training.units, training.iteration * each) as progress,
    ):
        bookkeeping = Bookkeeping(training, run, progress, lambda: interrupted.requested)
        training.tick = bookkeeping.tick
        with quiet_lightning(), suppress(RolloutStopped):  # the last finished iteration is on disk already
            make_trainer(config, left, [bookkeeping]).fit(training.module, datamodule=training)


class Bookkeeping(Callback):
    """Shows progress, notices that the user wants to leave, logs and saves after each iteration."""

    def __init__(self, training: StudentFit, run: Run, progress: Stage, stop: Callable[[], bool]) -> None:
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
        training.metrics |= training.validate()
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


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    names = {"success_at_end": "success", "imitation_error": "error"}
    return {short: metrics[name] for name, short in names.items() if name in metrics}


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of the settings in glibc's malloc.h; mallopt(3) explains them."""
NEVER, LARGEST = -1, 2**30
"""Never give the top of the heap back; bytes from which a block is mapped on its own."""


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, for its next tensors.

    By default glibc maps each block above 32 MiB on its own and gives it back when it is freed, so that every gradient
    step asks the kernel for its activations again, a page at a time. The process then stays as large as it once was.

    Returns:
        whether the C library is one that can be told; others are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(setting, value) for setting, value in ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, NEVER))
    )
