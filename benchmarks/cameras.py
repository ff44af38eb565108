"""Our ray caster beside mujoco_warp's renderer, on one core: `python benchmarks/cameras.py [--worlds N]`.

The same worlds in the middle of an episode, the same cameras, one renderer after the other in turn; CPU seconds, the
least of several. Writes benchmarks/results/cameras.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from handsight.distill.runs.provenance import provenance
from handsight.sims import EnvConfig, make
from handsight.sims.engines.ray_cameras import POSES, RayCameras, seen_by
from handsight.sims.engines.ray_caster import RayCaster

RESULTS = Path(__file__).parent / "results" / "cameras.json"
GROUPS = {"depth": ("depth",), "pair": ("depth", "stereo")}
Poses = dict[str, np.ndarray]


def worlds(size: int, count: int) -> tuple[Any, Poses, Poses]:
    """An engine whose hands are among the objects, its poses and its looks."""
    config = EnvConfig()
    rig = replace(config.scene.rig, height=size, width=size)
    env = make(replace(config, scene=replace(config.scene, rig=rig), threads=1), ("state",), count)
    env.reset(0)
    draws = torch.Generator().manual_seed(0)
    for _ in range(12):
        env.step(torch.rand(count, env.action_dim, generator=draws) * 2 - 1)
    engine: Any = env.engine
    poses = {name: engine._data[name].copy() for name in POSES if name != "light_xdir"}
    looks = {name: values.copy() for name, values in engine._looks.items()}
    return engine, poses | {"light_xdir": looks.pop("light_dir")}, looks


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def seconds(render: Callable[[], Any]) -> float:
    """CPU seconds of one rendering of all worlds."""
    before = time.process_time()
    render()
    return time.process_time() - before


def agreement(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Shares of pixels that differ, and by how much depth does."""
    apart = (ours["depth"] - theirs["depth"]).abs()
    found = {
        "depth_median_m": float(apart.median()),
        "depth_over_20_um": float((apart > 2e-5).float().mean()),
        "mask_differs": float((ours["object_mask"] != theirs["object_mask"]).float().mean()),
    }
    if "stereo" in ours:
        levels = (ours["stereo"].int() - theirs["stereo"].int()).abs().amax(2)
        found["colour_differs"] = float((levels > 0).float().mean())
        found["colour_over_1_level"] = float((levels > 1).float().mean())
    return found


def compare(size: int, name: str, count: int, repeats: int) -> dict[str, Any]:
    """One row: microseconds a world, nanoseconds a pixel, memory, and whether the pictures are the same."""
    engine, poses, looks = worlds(size, count)
    rig, groups = engine.scene.config.rig, GROUPS[name]
    makers: dict[str, Callable[[], Any]] = {
        "mujoco_warp": lambda: RayCameras(engine.model, engine._ids, rig, count, groups, 1),
        "ours": lambda: RayCaster(engine.model, seen_by(rig, engine._ids), count, 1),
    }
    cameras, images, memory = {}, {}, {}
    for maker, camera in makers.items():
        before = resident()
        cameras[maker] = camera()
        cameras[maker].set_looks(np.arange(count), looks)
        images[maker] = cameras[maker].render(poses, groups)
        memory[maker] = resident() - before
    spent: dict[str, list[float]] = {maker: [] for maker in makers}
    for _ in range(repeats):
        for maker, camera in cameras.items():
            spent[maker].append(seconds(lambda camera=camera: camera.render(poses, groups)))
    row: dict[str, Any] = {"pixels": size, "images": name, "worlds": count}
    for maker, times in spent.items():
        row[maker] = {
            "us_per_world": 1e6 * min(times) / count,
            "ns_per_pixel": 1e9 * min(times) / count / (size * size * len(groups)),
            "kib_per_world": memory[maker] / count / 1024,
        }
        cameras[maker].close()
    engine.close()
    row["ratio"] = min(spent["mujoco_warp"]) / min(spent["ours"])
    return row | {"agreement": agreement(images["ours"], images["mujoco_warp"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    compare(32, "pair", 2, 1)  # whatever is loaded or compiled once
    rows = []
    for size in (32, 64, 96):
        for name in GROUPS:
            rows.append(compare(size, name, args.worlds, args.repeats))
            row, ours, theirs = rows[-1], rows[-1]["ours"], rows[-1]["mujoco_warp"]
            print(
                f"{size} px {name}: mujoco_warp {theirs['us_per_world']:.0f} us a world ({theirs['ns_per_pixel']:.0f} "
                f"ns a pixel), ours {ours['us_per_world']:.1f} us ({ours['ns_per_pixel']:.1f} ns), "
                f"{row['ratio']:.1f} times as fast; {row['agreement']}",
                flush=True,
            )
    facts = provenance()
    result = {"provenance": {key: facts[key] for key in ("git", "hardware", "versions", "started")}, "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"on {facts['hardware']}; written: {RESULTS}")


if __name__ == "__main__":
    main()
