"""A benchmark that loads torch before us would measure threads that wait busily."""

from __future__ import annotations

import ast
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_who_loads_torch_first_makes_its_threads_wait_passively() -> None:
    careless = []
    for path in sorted(BENCHMARKS.glob("*.py")):
        text = path.read_text()
        torch = [
            node.lineno
            for node in ast.parse(text).body
            if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "torch" for name in node.names))
            or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch")
        ]
        before = "\n".join(text.splitlines()[: torch[0] - 1]) if torch else ""
        if torch and "OMP_WAIT_POLICY" not in before:
            careless.append(path.name)
    assert not careless, f"{careless}: set OMP_WAIT_POLICY to PASSIVE before torch is imported, as peers.py does"
