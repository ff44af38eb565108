"""What all report pages share: one look, tables whose cells carry intervals, and files that are part of the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from ..evaluation.statistics import Interval

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def render(template: str, contents: Mapping[str, Any]) -> str:
    """The page that a template of this folder makes; a name that `contents` lacks is an error."""
    folder = resources.files(__spec__.parent)
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(**contents)


def data_uri(content: bytes, suffix: str) -> str:
    """A file as an address that needs no file. suffix: ".svg", ".png" or ".mp4"."""
    mime = {".svg": "image/svg+xml", ".png": "image/png", ".mp4": "video/mp4"}[suffix]
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def table(heads: Sequence[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A table for the macro of that name; its first head stands over the names of the rows."""
    return {"heads": list(heads), "rows": list(rows)}


def row(name: str, cells: Sequence[dict[str, Any]], colour: str | None = None) -> dict[str, Any]:
    """A row; a colour is shown as a small square before its name, the same as in the figures."""
    return {"name": name, "colour": colour, "cells": list(cells)}


def cell(value: object, bounds: str = "", text: bool = False, code: bool = False) -> dict[str, Any]:
    """A cell with its interval below; text is set to the left, numbers to the right."""
    return {"value": str(value), "bounds": bounds, "text": text, "code": code}


def share(figure: Interval | None) -> dict[str, Any]:
    """A share in per cent with its interval; a dash where nothing was measured."""
    return number(figure, digits=1, scale=100, unit=" %")


def number(figure: Interval | None, digits: int = 2, scale: float = 1, unit: str = "") -> dict[str, Any]:
    """A number with its interval; a dash where nothing was measured."""
    if figure is None or figure.value != figure.value:
        return cell(DASH)
    value, low, high = (scale * bound for bound in (figure.value, figure.low, figure.high))
    bounds = f"{low:.{digits}f} {DASH} {high:.{digits}f}" if low == low else ""
    return cell(f"{value:.{digits}f}{unit}".replace("-", MINUS), bounds.replace("-", MINUS))


def markdown(content: Mapping[str, Any]) -> list[str]:
    """A table as lines of Markdown."""
    lines = ["| " + " | ".join(content["heads"]) + " |", "| --- " * len(content["heads"]) + "|"]
    for one in content["rows"]:
        bounds = [f" [{c['bounds'].replace(f' {DASH} ', ', ')}]" if c["bounds"] else "" for c in one["cells"]]
        cells = [c["value"] + told for c, told in zip(one["cells"], bounds, strict=True)]
        lines.append("| " + " | ".join([one["name"], *cells]) + " |")
    return lines
