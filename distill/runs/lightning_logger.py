"""metrics.csv as a Lightning logger; apart because importing Lightning takes seconds, and only training needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from .metrics import MetricsFile


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
