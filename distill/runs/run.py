"""A run is a folder: `runs/<name>/<YYYY-MM-DD_HH-MM-SS>/` with

config.json    the frozen dataclass that started it, and its type
meta.json      git commit, package versions, hardware, seed, command line
metrics.csv    every logged metric by step (and events.* for TensorBoard)
checkpoints/   see checkpoint.py
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ...errors import HandsightError
from ...files import check_links, read_json, write_json
from ...sims.machine import with_machine_of
from . import metrics as metrics_file
from . import stored_config
from .metrics import MetricsFile
from .provenance import provenance

CONFIG, META, METRICS = "config.json", "meta.json", "metrics.csv"
Config = TypeVar("Config")
_log = logging.getLogger(__name__)


class RunError(HandsightError):
    """A run folder that does not exist or does not hold what was asked for."""


class Run:
    """One run folder; made by `Run.create` or `Run.open`."""

    def __init__(self, path: Path):
        self.path = path
        self.machine = ""
        """Settings of this session's machine, as text: what meta.json notes of them."""
        self.stored: dict[str, Any] = {}
        """The configuration as config.json has it, or will have it when the run goes on; checkpoints take it along."""
        self.changes: dict[str, Any] = {}
        """Fields of it that were given anew, and their values."""
        self.checkpoints = path / "checkpoints"
        self._rows = MetricsFile(path / METRICS)
        self.loggers: tuple[str, ...] = ("tensorboard",)
        """Where the metrics go beside metrics.csv, see `loggers.chosen`."""
        self._open: list[Any] = []
        self._purge_step: int | None = None

    @classmethod
    def create(cls, name: str, config: Any, root: Path | str = Path("runs"), folder: Path | None = None) -> Run:
        """Make a new run folder.

        Args:
            name: what kind of run, e.g. "teacher-state": the folder above the date.
            config: the frozen dataclass that the run is made from; `seed` is read from it if it has one.
            root: where runs lie.
            folder: the run's own, new or empty; None: NAME/DATE in `root`.

        Raises:
            RunError: the folder holds something, the name is none of a folder, or the configuration no dataclass.
        """
        if not name or any(sign in name for sign in "/\\") or name.startswith("."):
            raise RunError(f"run name {name!r}: expected one folder name, e.g. teacher-state")
        if not is_dataclass(config) or isinstance(config, type):
            raise RunError(f"a run is made from a dataclass instance, found {config!r}")
        facts = {"type": type(config).__qualname__, "config": stored_config.dump(config)}
        if folder is not None and folder.exists() and any(folder.iterdir()):
            raise RunError(f"{folder} holds something already: expected a new folder")
        run = cls(folder or _new_folder(Path(root) / name))
        run.machine, run.stored = stored_config.text(config), facts["config"]
        run.checkpoints.mkdir(parents=True)
        seed = getattr(config, "seed", None)
        meta = {"name": name, "seed": seed, **provenance(), "machine": run.machine, "resumed": []}
        write_json(run.path / META, meta)
        write_json(run.path / CONFIG, facts)  # last: a folder with config.json is a run
        _log.info("run folder: %s", run.path)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """The run at a run folder, or the one that a checkpoint (or any file) inside it belongs to.

        Raises:
            RunError: no run there, with those that are nearby; or one with a link that leads out of it.
        """
        path = Path(path)
        for folder in (path, *path.parents[:2]):
            if (folder / CONFIG).is_file():
                check_links(folder, RunError)
                return cls(folder)
        root = next((folder for folder in (path, *path.parents[:-1]) if folder.is_dir()), Path("runs"))
        known = "\n  ".join(str(run) for run in runs_under(root) or runs_under(Path("runs"))) or "none"
        what = "is no run folder" if path.exists() else "does not exist"
        raise RunError(f"run {path} {what}: expected a folder with {CONFIG}; available runs:\n  {known}")

    @property
    def name(self) -> str:
        """What kind of run, e.g. "teacher-state"."""
        return self.meta["name"]

    @property
    def meta(self) -> dict[str, Any]:
        """Git commit, package versions, hardware, seed, command line. Raises RunError: meta.json is damaged."""
        return self._read(META)

    def config(self, config_class: type[Config]) -> Config:
        """The configuration, rebuilt with its types.

        Raises:
            RunError: it is of another type, or has fields or values that this version does not know.
        """
        facts, where = self._read(CONFIG), self.path / CONFIG
        if not isinstance(facts.get("type"), str) or not isinstance(facts.get("config"), dict):
            raise RunError(f"{where}: expected a type and a config, found {', '.join(facts) or 'nothing'}")
        if facts["type"] != config_class.__qualname__:
            raise RunError(f"{where}: expected a {config_class.__qualname__}, found a {facts['type']}")
        config = stored_config.read(config_class, facts["config"], where, RunError)
        unknown = set(_unknown_fields(facts["config"], asdict(config))) - stored_config.GONE  # type: ignore[call-overload]
        if unknown:
            raise RunError(f"{where}: {facts['type']} has no field {', '.join(sorted(unknown))} in this version")
        return config

    def resume(self, config_class: type[Config], here: Config | None = None, **changes: Any) -> Config:
        """The configuration to go on with: the run's own, with this machine's settings.

        Args:
            config_class: its type.
            here: holds these settings; None: nothing was said of the machine.
            changes: fields that get other values, from now on; `rewind` writes them down.

        Raises:
            RunError: as `config`. HandsightError: it has no such value.
        """
        config = with_machine_of(self.config(config_class), here)
        config = replace(config, **changes)  # type: ignore[type-var]
        self.stored = stored_config.dump(config)
        self.changes = {name: self.stored[name] for name in changes}
        self.machine, before = stored_config.text(config), self.meta.get("machine")
        begun = f"; it began with {before}" if before and before != self.machine else ""
        _log.info("resume %s on this machine with %s%s", self.path, self.machine or "no settings of its own", begun)
        return config

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write one row of metrics. `step` grows with the run and is what its curves are drawn over."""
        for logger in self._opened():
            logger.log(metrics, step)
        self._rows.append(metrics, step)

    def show(self, images: Mapping[str, Any], step: int) -> None:
        """Give pictures (H, W, 3) uint8 by name to the loggers; metrics.csv has none."""
        for logger in self._opened():
            for name, image in images.items():
                logger.show(name, image, step)

    def _opened(self) -> list[Any]:
        if self.loggers and not self._open:
            from . import loggers  # seconds to import, and readers need none

            config = self.stored or self._read(CONFIG)["config"]
            about = self.path, self.meta, config, self._purge_step
            self._open = [loggers.opened(name, *about) for name in self.loggers]
        return self._open

    def metrics(self) -> list[dict[str, float]]:
        """What was logged: one dict per row, with "step" and the metrics logged then."""
        return metrics_file.read(self.path / METRICS)

    def rewind(self, step: int, iterations: int = 0) -> None:
        """Continue after `step`: later rows are dropped, TensorBoard hides later points, config.json has the changes,
        and meta.json notes the resume. iterations: how many led to `step`, all alike, with a row for each."""
        self.close()
        if said := self._rows.rewind(step, [step * (one + 1) // iterations for one in range(iterations)]):
            _log.warning("%s", said)
        self._purge_step = step + 1
        meta, now = self.meta, {"step": step, "machine": self.machine, "changes": self.changes}
        meta["resumed"] = [*meta.get("resumed", []), {**now, **provenance()}]
        write_json(self.path / META, meta)
        if self.changes:
            facts = self._read(CONFIG)
            write_json(self.path / CONFIG, {**facts, "config": {**facts["config"], **self.changes}})
        _log.info("run folder: %s, continued after step %s", self.path, f"{step:,}")

    def close(self) -> None:
        """Write what the loggers still hold. May be called twice; a later `log` opens them again."""
        for logger in self._open:
            logger.close()
        self._open, self._rows = [], MetricsFile(self.path / METRICS)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            found = read_json(path, RunError)
        except OSError as error:
            raise RunError(f"{path}: expected a JSON file, found {error}") from error
        if not isinstance(found, dict):
            raise RunError(f"{path}: expected a JSON object, found a {type(found).__name__}")
        return found


def runs_under(root: Path | str) -> list[Path]:
    """Run folders in `root`, at most two levels down, oldest first within a name."""
    return sorted(path.parent for pattern in ("*", "*/*") for path in Path(root).glob(f"{pattern}/{CONFIG}"))


def runs_below(root: Path | str) -> list[Path]:
    """Every run folder below `root`, those in a demo's or a study's folder too, the one that began first first."""
    found = []
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if name not in ("checkpoints", "sequences")]
        found += [Path(folder)] if CONFIG in files and META in files else []
    return sorted(found, key=begun)


def begun(run: Path) -> tuple[str, str]:
    """When a run began, by its meta.json, and its path: a key to sort by; runs that do not say come first."""
    return str(_meta(run).get("started", "")), str(run)


def named(run: Path) -> str:
    """What kind of run a folder holds, e.g. "teacher-state", as far as its meta.json can be read."""
    return str(_meta(run).get("name", ""))


def _meta(run: Path) -> dict[str, Any]:
    with suppress(HandsightError, OSError):
        found = read_json(run / META)
        return found if isinstance(found, dict) else {}
    return {}


def _new_folder(parent: Path) -> Path:
    stamp = folder = parent / time.strftime("%Y-%m-%d_%H-%M-%S")
    for count in range(2, 10_000):
        with suppress(FileExistsError):  # another run began in this second
            folder.mkdir(parents=True)
            return folder
        folder = stamp.with_name(f"{stamp.name}_{count}")
    raise RunError(f"no free name for a run in {parent}")


def _unknown_fields(stored: Any, rebuilt: Any, path: str = "") -> list[str]:
    """Keys of the stored configuration that did not survive being read."""
    if not isinstance(stored, dict) or not isinstance(rebuilt, dict):
        return []
    names = [f"{path}{key}" for key in stored if key not in rebuilt]
    return names + [
        n for key in stored if key in rebuilt for n in _unknown_fields(stored[key], rebuilt[key], f"{path}{key}.")
    ]
