"""metrics.csv: a row per logged step, columns that may appear at any time, nothing lost when the process is killed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...files import MOST_TEXT, FileError, read_text
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

    def rewind(self, step: int, expected: Collection[int] = ()) -> str:
        """Drop the rows later than `step`: a resumed run will write them again.

        What is lacking of those `expected` by their steps, or cannot be read, is taken from TensorBoard's files beside
        it, in single precision. Returns what was done about it, in words; nothing for a whole file.
        """
        (rows, spoilt), words = _readable(self.path), ""
        kept = [row for row in rows if row["step"] <= step]
        missing = set(expected) - {row["step"] for row in kept}
        if missing or spoilt:
            known = {(row["step"], name) for row in kept for name in row if name != "step"}
            board = [row for row in _on_the_board(self.path.parent) if row["step"] <= step]
            back = [{name: row[name] for name in row if (row["step"], name) not in known} for row in board]
            back = [row for row in back if len(row) > 1]
            kept = sorted([*kept, *back], key=lambda row: row["step"])
            if lost := sorted(missing - {row["step"] for row in back}):
                words = f"; {len(lost)} are lost, of steps {lost}"
            if back or lost:
                found = f"{len(back)} are back from TensorBoard's files, to seven digits{words}"
                words = f"{self.path} lacked {len(back) + len(lost)} rows: {found}"
        if kept or self.path.is_file():
            self._columns = list(dict.fromkeys(["step", *(name for row in kept for name in row)]))
            self._rewrite(kept)
        return words

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
    rows, spoilt = _readable(path)
    if spoilt:
        raise FileError(f"{path} is not what this version writes: {spoilt} lines are no rows of numbers")
    return rows


def _readable(path: Path) -> tuple[list[dict[str, float]], int]:
    """The rows of a metrics.csv that can be read, whatever happened to it, and how many of its lines cannot."""
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        lines = file.read(MOST_TEXT).decode(errors="replace").split("\n")[:-1]
    columns, rows = next(csv.reader(lines[:1]), []), list[dict[str, float]]()
    for line in lines[1:]:
        with suppress(ValueError, csv.Error, StopIteration):
            pairs = zip(columns, next(csv.reader([line])), strict=True)
            row = {name: float(text) for name, text in pairs if text.strip()}
            rows += [row] if "step" in row else []
    return rows, max(0, len(lines) - 1 - len(rows))


def _on_the_board(folder: Path) -> list[dict[str, float]]:
    """Rows as TensorBoard's files in a folder have them, as far as they can be read; one for each step."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # takes a second

    rows: dict[int, dict[str, float]] = {}
    counted = lambda path: [int(w) if w.isdigit() else w for w in re.split(r"(\d+)", path.name)]  # noqa: E731
    for path in sorted(folder.glob("events.out.tfevents.*"), key=counted):  # named by second and, last, by a counter
        with suppress(Exception):  # a damaged file ends in any of its readers' errors
            for event in LegacyEventFileLoader(str(path)).Load():
                if event.session_log.status == event.session_log.START:  # a resumed run: later points are void
                    rows = {step: row for step, row in rows.items() if step < event.step}
                for value in event.summary.value:
                    if not value.HasField("simple_value"):
                        continue  # a picture, or hyperparameters
                    rows.setdefault(event.step, {"step": float(event.step)})[value.tag] = value.simple_value
    return [rows[step] for step in sorted(rows)]


def write(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a whole metrics.csv at once; numbers as short as they can be told apart."""
    columns = ["step", *(name for name in dict.fromkeys(name for row in rows for name in row) if name != "step")]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.15g}" for name, value in row.items()})
    write_file(path, text.getvalue())
