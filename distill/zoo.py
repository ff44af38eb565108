"""Teachers that come with the package: `zoo:state` and its like, wherever a run or a checkpoint is expected.

An entry is a run folder, made small: the best checkpoint's policy, the configuration, where and on what it was trained,
a thinned metrics.csv, and an evaluation on held-out resets. `add` makes one; nothing in it names a place on a machine.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ..errors import HandsightError
from .run import CONFIG, META, METRICS

if TYPE_CHECKING:
    from .policy_loading import LoadedPolicy

PREFIX = "zoo:"
FOLDER = Path(__file__).resolve().parents[1] / "teachers" / "zoo"
BEST = Path("checkpoints") / "best.ckpt"
EVALUATION = "evaluation.json"
MOST_ROWS = 100
"""Of metrics.csv; those of a validation are kept in any case."""
MOST_BYTES = 2 * 2**20
"""Of an entry: it travels in every wheel."""
POLICY_PARTS = ("policy", "signature", "env_config", "warm_started_from")
"""Of a checkpoint's tree."""


class ZooError(HandsightError):
    """A name that is not in the zoo, or a run that cannot be put into it."""


def names() -> list[str]:
    """What there is."""
    return sorted(path.parent.parent.parent.name for path in FOLDER.glob(f"*/{BEST}/manifest.json"))


def name_of(path: Path | str) -> str | None:
    """The name behind `zoo:`; None for any other path."""
    return str(path).removeprefix(PREFIX) if str(path).startswith(PREFIX) else None


def resolve(path: Path | str) -> Path:
    """The checkpoint behind a name of the zoo; any other path as it is.

    Raises:
        ZooError: there is no such name; lists those that there are.
    """
    name = name_of(path)
    if name is None:
        return Path(path)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        meant = f" (did you mean {PREFIX}{near[0]}?)" if near else ""
        there = ", ".join(PREFIX + other for other in names()) or "nothing"
        raise ZooError(f"{PREFIX}{name} is not in the zoo{meant}; available: {there}")
    return FOLDER / name / BEST


def resident(path: Path) -> str | None:
    """The name of the entry that a path lies in."""
    return path.relative_to(FOLDER).parts[0] if path.is_relative_to(FOLDER) and path != FOLDER else None


def add(
    run_path: Path,
    name: str,
    about: str,
    episodes: int = 512,
    num_envs: int = 256,
    device: str = "cpu",
    into: Path | None = None,
) -> Path:
    """Evaluate a run's best checkpoint and put it into the zoo, in place of an older one of that name.

    Args:
        run_path: run folder of a teacher.
        name: under which it will be found.
        about: how it was trained, in a few words.
        episodes: held-out resets of the evaluation.
        num_envs: worlds of the evaluation.
        device: where it runs.
        into: folder of entries; None: that of the package.

    Returns:
        The entry's folder.

    Raises:
        ZooError: not a teacher's run, or an entry that would be too large.
    """
    from .evaluate import evaluate
    from .intervals import plain
    from .policy_loading import load_policy
    from .provenance import provenance

    loaded = load_policy(run_path, device)
    if loaded.kind != "ActorCritic" or loaded.run is None:
        raise ZooError(f"{run_path}: expected a teacher's run folder, found a {loaded.kind} at {loaded.path}")
    result = evaluate(
        loaded.policy, loaded.env_config, episodes=episodes, num_envs=num_envs, reset_kind="wide", device=device
    )
    found = plain({"summary": result.summary(), "settings": result.settings, "provenance": provenance()})
    place = (into or FOLDER) / name
    draft = place.parent / f".{name}.{os.getpid()}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    _write(draft, loaded, about, found)
    size = sum(path.stat().st_size for path in draft.rglob("*"))
    if size > MOST_BYTES:
        shutil.rmtree(draft)
        raise ZooError(f"{run_path} takes {size / 2**20:.1f} MiB; expected at most {MOST_BYTES / 2**20:.0f} MiB")
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    return place


def _write(folder: Path, loaded: LoadedPolicy, about: str, evaluation: dict[str, Any]) -> None:
    """An entry's files."""
    from . import checkpoint

    run, tree = loaded.run, checkpoint.load(loaded.path)
    assert run is not None
    origin = tree.get("warm_started_from")
    kept = {key: tree[key] for key in POLICY_PARTS if key in tree} | {"warm_started_from": origin and _known(origin)}
    config = json.loads((run.path / CONFIG).read_text())
    if config["config"].get("warm_start"):
        config["config"]["warm_start"] = kept["warm_started_from"]
    checkpoint.save(folder / BEST, portable(kept))
    for file, content in ((CONFIG, config), (META, run.meta | {"about": about}), (EVALUATION, evaluation)):
        (folder / file).write_text(json.dumps(portable(content), indent=1, default=str) + "\n")
    write_thinned(run.metrics(), folder / METRICS)


def write_thinned(rows: Sequence[dict[str, float]], path: Path, most: int = MOST_ROWS) -> None:
    """Write at most so many rows, evenly spread and the last one among them, and beside them all validations."""
    from .metrics_file import MetricsFile

    validations = [row for row in rows if any(key.startswith("validation/") for key in row)]
    others = [row for row in rows if row not in validations]
    stride = max(1, -(-len(others) // most))
    kept = others[::-1][::stride]
    file = MetricsFile(path)
    for row in sorted([*kept, *validations], key=lambda row: row["step"]):
        file.append({key: float(f"{value:.6g}") for key, value in row.items() if key != "step"}, int(row["step"]))


def portable(tree: Any) -> Any:
    """The tree with nothing left of a path, in whatever string, but its last part."""
    if isinstance(tree, dict):
        return {key: portable(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(portable(value) for value in tree)
    if isinstance(tree, PurePath):
        return type(tree)(tree.name)
    return tree.rstrip("/").rpartition("/")[2] if isinstance(tree, str) and "/" in tree else tree


def _known(origin: str) -> str:
    """What to call the teacher that a teacher imitated: its name in the zoo, or else that of its run."""
    from .policy_loading import find_checkpoint
    from .run import Run

    if name_of(origin):
        return origin
    try:
        weights = _weights(find_checkpoint(origin))
    except HandsightError:
        return "a teacher that is not there any more"
    for name in names():
        if _weights(FOLDER / name / BEST) == weights:
            return PREFIX + name
    return Run.open(origin).name


def _weights(path: Path) -> str:
    """sha256 of a policy's weights, whatever else the checkpoint holds."""
    from . import checkpoint

    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.load(path)["policy"]["weights"].items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
