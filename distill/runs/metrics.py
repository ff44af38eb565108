"""metrics.csv: a row per logged step, columns that may appear at any time, nothing lost when the process is killed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files import explained, read_text
from ...files import write as write_file


class MetricsFile:
    """A CSV file that rows are appended to.

    Columns: `step`, then the metrics in the order of their first appearance; a metric not logged is empty in its row.
    """

    def __init__(self, path: Path):
        self.path = path
        self._columns: list[str] | None = None

    def append(self, metrics: Mapping[str, Any], step: int) -> None:
        """Append one row; a new metric name first widens the file. Raises FileError: the file is damaged."""
        row = {"step": step, **{name: float(value) for name, value in metrics.items()}}
        columns = self._open()
        new = [name for name in row if name not in columns]
        if new:
            self._columns = [*columns, *new]
            self._rewrite(read(self.path))
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns or [], restval="").writerow(row)

    def rewind(self, step: int) -> None:
        """Drop the rows later than `step`: a resumed run will write them again."""
        if self.path.is_file():
            self._open()
            self._rewrite([row for row in read(self.path) if row["step"] <= step])

    def _open(self) -> list[str]:
        """The columns so far; drops a last row that a killed process wrote only in part."""
        if self._columns is None:
            text = read_text(self.path) if self.path.is_file() else ""
            if text and not text.endswith("\n"):
                write_file(self.path, text[: text.rfind("\n") + 1])
            self._columns = next(csv.reader(io.StringIO(text)), []) if "\n" in text else []
        return self._columns

    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns or [], restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "step": int(row["step"])})
        write_file(self.path, text.getvalue())


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, each with the metrics that were logged in it; no file is no rows.

    Raises:
        FileError: it holds something else than numbers.
    """
    if not path.is_file():
        return []
    lines = read_text(path).splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    with explained(path):
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(whole)]


def write(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a whole metrics.csv at once; numbers as short as they can be told apart."""
    columns = ["step", *(name for name in dict.fromkeys(name for row in rows for name in row) if name != "step")]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.15g}" for name, value in row.items()})
    write_file(path, text.getvalue())
