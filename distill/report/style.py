"""The look that all our figures and tables share."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

from .comparison import Comparison
from .policy_kind import CONTROL, DEPTH, LEFT, STATE, STEREO, WARM_DEPTH, PolicyKind, taught

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=["#b5490f", "#0a5a94", "#e69f00", "#56b4e9", "#009e73", "#cc79a7"]),
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "handsight",
}
WIDTH = 9.6
"""Width of a wide figure, inches."""
COLOURS = {
    STATE: "#b5490f",
    taught(STATE, STEREO): "#e69f00",
    taught(STATE, LEFT): "#f0c869",
    taught(STATE, CONTROL): "#8a6d3b",
    taught(STATE, "depth"): "#d55e00",
    WARM_DEPTH: "#0a5a94",
    taught(WARM_DEPTH, STEREO): "#56b4e9",
    taught(WARM_DEPTH, LEFT): "#a6d8f5",
    taught(WARM_DEPTH, CONTROL): "#4b6b86",
    DEPTH: "#00694d",
    taught(DEPTH, STEREO): "#00a37a",
    taught(DEPTH, LEFT): "#8fd3bd",
    taught(DEPTH, CONTROL): "#4d7a6c",
}
"""By policy kind, after Okabe and Ito: brown are state teachers and their students, blue depth teachers with a warm
start and theirs, green those from scratch; never red against green; teachers are darker."""
OTHER_COLOURS = ("#cc79a7", "#777777", "#7f3c8d", "#b3a100")


def colour(comparison: Comparison, kind: PolicyKind) -> str:
    """The same colour for a policy kind in every figure."""
    others = [other for other in comparison.kinds if other not in COLOURS]
    return COLOURS.get(kind) or OTHER_COLOURS[others.index(kind) % len(OTHER_COLOURS)]


def drawn(draw: Callable[[], Figure], kind: str = "svg") -> bytes:
    """What `draw` draws, in the report's style, as a file's content. kind: "svg" or "png".

    Nothing of matplotlib's global state is left changed.
    """
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        draw().savefig(stream, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()
