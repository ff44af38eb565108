"""Packages whose public names are imported when they are first asked for, so that to import one costs nothing."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from types import ModuleType
from typing import Any


class Package(ModuleType):
    """A package that finds each public name in one of its modules (PEP 562)."""

    homes: dict[str, str]
    """Module of each public name."""

    def __getattr__(self, name: str) -> Any:
        if name not in (homes := vars(self).get("homes", {})):
            there = ", ".join(sorted(homes))
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}; available: {there}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Python binds every imported module to its package: not over a public name, such as `make` of `sims`."""
        if not (isinstance(value, ModuleType) and name in self.homes):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [*vars(self), *self.homes]


def attach(package: str) -> None:
    """Find the public names of a package when they are asked for: those that its __init__.py imports under
    `if TYPE_CHECKING:`, where editors and type checkers see them."""
    module: Any = sys.modules[package]
    blocks = [block.body for block in ast.parse(inspect.getsource(module)).body if isinstance(block, ast.If)]
    imports = [line for body in blocks for line in body if isinstance(line, ast.ImportFrom)]
    module.homes = {one.name: f"{package}.{line.module}" for line in imports for one in line.names}
    module.__all__ = sorted(module.homes)
    module.__class__ = Package
