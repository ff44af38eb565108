"""What the user sees while a stage works: a bar with rate and time left, or plain lines where there is no terminal."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from html import escape
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

LOG_WIDTH = 1000
"""Columns of a table where there is no terminal, if it needs so many."""
LINE_EVERY = 15.0
"""Seconds between two plain lines."""


class Table(RichTable):
    """A table of words, as rich draws it on a terminal, and HTML in a notebook."""

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, str]:
        log = Console(file=io.StringIO(), width=LOG_WIDTH, force_jupyter=False, markup=False, color_system=None)
        log.print(self)
        return {"text/html": self._repr_html_(), "text/plain": log.file.getvalue()}  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        def row(kind: str, words: Iterable[Any]) -> str:
            name, *cells = (escape(str(one)).replace("\n", "<br>") for one in words)
            rest = "".join(f"<{kind}>{one}</{kind}>" for one in cells)
            return f'<tr><{kind} style="text-align: left">{name}</{kind}>{rest}</tr>'

        heads = row("th", (column.header for column in self.columns))
        rows = "".join(row("td", words) for words in zip(*(column.cells for column in self.columns), strict=True))
        above, below = (escape(str(one or "")) for one in (self.title, self.caption))
        return f"<p>{above}</p><table><thead>{heads}</thead><tbody>{rows}</tbody></table><p>{below}</p>"


def tell(*found: RenderableType) -> None:
    """Show on stdout what a command found. Names are no markup, a line of words is not broken inside a path, a table on
    a terminal folds what is too long, in a log it is as wide as it needs, and in a notebook it is HTML."""
    console = Console(markup=False, highlight=False)
    if not (console.is_terminal or console.is_jupyter or "COLUMNS" in os.environ):
        console.width = LOG_WIDTH
    for one in found:
        if isinstance(one, RichTable):
            for column in one.columns:
                column.overflow = "fold"
        if console.is_jupyter and isinstance(one, Table):
            from IPython.display import display

            display(one)
        else:
            console.print(one, soft_wrap=isinstance(one, str))


class Stage:
    """A stage of work under way: by itself a plain line now and then, for logs."""

    _every = LINE_EVERY

    def __init__(self, console: Console, title: str, total: int, unit: str, done: int) -> None:
        self._console, self._title, self._unit = console, title, unit
        self._total, self._done, self._done_before = total, float(done), done
        self._started = time.monotonic()
        self._figures: dict[str, float] = {}
        self.show()

    @property
    def place(self) -> str:
        """What is under way and how far it is, in words."""
        return f"{self._title} at {_count(self._done)} of {self._total:,} {self._unit}"

    def advance(self, n: float = 1, **figures: float) -> None:
        """Say that `n` more units are done, with figures to show beside them, e.g. `advance(4096, success=0.8)`."""
        self._done += n
        self._figures |= figures
        if time.monotonic() - self._shown_at >= self._every:
            self.show()

    def say(self, words: str) -> None:
        """Show a line that stays, of something that happened."""
        self._print(f"{self._title}: {words}")

    def show(self) -> None:
        """Write one line: how far, how fast, how long still, and the newest figures."""
        self._shown_at, self._shown = time.monotonic(), (self._done, dict(self._figures))
        self._print(self.line())

    def end(self) -> None:
        """Write the last line, unless it stands there already."""
        if self._shown != (self._done, self._figures):
            self.show()

    def line(self) -> str:
        """How far, how fast, how long still, and the newest figures."""
        rate = (self._done - self._done_before) / max(time.monotonic() - self._started, 1e-9)
        parts = [f"{self._title}: {_count(self._done)}/{self._total:,} {self._unit}"]
        if rate:
            parts += [f"{_speed(rate)}/s", f"{clock((self._total - self._done) / rate)} left"]
        return ", ".join([*parts, *([_shown(self._figures)] if self._figures else [])])

    def _print(self, words: str) -> None:
        self._console.print(words, soft_wrap=True, markup=False, highlight=False)


class _Bar(Stage):
    """A line of a terminal's live area."""

    def __init__(self, screen: Progress, title: str, total: int, unit: str, done: int) -> None:
        self._screen, self._console, self._title, self._unit = screen, screen.console, title, unit
        self._total, self._done = total, float(done)
        most = max(20, screen.console.width // 3)  # the end, where runs have their names and dates
        shown = title if len(title) <= most else f"…{title[1 - most :]}"
        self._task = screen.add_task(shown, total=total, completed=done, unit=unit, figures="")

    def advance(self, n: float = 1, **figures: float) -> None:
        self._done += n
        if figures:
            self._screen.update(self._task, figures=_shown(figures))
        self._screen.advance(self._task, n)

    def say(self, words: str) -> None:
        self._print(words)

    def end(self) -> None:
        pass


class _Cell(Stage):
    """One line with a bar in a notebook's cell, always the newest."""

    _handle: Any = None
    _every = 1.0

    def show(self) -> None:
        """Draw the bar anew."""
        from IPython.display import display  # where rich found a notebook, it is there

        self._shown_at, self._shown = time.monotonic(), (self._done, dict(self._figures))
        words = self.line()
        bar = f'<progress value="{self._done:g}" max="{self._total}"></progress> {escape(words)}'
        both = {"text/html": bar, "text/plain": words}
        if self._handle is None:
            self._handle = display(both, raw=True, display_id=True)
        else:
            self._handle.update(both, raw=True)


_screen: Progress | None = None  # a terminal has one live area: a stage inside a stage adds its bar to it


@contextmanager
def stage(
    title: str, total: int, unit: str = "steps", done: int = 0, console: Console | None = None
) -> Iterator[Stage]:
    """Show the progress of one stage on stderr.

    Args:
        title: e.g. "depth teacher".
        total: units of work in all; where there is nothing to do nothing is shown.
        unit: what is counted; the rate is shown in units per second.
        done: units done before, by an earlier session of a resumed run.
        console: where to write.
    """
    global _screen
    outer = _screen
    own = Console(stderr=True, quiet=not total, markup=False, highlight=False)
    console = console or (outer.console if outer else own)
    plain, shown = not console.is_terminal or console.is_jupyter, None
    _screen = outer if plain else outer or _new_screen(console)
    try:
        with nullcontext() if plain or outer or _screen is None else _screen:
            if plain or _screen is None:
                shown = (_Cell if console.is_jupyter and total else Stage)(console, title, total, unit, done)
            else:
                shown = _Bar(_screen, title, total, unit, done)
            yield shown
            shown.end()
    except KeyboardInterrupt as stop:
        stop.add_note(shown.place if shown else title)  # whoever breaks it off is told where it stood
        raise
    finally:
        _screen = outer


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{_speed(task.finished_speed or task.speed or 0.0)} {task.fields['unit']}/s")


def _new_screen(console: Console) -> Progress:
    title, figures = (TextColumn(f"{{task.{one}}}", markup=False) for one in ("description", "fields[figures]"))
    columns = (title, BarColumn(), MofNCompleteColumn(), _Rate(Column(no_wrap=True)), TimeRemainingColumn())
    return Progress(*columns, figures, console=console, speed_estimate_period=60.0)


def _count(done: float) -> str:
    """Units that are done; of long ones a tenth is told, too."""
    return f"{done:,.0f}" if abs(done - round(done)) < 0.05 else f"{done:,.1f}"


def _speed(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}" if rate >= 0.1 else f"{rate:.2g}"


def _shown(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in figures.items())


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
