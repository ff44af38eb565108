"""Put a teacher or student into the zoo that comes with the package, after an evaluation on held-out resets.

    python benchmarks/to_zoo.py RUN NAME --about "preset cpu, scene wrist, seed 0"

writes teachers/zoo/NAME/: policy, configuration, thinned metrics, evaluation, commit and hardware.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.evaluation.statistics import plain
from handsight.distill.runs import checkpoint, zoo
from handsight.distill.runs.metrics import MetricsFile
from handsight.distill.runs.policy_io import LoadedPolicy, find_checkpoint, load_policy
from handsight.distill.runs.provenance import provenance
from handsight.distill.runs.run import CONFIG, META, METRICS, Run
from handsight.errors import HandsightError
from handsight.files import read_json

EVALUATION = "evaluation.json"
MOST_ROWS = 100
"""Of metrics.csv; those of a validation are kept in any case."""
MOST_BYTES = 2 * 2**20
"""Of an entry: it travels in every wheel."""
POLICY_PARTS = ("policy", "signature", "env_config", "warm_started_from", "teacher")
"""Of a checkpoint's tree."""


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
        run_path: run folder of a teacher or a student.
        name: under which it will be found.
        about: how it was trained, in a few words.
        episodes: held-out resets of the evaluation.
        num_envs: worlds of the evaluation.
        device: where it runs.
        into: folder of entries; None: that of the package.

    Returns:
        The entry's folder.

    Raises:
        zoo.ZooError: no run folder, or an entry that would be too large.
    """

    loaded = load_policy(run_path, device)
    if loaded.run is None:
        raise zoo.ZooError(f"{run_path}: expected a run folder, found a {loaded.kind} at {loaded.path}")
    result = evaluate(
        loaded.policy, loaded.env_config, episodes=episodes, num_envs=num_envs, reset_kind="wide", device=device
    )
    found = plain({"summary": result.summary(), "settings": result.settings, "provenance": provenance()})
    place = (into or zoo.FOLDER) / name
    draft = place.parent / f".{name}.{os.getpid()}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    _write(draft, loaded, about, found)
    size = sum(path.stat().st_size for path in draft.rglob("*"))
    if size > MOST_BYTES:
        shutil.rmtree(draft)
        raise zoo.ZooError(f"{run_path} takes {size / 2**20:.1f} MiB; expected at most {MOST_BYTES / 2**20:.0f} MiB")
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    return place


def _write(folder: Path, loaded: LoadedPolicy, about: str, evaluation: dict[str, Any]) -> None:
    """An entry's files."""

    run, tree = loaded.run, checkpoint.load(loaded.path)
    assert run is not None
    origin = tree.get("warm_started_from")
    kept = {key: tree[key] for key in POLICY_PARTS if key in tree}
    if origin:
        kept["warm_started_from"] = _known(origin)
    config = read_json(run.path / CONFIG)
    if config["config"].get("warm_start"):
        config["config"]["warm_start"] = kept["warm_started_from"]
    checkpoint.save(folder / zoo.BEST, portable(kept))
    for file, content in ((CONFIG, config), (META, run.meta | {"about": about}), (EVALUATION, evaluation)):
        (folder / file).write_text(json.dumps(portable(content), indent=1, default=str) + "\n")
    write_thinned(run.metrics(), folder / METRICS)


def write_thinned(rows: Sequence[dict[str, float]], path: Path, most: int = MOST_ROWS) -> None:
    """Write at most so many rows, evenly spread and the last one among them, and beside them all validations."""

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

    if zoo.name_of(origin):
        return origin
    try:
        weights = _weights(find_checkpoint(origin))
    except HandsightError:
        return "a teacher that is not there any more"
    for name in zoo.names():
        if _weights(zoo.FOLDER / name / zoo.BEST) == weights:
            return zoo.PREFIX + name
    return Run.open(origin).name


def _weights(path: Path) -> str:
    """sha256 of a policy's weights, whatever else the checkpoint holds."""

    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.load(path)["policy"]["weights"].items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a teacher")
    parser.add_argument("name", help="under which it is found: zoo:NAME")
    parser.add_argument("--about", required=True, help="how it was trained, in a few words")
    parser.add_argument("--episodes", type=int, default=512, help="held-out resets")
    parser.add_argument("--num-envs", type=int, default=256, help="worlds of the evaluation")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--into", type=Path, help="folder of entries; the package's if not given")
    args = parser.parse_args()
    try:
        folder = add(args.run, args.name, args.about, args.episodes, args.num_envs, args.device, args.into)
    except HandsightError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"zoo:{args.name}: {size / 2**20:.2f} MiB in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
