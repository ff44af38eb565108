"""Worlds x image size x what is seen, on one device: steps per second, bytes per world, and where the time goes.

The device is waited for before and after a measurement and nowhere within. Shares are measured apart: the very joint
targets of the measured steps are played to the engine alone, then the images of one state are rendered again and again;
what of a step is neither is the task's (actions to targets, rewards, resets, noise).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ... import sims
from ...sims.env_config import EnvConfig
from ...sims.memory import world_bytes
from ...sims.scenes import with_image
from ...sims.tasks.grasp import GraspTask
from ..runs.progress import Stage

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

    from ...sims.engines.mujoco_gpu import Recorded
    from ...sims.scene import build_model

    wp.init()
    model, place = build_model(env.scene), torch.device(device)
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
