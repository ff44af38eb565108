"""A configuration as artefacts hold it: what the environment and the training are, and nothing of a machine."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ...errors import HandsightError
from ...ranges import misfits
from ...sims.machine import chosen_settings, with_machine_of, without_machine

Config = TypeVar("Config")
GONE = {"env.isaac.stand_in", "env.task.randomization.depth_noise"}
"""Fields that runs of the first edition hold and nobody reads any more."""
_log = logging.getLogger(__name__)


_adapter: Any = cache(TypeAdapter)


def dump(config: Any) -> dict[str, Any]:
    """A frozen dataclass as JSON-able nested dicts, without its machine settings."""
    return without_machine(config, _adapter(type(config)).dump_python(config, mode="json"))


def read(config_class: type[Config], values: Any, where: Path | str, error: type[HandsightError]) -> Config:
    """A frozen dataclass from what an artefact holds; its machine settings are as nobody set them.

    Args:
        config_class: its type.
        values: nested dict.
        where: what holds it, for messages.
        error: what to raise.

    Raises:
        HandsightError: as `error`; names every value that does not fit.
    """
    try:
        config = _adapter(config_class).validate_python(values)
    except (ValidationError, HandsightError, RecursionError) as wrong:
        raise error(f"{where} does not fit {config_class.__name__}: {misfits(wrong)}") from wrong
    return unbound(config, where)


def unbound(config: Config, where: Path | str) -> Config:
    """The configuration with no machine's settings; those that it had are told of, once."""
    if chosen_settings(config):
        tell(f"{where}: ignored {text(config)}: of another machine; to have it so, say it on the command line")
    return with_machine_of(config)


def text(config: Any) -> str:
    """The machine settings that somebody chose, for people to read: "device='cuda:0', env.threads=2"."""
    return ", ".join(f"{name}={value!s:.200}" for name, value in chosen_settings(config).items())


@cache
def tell(message: str) -> None:
    """Warn in the log, once for each message."""
    _log.warning("%s", message)
