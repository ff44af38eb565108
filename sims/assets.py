"""What a user brought along, found by its name: artefacts hold names, and only a machine knows where things lie."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import HandsightError, unknown

FOLDERS = "HANDSIGHT_ASSETS"
"""Environment variable: folders, separated as in PATH, in which a name is looked for."""


def find(name: str) -> Path:
    """The file or folder called `name`, in the first of the folders that has one.

    Raises:
        HandsightError: none has; lists what there is.
    """
    folders = [Path(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
    for folder in folders:
        if Path(name).name == name and (folder / name).exists():
            return folder / name
    there = sorted({path.name for folder in folders if folder.is_dir() for path in folder.iterdir()})
    looked = f"in {', '.join(map(str, folders))}" if folders else f"as {FOLDERS} names no folder"
    raise HandsightError(f"{unknown('asset', name, there or ['none'])} {looked}")
