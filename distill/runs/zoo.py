"""Words for a run, wherever a run or a checkpoint is expected: `zoo:state` and its like, which come with the package,
and `latest`, the run that began last.

An entry is a run folder, made small: the best checkpoint's policy, the configuration, where and on what it was trained,
a thinned metrics.csv, and an evaluation on held-out resets. `benchmarks/to_zoo.py` makes one; nothing in it names a
place on a machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from ...errors import HandsightError, meant
from ...files import check_links
from .run import RunError, named, runs_below

PREFIX, LATEST = "zoo:", "latest"
FOLDER = Path(__file__).resolve().parents[2] / "teachers" / "zoo"
BEST = Path("checkpoints") / "best.ckpt"


class ZooError(HandsightError):
    """A name that is not in the zoo, or a run that cannot be put into it."""


def names() -> list[str]:
    """Names of the entries of the zoo, sorted."""
    return sorted(path.parent.parent.parent.name for path in FOLDER.glob(f"*/{BEST}/manifest.json"))


def name_of(path: Path | str) -> str | None:
    """The name behind `zoo:`, e.g. "state" for zoo:state; None for any other path."""
    return str(path).removeprefix(PREFIX) if str(path).startswith(PREFIX) else None


def resolve(path: Path | str) -> Path:
    """The checkpoint behind a name of the zoo, the run folder behind `latest`; any other path as it is.

    Raises:
        ZooError: there is no such name, with those that there are; or a link in it leads out of it.
        RunError: no run was ever begun there, or none of that kind.
    """
    name = name_of(path)
    if name is None:
        return latest(Path(path))
    if name not in names():
        there = [PREFIX + other for other in names()]
        raise ZooError(f"{path} is not in the zoo{meant(str(path), there)}; available: {', '.join(there) or 'nothing'}")
    check_links(FOLDER / name, ZooError)
    return FOLDER / name / BEST


def resident(path: Path) -> str | None:
    """The name of the entry that a path lies in."""
    return path.relative_to(FOLDER).parts[0] if path.is_relative_to(FOLDER) and path != FOLDER else None


def latest(path: Path) -> Path:
    """The teacher or student that began last, for `latest` (in the folder runs) or FOLDER/latest; `latest:KIND` is the
    last teacher, student, state, depth, stereo, demo, or run of that whole name. Any other path as it is.

    Raises:
        RunError: there is none; says which kinds there are.
    """
    word, _, kind = path.name.partition(":")
    if word != LATEST or path.exists():
        return path
    root = path.parent if path.parent != Path() else Path("runs")
    found = {run: named(run) for run in runs_below(root)}
    wanted = [run for run, name in found.items() if _is_of(name, kind)]
    if not wanted:
        there = ", ".join(sorted(set(found.values()))) or "none"
        raise RunError(f"{path}: expected a run{f' of kind {kind}' if kind else ''} below {root}; available: {there}")
    return wanted[-1]


def _is_of(name: str, kind: str) -> bool:
    """Whether a run of this name, e.g. "student-stereo-from-state", is of a kind; without one, whether it trains."""
    first, _, rest = name.partition("-")
    if not kind:
        return first in ("teacher", "student")
    return kind in (name, first) or (first in ("teacher", "student") and f"{rest}-".startswith(f"{kind}-"))


RunPath = Annotated[
    Path,
    PrimitiveConstructorSpec(
        1, "RUN", lambda words: latest(Path(words[0])), lambda value: isinstance(value, Path), lambda path: [str(path)]
    ),
]
"""A run folder, a checkpoint in one, zoo:NAME or latest, as an option. What is latest is decided when it is read:
nothing that is saved says so."""
