"""The scenes of the study, drawn and measured: `python benchmarks/scenes.py [visibility] [speed] [place]`; all if none.

Writes benchmarks/results/scenes.json, and with `visibility` the pictures docs/scenes/*.png.

visibility  how often the object is in view at reset, and how large it is there
speed       world-steps per second
place       how far from the truth a student's network places the object that it sees, and the one that it does not see
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from handsight import sims
from handsight.distill.runs.provenance import provenance
from handsight.sims.make import EnvConfig
from handsight.sims.scenes import SCENES
from handsight.sims.tasks.grasp import GraspTask
from handsight.sims.tasks.resets import CENTRE, RESETS
from handsight.students import StereoStudent, StudentConfig

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

HERE = Path(__file__).resolve().parent
OUT, PICTURES = HERE / "results" / "scenes.json", HERE.parent / "docs" / "scenes"
HELD_OUT = 1_000_000
"""Seed of the resets on which policies are evaluated."""
TRAINING = 3_000_000
RESETS_SHOWN, LARGE = 512, 256
WORLDS, STEPS = 256, 40
FIT_ROUNDS, TEST_ROUNDS, ROUND, EPOCHS, BATCH = 12, 2, 512, 20, 128


def begin(config: EnvConfig) -> tuple[np.ndarray, np.ndarray]:
    """Where the objects stand after held-out resets (N, 2) m, and how many pixels of the left eye show each (N,)."""
    env = sims.make(config, ("proprio", "depth"), RESETS_SHOWN)
    env.reset(HELD_OUT)
    pixels = env.measure()["visible"] * config.scene.rig.height * config.scene.rig.width
    place = env.engine.read().object_pos[:, :2].numpy()
    env.close()
    return place, pixels.round().numpy()


# -- measured ------------------------------------------------------------------------------------------------------


def visibility(pixels: np.ndarray) -> dict[str, float]:
    """Of wide, held-out resets."""
    seen = pixels[pixels > 0]
    low, middle, high = np.quantile(seen, (0.1, 0.5, 0.9))
    share = float((pixels > 0).mean())
    return {"resets": len(pixels), "in_view": share, "pixels_10%": low, "pixels_median": middle, "pixels_90%": high}


def rate(config: EnvConfig, observe: tuple[str, ...]) -> float:
    """World-steps per second under random actions."""
    env = sims.make(config, observe, WORLDS)
    env.reset(0)
    env.stagger()
    actions = torch.rand(2 * STEPS, WORLDS, env.action_dim, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for action in actions[:STEPS]:
        env.step(action)
    start = time.perf_counter()
    for action in actions[STEPS:]:
        env.step(action)
    env.close()
    return STEPS * WORLDS / (time.perf_counter() - start)


def first_observations(config: EnvConfig, rounds: int, seed: int) -> tuple[dict[str, Tensor], GraspTask]:
    """Observations after resets, `object_from_palm` (R, 3) m and `seen` (R,) bool; and the worlds, closed."""
    env = sims.make(config, ("state", "proprio", "depth", "stereo"), ROUND)
    part, rows = env.obs_spec["state"].part("object_from_palm"), []
    for number in range(rounds):
        obs = env.reset(seed + number)
        row = {key: obs[key].clone() for key in ("proprio", "depth", "stereo")}
        rows.append(row | {"place": obs["state"][:, part].clone(), "seen": env.measure()["visible"] > 0})
    env.close()
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}, env


def localise(train: dict[str, Tensor], test: dict[str, Tensor], env: GraspTask, sight: str) -> dict[str, float | None]:
    """cm between the object and where the student's network, fitted on resets, places it on others."""
    torch.manual_seed(0)
    net = StereoStudent(StudentConfig(sight=sight, memory="none"), env.obs_spec, env.action_dim)  # type: ignore[arg-type]
    count = len(train["place"])
    net.update_normalizers(train, torch.ones(count, dtype=torch.bool))
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * (count // BATCH))
    for _ in range(EPOCHS):
        for ids in torch.randperm(count)[: count // BATCH * BATCH].split(BATCH):
            loss = F.smooth_l1_loss(_place(net, train, ids) * 10, train["place"][ids] * 10, beta=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        error = 100 * (_place(net, test, torch.arange(len(test["place"]))) - test["place"]).norm(dim=1)
    return {
        what: _median(error[chosen]) for what, chosen in (("in_view_cm", test["seen"]), ("hidden_cm", ~test["seen"]))
    }


def _place(net: StereoStudent, rows: dict[str, Tensor], ids: Tensor) -> Tensor:
    """(B, 3) m in the palm's frame, from one observation each."""
    obs = {key: rows[key][ids][None] for key in net.obs_keys}
    flags = torch.ones(1, len(ids), dtype=torch.bool)
    return net.sequence(obs, flags, flags).object_position[0]


def _median(error: Tensor) -> float | None:
    return float(error.median()) if len(error) else None


# -- drawn ---------------------------------------------------------------------------------------------------------


def draw_resets(name: str, place: np.ndarray, pixels: np.ndarray) -> None:
    """From above: where objects stand, how large the left eye sees them, the wall, and where the pair looks from."""
    scene = SCENES[name].scene  # type: ignore[index]
    figure, axes = plt.subplots(figsize=(4.2, 4.0), dpi=110, layout="constrained")
    seen = pixels > 0
    axes.scatter(*place[~seen].T, s=14, facecolors="none", edgecolors="crimson", linewidths=0.8, label="not seen")
    dots = axes.scatter(*place[seen].T, s=14, c=pixels[seen], cmap="viridis", vmin=0, vmax=60, label="seen")
    if scene.wall is not None:
        corner = [c - h for c, h in zip(scene.wall.centre, scene.wall.half_size, strict=True)]
        axes.add_patch(Rectangle(corner, *(2 * h for h in scene.wall.half_size), color=scene.wall.rgb, label="wall"))
    if scene.rig.mount == "world":
        axes.annotate("stereo pair", (CENTRE[0], 0.31), (CENTRE[0], 0.36), ha="center", arrowprops={"arrowstyle": "->"})
    x, y = RESETS["wide"].object_xy
    axes.set(xlim=(CENTRE[0] - 2.6 * x, CENTRE[0] + 2.6 * x), ylim=(CENTRE[1] - 1.4 * y, CENTRE[1] + 2.2 * y))
    axes.set(xlabel="x, m (the robot stands at 0)", ylabel="y, m", aspect="equal")
    axes.set_title(f"{name}: {seen.mean():.0%} of {len(seen)} wide resets in view", fontsize=10)
    axes.legend(loc="lower left", fontsize=7)
    figure.colorbar(dots, label="pixels of the left eye", shrink=0.7)
    _save(figure, f"{name}_resets.png")


def draw_views(name: str, pixels: np.ndarray) -> None:
    """A row for an object in plain view and, if there is one, a row for one that is not seen."""
    worlds = [int(np.abs(pixels - np.quantile(pixels[pixels > 0], 0.8)).argmin())]
    worlds += [int(np.flatnonzero(pixels == 0)[0])] if (pixels == 0).any() else []
    columns = ("from outside", "left eye", "right eye", "depth of the left eye", "what a policy sees")
    figure, grid = plt.subplots(
        len(worlds), 5, figsize=(11.5, 2.4 * len(worlds) + 0.3), dpi=90, squeeze=False, layout="constrained"
    )
    for number, (row, world) in enumerate(zip(grid, worlds, strict=True)):
        for axes, title, image in zip(row, columns, _images(name, world), strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if number == 0:
                axes.set_title(title, fontsize=10)
        row[0].set_ylabel(f"{pixels[world]:.0f} pixels" if pixels[world] else "not seen", fontsize=10)
    _save(figure, f"{name}.png")


def _save(figure: Figure, name: str) -> None:
    """As a PNG of 128 colours: a third of the size."""
    figure.canvas.draw()  # type: ignore[attr-defined]
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # type: ignore[attr-defined]
    picture.quantize(128).save(PICTURES / name, optimize=True)
    plt.close(figure)


def _images(name: str, world: int) -> list[np.ndarray]:
    """Large pictures of one world after its reset, and left eye above depth as they are rendered for policies."""
    config = SCENES[name]  # type: ignore[index]
    rig = config.scene.rig
    images = []
    for side in (LARGE, rig.height):
        scene = replace(config.scene, rig=replace(rig, height=side, width=side))
        env = sims.make(replace(config, scene=scene), ("depth", "stereo"), 1, world_offset=world)
        obs = env.reset(HELD_OUT)
        eyes = obs["stereo"][0].permute(0, 2, 3, 1).numpy()
        depth = obs["depth"][0, 0].numpy() / (1000 * rig.depth_max)
        depth = np.where(depth > 0, depth, 1.0)
        unit = (depth - depth.min()) / np.ptp(depth)
        shades = (255 * plt.get_cmap("magma_r")(unit)[..., :3]).astype(np.uint8)
        images += (
            [env.render_overview(0, LARGE, LARGE), *eyes, shades] if side == LARGE else [np.hstack([eyes[0], shades])]
        )
        env.close()
    return images


def measure_visibility(name: str, config: EnvConfig) -> dict[str, Any]:
    """Figures, and the pictures."""
    place, pixels = begin(config)
    draw_resets(name, place, pixels)
    draw_views(name, pixels)
    return visibility(pixels)


def measure_speed(name: str, config: EnvConfig) -> dict[str, Any]:
    """World-steps per second by image group."""
    return {group: round(rate(config, ("proprio", group))) for group in ("depth", "stereo")}


def measure_place(name: str, config: EnvConfig) -> dict[str, Any]:
    """Median errors by sight."""
    train, env = first_observations(config, FIT_ROUNDS, TRAINING)
    test, _ = first_observations(config, TEST_ROUNDS, HELD_OUT)
    return {sight: localise(train, test, env, sight) for sight in ("depth", "stereo")}


PARTS = {"visibility": measure_visibility, "speed": measure_speed, "place": measure_place}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    unknown = [word for word in chosen if word not in PARTS]
    if unknown:
        sys.exit(f"unknown {', '.join(unknown)}; available: {', '.join(PARTS)}")
    PICTURES.mkdir(exist_ok=True)
    origin = provenance()  # before the first part's result makes the tree differ from its commit
    for part in chosen:
        rows = {}
        for name, config in SCENES.items():
            rows[name] = PARTS[part](name, config)
            sys.stdout.write(f"{part}, {name}: {json.dumps(rows[name])}\n")
            sys.stdout.flush()
        found = json.loads(OUT.read_text()) if OUT.is_file() else {}
        found[part] = {"scenes": rows, "provenance": origin}
        OUT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
