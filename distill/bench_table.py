"""Worlds x image size x what is seen, on one device: steps per second, bytes per world, and where the time goes.

The device is waited for before and after a measurement and nowhere within. Shares are measured apart: the very joint
targets of the measured steps are played to the engine alone, then the images of one state are rendered again and again;
what of a step is neither is the task's (actions to targets, rewards, resets, noise).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .. import sims
from ..sims.memory import world_bytes
from .words import with_image

if TYPE_CHECKING:
    from ..sims.grasp import GraspTask
    from ..sims.make import EnvConfig
    from .progress import Stage

SIGHTS = {"state": ("state", "proprio"), "depth": ("state", "proprio", "depth"), "stereo": ("proprio", "stereo")}
"""Observation groups of what is seen."""


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
    """The same scene on plain mujoco_warp: as many physics steps, one CUDA graph, no task."""
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
        raw = raw_rate(env, count, device, steps) if env.engine == "mujoco_warp" else None
        for sight in sights:
            for image in images if sight != "state" else ("",):
                config = with_image(env, image) if image else env
                cell = _cell(config, sight, image, count, device, learner, steps, warm_up)
                overhead = raw / cell.per_second - 1 if raw and sight == "state" else None
                cells.append(replace(cell, raw_per_second=raw, overhead=overhead))
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
    physics = timed(_physics_of(env, actions[warm_up:]), steps, device)
    groups = [group for group in SIGHTS[sight] if group in ("depth", "stereo")]
    rendering = timed(lambda _: env.engine.render(groups), steps, device) if groups else 0.0
    transfer = timed(_transfer_of(env, SIGHTS[sight], actions[0].to(learner), learner), steps, device)
    env.close()
    rest = max(0.0, whole - physics - rendering)
    return Cell(
        sight, image, count, count / whole, taken, world_bytes(config, SIGHTS[sight]).all,
        physics / whole, rendering / whole, rest / whole, transfer / whole,
    )  # fmt: skip


def _physics_of(env: GraspTask, actions: Tensor) -> Callable[[int], Any]:
    """Joint targets of steps of the task, and what plays them to the engine alone, from where these steps began."""
    engine, targets = env.engine, list[tuple[Tensor, Tensor]]()
    begin, step = engine.state_dict(), engine.step

    def recorded(joint_target: Tensor, active: Tensor) -> Tensor:
        targets.append((joint_target.clone(), active.clone()))
        return step(joint_target, active)

    engine.step = recorded  # type: ignore[method-assign]
    for action in actions:
        env.step(action)
    engine.step = step  # type: ignore[method-assign]
    engine.load_state_dict(begin)
    return lambda t: step(*targets[t])


def _transfer_of(env: GraspTask, groups: Collection[str], action: Tensor, learner: str) -> Callable[[int], Any]:
    obs = env.step(action.to(env.device)).obs
    return lambda _: (action.to(env.device), [obs[group].to(learner) for group in groups])


def raw_rate(env: EnvConfig, count: int, device: str, steps: int) -> float:
    """World-steps per second of plain mujoco_warp: the same model, room and physics steps, one graph, resting robots
    that are pushed about by random joint targets."""
    import mujoco
    import mujoco_warp as mjw
    import warp as wp

    from ..sims.scene import build_model

    wp.init()
    model = build_model(env.scene)
    place = wp.device_from_torch(torch.device(device))
    begin = mujoco.MjData(model)
    mujoco.mj_forward(model, begin)
    with wp.ScopedDevice(place):
        warp_model = mjw.put_model(model)
        room = {"nconmax": env.warp.nconmax, "njmax": env.warp.njmax}
        data = mjw.put_data(model, begin, nworld=count, **room)
        control = wp.to_torch(data.ctrl)
        generator = torch.Generator().manual_seed(0)
        low, high = torch.tensor(model.jnt_range[: model.nu], dtype=torch.float32).unbind(1)
        targets = (low + (high - low) * torch.rand(steps, count, model.nu, generator=generator)).to(device)

        def launch() -> None:
            for _ in range(env.scene.substeps):
                mjw.step(warp_model, data)

        launch()
        graph = None
        if place.is_cuda:
            wp.synchronize_device(place)
            with wp.ScopedCapture(device=place) as capture:
                launch()
            graph = capture.graph

        def step(t: int) -> None:
            control.copy_(targets[t])
            if graph is None:
                launch()
            else:
                wp.capture_launch(graph, stream=wp.stream_from_torch(torch.cuda.current_stream(torch.device(device))))

        return count / timed(step, steps, device)


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
    heads = ("sees", "image", "worlds", "steps/s", "KiB a world (planned)", "physics", "rendering", "task", "transfer",
             "raw mujoco_warp", "overhead")  # fmt: skip
    table = Table(*heads, title=f"one step on {device}")
    for cell in cells:
        planned = f"({cell.planned_bytes_per_world / 2**10:,.0f})"
        taken = planned if cell.bytes_per_world is None else f"{cell.bytes_per_world / 2**10:,.0f} {planned}"
        shares = [f"{share:.0%}" for share in (cell.physics, cell.rendering, cell.task, cell.transfer)]
        raw = "-" if cell.raw_per_second is None else f"{cell.raw_per_second:,.0f}"
        over = "-" if cell.overhead is None or math.isnan(cell.overhead) else f"{cell.overhead:+.0%}"
        table.add_row(cell.sight, cell.image, f"{cell.worlds:,}", f"{cell.per_second:,.0f}", taken, *shares, raw, over)
    Console().print(table)
