"""A policy that is to be compared: loaded, with what its checkpoint and its run tell of where it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import checkpoint, zoo
from .entry import Origin
from .policy_loading import LoadedPolicy, load_policy
from .roles import sight_of, student_role, teacher_role
from .run import CONFIG


@dataclass(frozen=True)
class Contestant:
    """A policy that is to be compared."""

    loaded: LoadedPolicy
    origin: Origin
    sight: str
    """`roles.sight_of` its configuration."""
    role: str
    """What it is called beside its seed, from the checkpoints alone; see `roles`."""
    teacher: Path | None = None
    """Checkpoint of the student's teacher; None for a teacher."""
    teacher_digest: str | None = None
    """sha256 of that checkpoint's manifest when the student learnt from it."""
    driver: Path | None = None
    """Checkpoint of the student on whose states a control student was fitted; None if it drove itself."""
    driver_digest: str | None = None
    """sha256 of its manifest at that time."""


def load_contestant(path: Path, device: str = "cpu") -> Contestant:
    """A policy with what its checkpoint and run tell about where it comes from."""
    loaded = load_policy(path, device=device)
    tree, run = checkpoint.load(loaded.path), loaded.run
    meta = run.meta if run else {}
    origin = Origin(
        checkpoint=from_here(str(loaded.name)),
        digest=checkpoint.digest(loaded.path),
        run=from_here(str(loaded.name if zoo.name_of(loaded.name) else run.path)) if run else None,
        seed=meta.get("seed"),
        config=from_here(json.loads((run.path / CONFIG).read_text())["config"]) if run else {},
        meta=from_here(meta),
        metrics=tuple(run.metrics()) if run else (),
        warm_started_from=from_here(tree.get("warm_started_from")),
    )
    sight = sight_of(tree["policy"]["config"])
    if "teacher" not in tree:
        return Contestant(loaded, origin, sight, teacher_role(sight, bool(origin.warm_started_from)))
    teacher = zoo.resolve(tree["teacher"]["path"])
    taught, warm = "unknown", False
    if teacher.is_dir():
        known = checkpoint.load(teacher)
        taught, warm = sight_of(known["policy"]["config"]), bool(known.get("warm_started_from"))
    role, driver = student_role(taught, sight, warm), tree.get("driver", {})
    where = Path(driver["path"]) if driver else None
    return Contestant(loaded, origin, sight, role, teacher, tree["teacher"]["sha256"], where, driver.get("sha256"))


def from_here(tree: Any) -> Any:
    """The tree with paths below the working directory made relative to it: a report is read on other machines."""
    if isinstance(tree, dict):
        return {key: from_here(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [from_here(value) for value in tree]
    return tree.removeprefix(f"{Path.cwd()}/") if isinstance(tree, str) else tree
