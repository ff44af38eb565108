"""Worlds x image size x what is seen, on one device: steps per second, bytes per world, and where the time goes.

    python benchmarks/engine_table.py --device cuda:0 --worlds 256 1024 --images 64x64 160x120 --out results.json

Beside the engine stand plain mujoco_warp and, where mjlab can be imported, its camera sensor on the same scene.
The device is waited for before and after a measurement and nowhere within. Shares are measured apart: the very joint
targets of the measured steps are played to the engine alone, then the images of one state are rendered again and again;
what of a step is neither is the task's (actions to targets, rewards, resets, noise).
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mujoco
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from handsight import sims
from handsight.distill.commands.bench import recorded_targets
from handsight.distill.runs.progress import Stage, stage
from handsight.distill.runs.provenance import provenance
from handsight.errors import HandsightError
from handsight.files import write_json
from handsight.sims.env_config import EnvConfig
from handsight.sims.memory import world_bytes
from handsight.sims.scene import Scene
from handsight.sims.scenes import with_image, with_scene
from handsight.sims.tasks.grasp import GraspTask

SIGHTS = {"state": ("state", "proprio"), "depth": ("state", "proprio", "depth"), "stereo": ("proprio", "stereo")}
"""Observation groups of what is seen."""
TABLE_WIDTH = 110
"""Characters; narrower it cannot be read."""


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    sight: str
    """"state", "depth" or "stereo"."""
    image: str
    """WIDTHxHEIGHT, pixels; empty for states."""
    worlds: int
    per_second: float
    """World-steps per second of the whole environment."""
    bytes_per_world: float | None
    """Of the device's memory, from before to after the worlds were made and driven; None on a CPU."""
    planned_bytes_per_world: float
    """What `sims/memory.py` says that it takes."""
    physics: float
    """Share of a step's time, 0..1; so are the next three."""
    rendering: float
    task: float
    transfer: float
    """Actions to the worlds and observations to the policy, on its device; beside a step, which does not contain it."""
    raw_per_second: float | None = None
    """The same states and joint targets on plain mujoco_warp, no task; only beside states."""
    overhead: float | None = None
    """Time of a step of the whole state environment over that of plain mujoco_warp, minus 1."""


def measure(
    env: EnvConfig,
    sights: Collection[str],
    images: Collection[str],
    worlds: Sequence[int],
    device: str,
    learner: str,
    steps: int,
    warm_up: int | None,
    progress: Stage,
) -> list[Cell]:
    """The table.

    Args:
        env: the worlds; their image size is not used.
        sights: of `SIGHTS`.
        images: sizes, e.g. "64x64".
        worlds: numbers of them.
        device: of the worlds.
        learner: where a policy would read the observations.
        steps: control steps that are measured.
        warm_up: steps before that; None: an episode's.
        progress: advanced by 1 for each row.
    """
    cells = []
    for count in worlds:
        for sight in sights:
            for image in images if sight != "state" else ("",):
                config = with_image(env, image) if image else env
                cells.append(_cell(config, sight, image, count, device, learner, steps, warm_up))
                progress.advance()
    return cells


def rows(sights: Collection[str], images: Collection[str], worlds: Collection[int]) -> int:
    """Rows that `measure` will have."""
    return len(worlds) * sum(1 if sight == "state" else len(images) for sight in sights)


def _cell(
    config: EnvConfig, sight: str, image: str, count: int, device: str, learner: str, steps: int, warm_up: int | None
) -> Cell:
    free = _free(device)
    env = sims.make(config, SIGHTS[sight], count, device=device)
    env.reset(0)
    env.stagger()
    warm_up = env.episode_steps if warm_up is None else warm_up
    generator = torch.Generator().manual_seed(0)
    actions = (torch.rand(warm_up + steps, count, env.action_dim, generator=generator) * 2 - 1).to(device)
    for action in actions[:warm_up]:
        env.step(action)
    taken = (free - _free(device)) / count if free else None
    whole = timed(lambda t: env.step(actions[warm_up + t]), steps, device)
    begin, targets = _targets(env, actions[warm_up:])
    physics = timed(lambda t: env.engine.step(*targets[t]), steps, device)
    groups = [group for group in SIGHTS[sight] if group in ("depth", "stereo")]
    rendering = timed(lambda _: env.engine.render(groups), steps, device) if groups else 0.0
    transfer = timed(_transfer_of(env, SIGHTS[sight], actions[0].to(learner), learner), steps, device)
    env.close()
    alone = sight == "state" and config.engine == "mujoco_warp"
    raw = raw_rate(config, count, device, begin["state"], [target for target, _ in targets]) if alone else None
    rest = max(0.0, whole - physics - rendering)
    return Cell(
        sight, image, count, count / whole, taken, world_bytes(config, SIGHTS[sight]).all,
        physics / whole, rendering / whole, rest / whole, transfer / whole, raw, raw and raw * whole / count - 1,
    )  # fmt: skip


def _targets(env: GraspTask, actions: Tensor) -> tuple[Mapping[str, Any], list[tuple[Tensor, Tensor]]]:
    """The engine's state as it is now, to which it is put back, and what the task asks of it in its next steps: joint
    targets (N, 23) and which worlds move (N,)."""
    engine = env.engine
    begin = engine.state_dict()
    with recorded_targets(engine) as targets:
        for action in actions:
            env.step(action)
    engine.load_state_dict(begin)
    return begin, targets


def _transfer_of(env: GraspTask, groups: Collection[str], action: Tensor, learner: str) -> Callable[[int], Any]:
    obs = env.step(action.to(env.device)).obs
    return lambda _: (action.to(env.device), [obs[group].to(learner) for group in groups])


def raw_rate(env: EnvConfig, count: int, device: str, begin: Mapping[str, Tensor], targets: Sequence[Tensor]) -> float:
    """World-steps per second of plain mujoco_warp: the same model, room and physics steps as one graph, nothing else.

    Args:
        env: the worlds, of which the model is taken; all worlds have its parameters.
        count: N worlds.
        device: where they live.
        begin: positions, velocities, ... (N, ...) from which it begins, by name.
        targets: (N, 23) rad of each step.
    """
    import mujoco_warp as mjw
    import warp as wp

    from handsight.sims.engines.mujoco_gpu import Recorded

    wp.init()
    model, place = Scene(env.scene).build(), torch.device(device)
    with wp.ScopedDevice(wp.device_from_torch(place)):
        warp_model = mjw.put_model(model)
        data = mjw.make_data(model, nworld=count, nconmax=env.warp.nconmax, njmax=env.warp.njmax)

    def launch() -> None:
        for _ in range(env.scene.substeps):
            mjw.step(warp_model, data)

    physics, control = Recorded(launch, place), wp.to_torch(data.ctrl)
    for name, values in begin.items():
        wp.to_torch(getattr(data, name)).copy_(values)

    def step(t: int) -> None:
        control.copy_(targets[t])
        physics()

    return count / timed(step, len(targets), device)


def timed(step: Callable[[int], Any], steps: int, device: str) -> float:
    """Mean seconds of `step(0)`, `step(1)`, ...; the device is waited for before and after."""
    wait(device)
    start = time.perf_counter()
    for t in range(steps):
        step(t)
    wait(device)
    return (time.perf_counter() - start) / steps


def wait(device: str) -> None:
    """Until it has done all that it was asked to."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _free(device: str) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else 0


def show(cells: Sequence[Cell], device: str) -> None:
    """Print the table."""
    heads = (
        "worlds",
        "steps/s",
        "KiB a world (planned)",
        "physics / render / task, %",
        "transfer, %",
        "plain mujoco_warp",
    )
    table = Table("sees", *heads, title=f"one step on {device}")
    for cell in cells:
        planned = f"({cell.planned_bytes_per_world / 2**10:,.0f})"
        taken = planned if cell.bytes_per_world is None else f"{cell.bytes_per_world / 2**10:,.0f} {planned}"
        shares = " / ".join(f"{100 * share:.0f}" for share in (cell.physics, cell.rendering, cell.task))
        raw = "" if cell.raw_per_second is None else f"{cell.raw_per_second:,.0f} (overhead {cell.overhead:+.0%})"
        table.add_row(
            f"{cell.sight} {cell.image}", f"{cell.worlds:,}", f"{cell.per_second:,.0f}", taken, shares,
            f"{100 * cell.transfer:.0f}", raw,
        )  # fmt: skip
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(table)


def mjlab_images(
    env: EnvConfig, images: Collection[str], worlds: Collection[int], device: str, steps: int
) -> dict[str, Any]:
    """mjlab's camera sensor: {"rows": [...]}, or {"absent": why}. A row: left eye's depth images per second of resting
    worlds."""
    try:
        from mjlab.sensor.camera_sensor import CameraSensorCfg  # type: ignore[import-not-found]
        from mjlab.sensor.sensor_context import SensorContext  # type: ignore[import-not-found]
    except ImportError as error:
        return {"absent": f"mjlab cannot be imported ({error}); mjlab 1.6 asks for mujoco-warp 3.11, Handsight for 4"}
    rows = []
    for count in worlds:
        for image in images:
            width, height = (int(side) for side in image.split("x"))
            sensor = CameraSensorCfg(
                name="left", camera_name="left", width=width, height=height, data_types=("depth",), use_textures=False
            ).build()
            rate = _mjlab_rate(env, sensor, SensorContext, count, device, steps)
            rows.append({"worlds": count, "image": image, "images_per_second": rate})
    return {"rows": rows}


def _mjlab_rate(env: EnvConfig, sensor: Any, context_class: Any, count: int, device: str, steps: int) -> float:
    import mujoco_warp as mjw
    import warp as wp

    wp.init()
    model = Scene(env.scene).build()
    begin = mujoco.MjData(model)
    mujoco.mj_forward(model, begin)
    place = wp.device_from_torch(torch.device(device))
    with wp.ScopedDevice(place):
        warp_model = mjw.put_model(model)
        data = mjw.put_data(model, begin, nworld=count, nconmax=env.warp.nconmax, njmax=env.warp.njmax)
        sensor.initialize(model, warp_model, data, device)
        context = context_class(model, warp_model, data, [sensor], [], device)

        def render(_: int) -> None:
            mjw.refit_bvh(warp_model, data, context.render_context)
            mjw.render(warp_model, data, context.render_context)
            context.finalize()
            assert math.prod(sensor.data.depth.shape) == count * sensor.cfg.width * sensor.cfg.height

        render(0)
        return count / timed(render, steps, device)


def mjlab_line(found: dict[str, Any]) -> str:
    """What people read of `mjlab_images`."""
    if "absent" in found:
        return f"mjlab's camera sensor: {found['absent']}"
    rates = [f"{row['worlds']:,} x {row['image']}: {row['images_per_second']:,.0f}/s" for row in found["rows"]]
    return f"mjlab's camera sensor, depth images: {'; '.join(rates)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("mujoco", "mujoco_warp"), default="mujoco_warp")
    parser.add_argument("--scene", default="wrist", help="what can be seen (docs/scenes.md)")
    parser.add_argument("--device", default="cpu", help="where the worlds live")
    parser.add_argument("--learner", help="where a policy would read the observations; --device if not given")
    parser.add_argument("--worlds", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--images", nargs="+", default=["64x64", "160x120"], help="WIDTHxHEIGHT, pixels")
    parser.add_argument("--sights", nargs="+", choices=tuple(SIGHTS), default=list(SIGHTS), help="what is observed")
    parser.add_argument("--steps", type=int, default=60, help="control steps of each measurement")
    parser.add_argument("--warm-up", type=int, help="steps before a measurement; an episode's if not given")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    try:
        env = with_scene(replace(EnvConfig(), engine=args.engine), args.scene)
        for image in args.images:  # before anything is measured
            with_image(env, image)
    except HandsightError as error:
        parser.error(str(error))
    sizes = (args.sights, args.images, args.worlds)
    with stage("engine table", rows(*sizes), "rows") as progress:
        cells = measure(env, *sizes, args.device, args.learner or args.device, args.steps, args.warm_up, progress)
        mjlab = mjlab_images(env, args.images, args.worlds, args.device, args.steps)
    show(cells, args.device)
    Console().print(mjlab_line(mjlab))
    if args.out:
        settings = {name: getattr(args, name) for name in ("device", "learner", "steps", "warm_up")}
        facts = {"settings": settings, "cells": [asdict(cell) for cell in cells], "mjlab": mjlab}
        write_json(args.out, facts | {"provenance": provenance()}, default=str)
    return 0


if __name__ == "__main__":
    sys.exit(main())
