"""What all pages for people share: tables whose cells carry intervals, and the templates that show them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from ..evaluation.statistics import Interval

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    value: object
    bounds: str = ""
    """95 % interval of the value, shown below or behind it."""
    text: bool = False
    """Whether it is set to the left; numbers are set to the right."""
    code: bool = False


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    name: str
    cells: Sequence[Cell]
    colour: str | None = None
    """Shown as a small square before the name, the same as in the figures."""


@dataclass(frozen=True)
class Table:
    """A table for the macros of that name."""

    heads: Sequence[str]
    """The first one stands over the names of the rows."""
    rows: Sequence[Row]


def render(template: str, contents: Mapping[str, Any]) -> str:
    """The page that a template of this folder makes; a name that `contents` lacks is an error."""
    folder = resources.files(__spec__.parent)
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    escape = ".html" in template
    environment = jinja2.Environment(loader=loader, autoescape=escape, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(**contents)


def data_uri(content: bytes, suffix: str) -> str:
    """A file as an address that needs no file. suffix: ".svg", ".png" or ".mp4"."""
    mime = {".svg": "image/svg+xml", ".png": "image/png", ".mp4": "video/mp4"}[suffix]
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def share(figure: Interval | None) -> Cell:
    """A share in per cent with its interval; a dash where nothing was measured."""
    return number(figure, digits=1, scale=100, unit=" %")


def number(figure: Interval | None, digits: int = 2, scale: float = 1, unit: str = "") -> Cell:
    """A number with its interval; a dash where nothing was measured."""
    if figure is None or figure.value != figure.value:
        return Cell(DASH)
    value, low, high = (scale * bound for bound in (figure.value, figure.low, figure.high))
    bounds = f"{low:.{digits}f} {DASH} {high:.{digits}f}" if low == low else ""
    return Cell(f"{value:.{digits}f}{unit}".replace("-", MINUS), bounds.replace("-", MINUS))


def points(figure: Interval) -> str:
    """A difference of two shares, in percentage points with its interval."""
    text = f"{100 * figure.value:.1f} points [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return text.replace("-", MINUS)
