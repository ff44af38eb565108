"""Our files behind Lightning's interfaces: checkpoints for Fabric and Trainer, metrics.csv as a logger.

Apart from checkpoint.py and run.py because importing Lightning takes seconds, and only training needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from . import checkpoint as store
from .checkpoint import CheckpointError
from .metrics_file import MetricsFile


class SafeCheckpointIO(CheckpointIO):
    """Lightning's checkpoints in our format: `Fabric(plugins=[SafeCheckpointIO()])`, and the same for a Trainer."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any | None = None) -> None:
        """Write Lightning's state to the folder `path`."""
        if storage_options is not None:
            raise CheckpointError(f"checkpoint {path}: storage options are for remote stores; expected a local folder")
        store.save(path, checkpoint)

    def load_checkpoint(
        self, path: Path | str, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote; tensors come back on the CPU, `load_state_dict` moves them."""
        return store.load(path)

    def remove_checkpoint(self, path: Path | str) -> None:
        """Delete the folder."""
        store.remove(path)


class MetricsLogger(Logger):
    """metrics.csv as a Lightning logger. Lightning's own CSV logger deletes the file of an earlier session first and
    holds rows back in memory."""

    def __init__(self, path: Path):
        super().__init__()
        self.file = MetricsFile(path)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.path.name

    @property
    def version(self) -> str:
        """Its run folder's name."""
        return self.file.path.parent.name

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.file.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one row."""
        self.file.append(metrics, -1 if step is None else int(step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any) -> None:
        """Nothing: the configuration stands in config.json."""
