"""Where robots and objects that are not built in lie: in the folders of an environment variable, found by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import HandsightError

VARIABLE = "HANDSIGHT_ASSETS"
"""Environment variable: folders, with colons between them."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What may be a name: an artefact that a stranger wrote must not lead to other places."""


OBJECTS = "objects.json"
"""File that makes a folder an imported set of objects."""


class AssetError(HandsightError):
    """A robot or a set of objects that is not here, or whose file is not what it should be."""


def folders() -> list[Path]:
    """The folders that are searched, in this order."""
    return [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]


def named(what: str, word: str) -> str:
    """The name that a command line means by a "robot" or by "objects": the word, or if that is the path of a robot's
    TOML file or of a set's folder, the name of this, which is looked for there first from now on, also by processes
    that are started.

    Raises:
        AssetError: there is no such file or folder.
    """
    path, is_robot = Path(word).resolve(), what == "robot"
    file = path if is_robot else path / OBJECTS
    if not (os.sep in word or (word.endswith(".toml") if is_robot else file.is_file())):
        return word
    if not file.is_file():
        raise AssetError(
            f"--{what} {word}: expected {'a TOML file' if is_robot else f'a folder with {OBJECTS}'}, found none"
        )
    others = [str(other) for other in folders() if other.resolve() != path.parent]
    os.environ[VARIABLE] = os.pathsep.join([str(path.parent), *others])
    return path.stem if is_robot else path.name


def find(what: str, name: str, suffix: str = "", built_in: Path | None = None) -> Path:
    """The file or folder `name + suffix`.

    Args:
        what: what it is, for messages, and the command line's option for it: "robot".
        name: what artefacts call it.
        suffix: how a file's name goes on, e.g. ".toml"; empty for a folder.
        built_in: folder that is searched last.

    Raises:
        AssetError: it is in none of the folders; says where it was looked for, and what is there.
    """
    if not NAME.fullmatch(name):
        raise AssetError(f"{what} {name!r}: expected a name of letters, digits, '_', '.' and '-'")
    places = [*folders(), *filter(None, [built_in])]
    for folder in places:
        if (path := folder / f"{name}{suffix}").exists():
            return path
    named = (os.path.splitext(one)[0] if suffix else one for one in available(suffix, places))
    by_path = f", or --{what} with its path" if what in ("robot", "objects") else ""
    raise AssetError(
        f"{what} {name!r} is not built in: expected {name}{suffix} in a folder of ${VARIABLE} (found "
        f"{os.environ.get(VARIABLE) or 'it unset'}){by_path}; available: {', '.join(named) or 'none'}"
    )


def available(suffix: str, places: list[Path]) -> list[str]:
    """Names of what lies in these folders and ends so; folders' names, where it is empty."""
    found = (one for folder in places if folder.is_dir() for one in folder.iterdir())
    return sorted({one.name for one in found if (one.suffix == suffix if suffix else one.is_dir())})
