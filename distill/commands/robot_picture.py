"""A robot as one picture: at home, its hand open and closed from two sides, and what the pair at its wrist sees."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ... import sims
from ...files import written
from ...sims.env_config import CameraRig, EnvConfig
from ...sims.robots.robot import Robot
from ...sims.world_params import WorldParams

SIZE = 288
"""Height and width of each view, pixels."""
SIDE = CameraRig(position=(0.06, -0.5, 0.04), right=(1, 0, 0), up=(0, 0, 1), fov_y=32.0, height=SIZE, width=SIZE)
FRONT = replace(SIDE, position=(0.22, 0.0, 0.04), right=(0, 1, 0), fov_y=64.0)
"""Views of the hand, the palm's x to the right or out of the picture, its z up."""


def draw_robot(env: EnvConfig, robot: Robot, path: Path) -> None:
    """Write the picture (png). env: environments of that robot with a pair at its palm."""
    from matplotlib.figure import Figure  # a second

    eye = replace(env.scene.rig, height=SIZE, width=SIZE)
    shots = {}
    for view, rig in (("from the side", SIDE), ("from the front", FRONT)):
        for hand in ("open", "closed"):
            shots[f"{hand}, {view}"] = _shot(env, robot, rig, getattr(robot, f"{hand}_hand"), away=True)[0]
    left, depth, home = _shot(env, robot, eye, robot.open_hand, away=False)
    shots = {"at home": home, **shots, "left eye": left, "left eye's depth, m": depth}
    figure = Figure(figsize=(14, 7.4), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    for axis in axes:
        axis.set_axis_off()
    places = [axes[i] for i in (0, 1, 2, 5, 6, 3, 7)]
    for axis, (title, image) in zip(places, shots.items(), strict=True):
        shown = axis.imshow(image, cmap="viridis_r" if image.ndim == 2 else None)
        axis.set_title(title)
        if image.ndim == 2:
            figure.colorbar(shown, ax=axis, shrink=0.8)
    lines = [
        robot.name,
        f"{len(robot.arm)} joints to the palm",
        f"{len(robot.hand)} joints in {len(robot.digits)} digits",
        f"{len(robot.actuators)} servos",
    ]
    axes[4].text(0.05, 0.95, "\n".join(lines), va="top", transform=axes[4].transAxes)
    with written(path) as draft:
        figure.savefig(draft, format="png", dpi=80)


def _shot(
    env: EnvConfig, robot: Robot, rig: CameraRig, hand: tuple[float, ...], away: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (H, W, 3) and depth (H, W) m, NaN where nothing is, of the left eye, and the view from outside; with the
    arm at home. away: put the object out of sight."""
    scene = replace(env.scene, rig=rig)
    with closing(sims.make(replace(env, scene=scene), ("depth", "stereo"), 1)) as made:
        made.reset(0)
        drawn = made.drawn()
        params = WorldParams(**{name: drawn[name] for name in WorldParams.__dataclass_fields__ if name in drawn})
        everyone, joints = torch.ones(1, dtype=torch.bool), torch.tensor([[*robot.home, *hand]])
        place = torch.tensor([[0.3, 0.5, 0.05]]) if away else torch.tensor([[0.62, 0.0, 0.05]])
        made.engine.reset(everyone, joints, place, torch.tensor([[1.0, 0, 0, 0]]), params)
        images = made.engine.render(("depth", "stereo"))
        depth = images["depth"][0, 0].numpy()
        outside = made.engine.render_overview(0, SIZE, SIZE)
    return images["stereo"][0, 0].permute(1, 2, 0).numpy(), np.where(depth > 0, depth, np.nan), outside
