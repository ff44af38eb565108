"""What others bring in: tasks, robots, object sets, policies, students and metrics of modules that the user names.

A plugin is a module with tuples called TASKS, ROBOTS, OBJECTS, POLICIES, STUDENTS or METRICS. It is named by `load`, as
`--plugin` does, or by an installed package, whose entry points of the groups `handsight.tasks`, ... are such things
themselves. Files that somebody made call things by name; no module is ever imported because such a file names it.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from .errors import HandsightError

KINDS = ("tasks", "robots", "objects", "policies", "students", "metrics")
VARIABLE = "HANDSIGHT_PLUGINS"
"""Environment variable: modules that were named, with colons between them, for processes that are started."""
_things: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
_modules: list[str] = []


class PluginError(HandsightError):
    """A plugin that cannot be imported, or that brings nothing."""


def load(where: str) -> None:
    """Import a plugin by the name of its module, or by its file: tasks/push.py; here and in processes that are started.

    Raises:
        PluginError: it cannot be imported, or has none of the tuples.
    """
    name = Path(where).stem if where.endswith(".py") else where
    if where.endswith(".py") and (folder := str(Path(where).resolve().parent)) not in sys.path:
        sys.path.append(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))
    if name in _modules:
        return
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise PluginError(f"--plugin {where}: cannot be imported: {error}") from error
    if not any(hasattr(module, kind.upper()) for kind in KINDS):
        raise PluginError(f"--plugin {where}: expected one of {', '.join(KINDS).upper()} in it")
    _modules.append(name)
    os.environ[VARIABLE] = os.pathsep.join(_modules)
    for kind in KINDS:
        _things[kind] |= {getattr(one, "name", None) or one.__name__: one for one in getattr(module, kind.upper(), ())}


def find(kind: str, name: Any) -> Any:
    """The thing of this name that the user named or installed; None if there is none. Raises PluginError, as `load`."""
    known = names(kind)
    if name in known and name not in _things[kind]:
        point = entry_points(group=f"handsight.{kind}")[name]
        try:
            _things[kind][name] = point.load()
        except (ImportError, AttributeError) as error:
            raise PluginError(f"plugin {point.value}: cannot be imported: {error}") from error
        _modules.append(point.module)
    return _things[kind].get(name) if name in known else None


def names(kind: str) -> list[str]:
    """What `find` knows, without importing what is installed."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        load(name)
    return [*dict.fromkeys((*_things[kind], *sorted(entry_points(group=f"handsight.{kind}").names)))]


def loaded() -> list[str]:
    """Modules of the plugins that have been imported, sorted."""
    return sorted(set(_modules))


def missing(tree: Any) -> str:
    """What messages add to the name of a checkpoint whose plugins are not all here; they are not imported for it."""
    gone = [f"--plugin {module}" for module in tree.get("plugins", ()) if module not in _modules]
    return f" (made with plugins that are not loaded: {' '.join(gone)})" if gone else ""
