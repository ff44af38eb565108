"""Teachers that come with the package: `zoo:state` and its like, wherever a run or a checkpoint is expected.

An entry is a run folder, made small: the best checkpoint's policy, the configuration, where and on what it was trained,
a thinned metrics.csv, and an evaluation on held-out resets. `benchmarks/to_zoo.py` makes one; nothing in it names a
place on a machine.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import HandsightError, meant
from ...files import check_links

PREFIX = "zoo:"
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
    """The checkpoint behind a name of the zoo; any other path as it is.

    Raises:
        ZooError: there is no such name, with those that there are; or a link in it leads out of it.
    """
    name = name_of(path)
    if name is None:
        return Path(path)
    if name not in names():
        there = [PREFIX + other for other in names()]
        raise ZooError(f"{path} is not in the zoo{meant(str(path), there)}; available: {', '.join(there) or 'nothing'}")
    check_links(FOLDER / name, ZooError)
    return FOLDER / name / BEST


def resident(path: Path) -> str | None:
    """The name of the entry that a path lies in."""
    return path.relative_to(FOLDER).parts[0] if path.is_relative_to(FOLDER) and path != FOLDER else None
