"""MuJoCo's module is compiled and comes without types; for the checker everything in it is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
