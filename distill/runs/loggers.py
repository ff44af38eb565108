"""Where a run's figures go beside its metrics.csv: TensorBoard's files, and Lightning's loggers of W&B and MLflow."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...datasets.reader import leaves
from ...errors import HandsightError, unknown

NAMES = ("tensorboard", "csv", "wandb", "mlflow")
"""Loggers, each called as the package that it needs; `csv` is the metrics.csv that every run has."""


def chosen(words: str) -> tuple[str, ...]:
    """The loggers beside metrics.csv of an option such as "tensorboard,wandb".

    Raises:
        HandsightError: there is no such logger, or its package is missing.
    """
    names = tuple(dict.fromkeys(word for word in words.split(",") if word))
    for name in names:
        if name not in NAMES:
            raise HandsightError(f"--logger {words}: {unknown('logger', name, NAMES)}")
        if importlib.util.find_spec(name) is None:
            raise HandsightError(f"--logger {words}: {name} is not installed: pip install 'handsight[{name}]'")
    return tuple(name for name in names if name != "csv")


def opened(name: str, run: Path, meta: Mapping[str, Any], config: Mapping[str, Any], after: int | None) -> Any:
    """A logger for a run of this folder, meta.json and (nested) configuration. It takes rows by `log` and pictures
    (H, W, 3) uint8 by `show`; TensorBoard hides what was logged from step `after` on."""
    table = {key: value if isinstance(value, (int, float)) else str(value) for key, value in leaves(config).items()}
    title = f"{meta.get('name')}/{run.name}"
    if name == "tensorboard":
        return TensorBoard(run, table, after)
    return Wandb(run, title, table, str(meta.get("started"))) if name == "wandb" else MLflow(run, title, table)


class TensorBoard:
    """Events in the run's folder."""

    def __init__(self, run: Path, config: Mapping[str, Any], after: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.writer: Any = SummaryWriter(str(run), purge_step=after)
        for summary in hparams(dict(config), {}):
            self.writer.file_writer.add_summary(summary)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def show(self, name: str, image: Any, step: int) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """Project $WANDB_PROJECT, or handsight; offline with WANDB_MODE=offline. A resumed run goes on there, too."""

    def __init__(self, run: Path, title: str, config: Mapping[str, Any], started: str) -> None:
        from lightning.pytorch.loggers import WandbLogger

        project, offline = os.environ.get("WANDB_PROJECT", "handsight"), os.environ.get("WANDB_MODE") == "offline"
        own = hashlib.sha256(f"{title} {started}".encode()).hexdigest()[:16]
        self.logger = WandbLogger(title, run, id=own, resume="allow", project=project, offline=offline)
        self.logger.log_hyperparams(dict(config))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics({**metrics, "step": step})  # steps of its own only grow by one

    def show(self, name: str, image: Any, step: int) -> None:
        self.logger.log_image(name, [image])

    def close(self) -> None:
        self.logger.experiment.finish()


class MLflow:
    """Experiment $MLFLOW_EXPERIMENT_NAME, or handsight, at $MLFLOW_TRACKING_URI, or in the run's folder mlruns."""

    def __init__(self, run: Path, title: str, config: Mapping[str, Any]) -> None:
        from lightning.pytorch.loggers import MLFlowLogger

        name, place = (os.environ.get(f"MLFLOW_{word}") for word in ("EXPERIMENT_NAME", "TRACKING_URI"))
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow 3.17 refuses folders unless it is told
        self.logger = MLFlowLogger(name or "handsight", title, place, save_dir=str(run / "mlruns"))
        self.logger.log_hyperparams(dict(config))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(dict(metrics), step)

    def show(self, name: str, image: Any, step: int) -> None:
        self.logger.experiment.log_image(self.logger.run_id, image, f"{name}-{step}.png".replace(" ", "-"))

    def close(self) -> None:
        self.logger.finalize("success")
