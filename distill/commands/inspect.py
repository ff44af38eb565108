"""Look at recorded rollouts: is every byte as it was written, what is in them, and what do they look like?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.reader import Survey, survey
from ...datasets.schema import IMAGES, DatasetError, form_of
from ...datasets.shard import Shard
from ...files import written
from ..runs.progress import Table, tell
from .arguments import InspectArgs

SHEET = "contact_sheet.png"


def inspect(args: InspectArgs) -> dict[str, Any]:
    """What `handsight inspect` does: verify, print a table, draw a contact sheet; returns the figures.

    Raises:
        DatasetError: a shard is damaged (names each, and the episodes of it that can still be read), holds numbers that
            are not finite, or comes from another environment than the others.
    """
    found = survey(args.path)
    shards = [Shard(path) for path in found.whole]
    if args.deep:
        for shard in shards:
            for name in shard.names:
                shard.check_episode(name)
    figures = summary(shards) | {"damaged": len(found.damaged)}
    if shards:
        tell(_table(args.path, figures, shards[0]))
        sheet = _contact_sheet(args, shards)
        if sheet:
            tell(f"Saved {sheet}")
    for shard in shards:
        shard.close()
    if found.damaged:
        raise DatasetError(_damage(found))
    return figures


def summary(shards: list[Shard]) -> dict[str, Any]:
    """Figures of whole shards: counts, success, what each dataset takes on the disk."""
    sizes: dict[str, dict[str, int]] = {}
    resets, succeeded, by_teacher = set(), 0, 0
    for shard in shards:
        for name in shard.names:
            facts = shard.episode_facts(name)
            succeeded += facts["success"]
            resets.add((facts["seed"], facts["world"]))
            by_teacher += bool("by_teacher" in shard.datasets(name) and shard.read(name, "by_teacher", slice(0, 1))[0])
            for path in shard.datasets(name):
                dataset = shard.file[f"data/{name}/{path}"]
                if dataset.dtype.kind == "f":
                    shard.read(name, path)  # refuses what is not finite
                size = sizes.setdefault(path, {"raw": 0, "stored": 0})
                size["raw"] += dataset.nbytes
                size["stored"] += dataset.id.get_storage_size()
    episodes = sum(len(shard.names) for shard in shards)
    return {
        "shards": len(shards),
        "episodes": episodes,
        "samples": sum(shard.header["samples"] for shard in shards),
        "resets": len(resets),
        "bytes": sum(shard.header["bytes"] for shard in shards),
        "success": succeeded / max(1, episodes),
        "by_teacher": by_teacher / max(1, episodes),
        "train": sum(len(shard.split("train")) for shard in shards),
        "valid": sum(len(shard.split("valid")) for shard in shards),
        "datasets": sizes,
    }


def _table(path: Path, figures: dict[str, Any], shard: Shard) -> Table:
    origin = shard.facts.origin
    lines = [
        f"{figures['episodes']:,} episodes of {figures['resets']:,} resets, {figures['samples']:,} steps, "
        f"{figures['shards']} shards, {figures['bytes'] / 2**20:,.1f} MiB",
        f"success {figures['success']:.3f}; driven by the teacher {figures['by_teacher']:.2f}; "
        f"train {figures['train']}, valid {figures['valid']}",
        *(f"{role}: {origin[role]['path']}" for role in ("policy", "teacher") if role in origin),
    ]
    table = Table("dataset", "form", "unit", "MiB", "stored", title=str(path), caption="\n".join(lines))
    for name, size in figures["datasets"].items():
        shape = shard.file[f"data/{shard.names[0]}/{name}"]
        form = f"{shape.dtype} ({', '.join(['T', *map(str, shape.shape[1:])])})"
        share = f"{size['stored'] / max(1, size['raw']):.0%}"
        table.add_row(name, form, form_of(name).unit, f"{size['raw'] / 2**20:.1f}", share)
    return table


def _contact_sheet(args: InspectArgs, shards: list[Shard]) -> Path | None:
    """One successful episode if there is any: a row for each eye and depth, a column for each moment."""
    from ..report.film import Film, colour_depth, contact_sheet

    chosen = [(shard, name) for shard in shards for name in shard.names if shard.episode_facts(name)["success"]]
    shard, name = chosen[0] if chosen else (shards[0], shards[0].names[0])
    paths, panels = shard.datasets(name), {}
    for eye in IMAGES:
        if f"obs/{eye}" in paths:
            panels[f"{eye} eye"] = shard.read(name, f"obs/{eye}")[:, None]
    if "obs/depth" in paths:
        panels["depth"] = colour_depth(shard.column(name, "depth")[:, 0])[:, None]
    if not panels:
        return None
    steps = shard.steps[name]
    over = (np.arange(steps) == steps - 1)[:, None]
    held = over & bool(shard.episode_facts(name)["success"])
    control_dt = float(shard.facts.signature.get("control_dt", 0))
    film = Film(panels, held, over, np.zeros(1, dtype=bool), ("",), control_dt)
    out = args.sheet or (args.path if args.path.is_dir() else args.path.parent) / SHEET
    with written(out) as draft:
        contact_sheet(film).savefig(draft, dpi=120, format=out.suffix[1:] or "png")
    return out


def _damage(found: Survey) -> str:
    lines = [f"{len(found.damaged)} damaged, {len(found.whole)} whole shards:"]
    for path, message in found.damaged.items():
        lines += [message, f"  {_readable(path)}"]
    return "\n  ".join(lines)


def _readable(path: Path) -> str:
    """Which episodes of a damaged shard still fit their CRC."""
    try:
        shard = Shard(path)
    except DatasetError as error:
        return f"no episode can be read: {str(error).partition(': ')[2]}"
    broken = []
    for name in shard.names:
        try:
            shard.check_episode(name)
        except (DatasetError, RuntimeError, OSError) as error:
            broken.append(f"{name} ({str(error).rpartition(': ')[2]})")
    shard.close()
    return f"damaged episodes: {', '.join(broken) or 'none'}; {len(shard.names) - len(broken)} fit their CRC"
