"""A robot as one picture: at home, its hand open and closed from two sides, and what the pair at its wrist sees."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from ...files import written
from ...sims.engines.ray_cameras import OverviewCamera, batch_cameras
from ...sims.engines.ray_caster import POSES
from ...sims.engines.world_fields import LOOKS
from ...sims.env_config import CameraRig, SceneConfig
from ...sims.robots.robot import Robot
from ...sims.scene import Scene

SIZE = 288
"""Height and width of each view, pixels."""
SIDE = CameraRig(position=(0.06, -0.5, 0.04), right=(1, 0, 0), up=(0, 0, 1), fov_y=32.0, height=SIZE, width=SIZE)
FRONT = replace(SIDE, position=(0.22, 0.0, 0.04), right=(0, 1, 0), fov_y=64.0)
"""Views of the hand, the palm's x to the right or out of the picture, its z up."""
HERE, AWAY = (0.62, 0.0, 0.05), (0.3, 0.5, 0.05)
"""m: where the object is, in sight and out of it."""


def draw_robot(scene: SceneConfig, robot: Robot, path: Path) -> None:
    """Write the picture (png). scene: of that robot, with a pair at its palm."""
    from matplotlib.figure import Figure  # a second

    left, depth, home = _shot(replace(scene, rig=replace(scene.rig, height=SIZE, width=SIZE)), robot.open_hand, HERE)
    shots = {"at home": home}
    for view, rig in (("from the side", SIDE), ("from the front", FRONT)):
        for hand in ("open", "closed"):
            shots[f"{hand}, {view}"] = _shot(replace(scene, rig=rig), getattr(robot, f"{hand}_hand"), AWAY)[0]
    shots |= {"left eye": left, "left eye's depth, m": depth}
    figure = Figure(figsize=(14, 7.4), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    for axis in axes:
        axis.set_axis_off()
    for place, (title, image) in zip((0, 1, 2, 5, 6, 3, 7), shots.items(), strict=True):
        shown = axes[place].imshow(image, cmap="viridis_r" if image.ndim == 2 else None)
        axes[place].set_title(title)
        if image.ndim == 2:
            figure.colorbar(shown, ax=axes[place], shrink=0.8)
    joints = f"{len(robot.arm)} joints to the palm\n{len(robot.hand)} joints in {len(robot.digits)} digits"
    words = f"{robot.name}\n{joints}\n{len(robot.actuators)} servos"
    axes[4].text(0.05, 0.95, words, va="top", transform=axes[4].transAxes)
    with written(path) as draft:
        figure.savefig(draft, format="png", dpi=80)


def _shot(
    config: SceneConfig, hand: tuple[float, ...], place: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours (H, W, 3) and depth (H, W) m, NaN where nothing is, of the left eye, and the view from outside; with the
    arm at home and the object at `place`, m."""
    scene = Scene(config)
    model = scene.build()
    data, groups = mujoco.MjData(model), ("depth", "stereo")
    data.qpos[:] = [*scene.robot.home, *hand, *place, 1, 0, 0, 0]
    mujoco.mj_forward(model, data)
    poses = {name: getattr(data, name)[None] for name in POSES}
    with closing(batch_cameras(model, scene.ids(model), config.rig, 1, groups, 1)) as cameras:
        images = cameras.render(poses, groups)
    looks = {name: getattr(model, name)[None] for name in LOOKS}
    outside = OverviewCamera(model, SIZE, SIZE).render({**poses, **looks})
    depth = images["depth"][0, 0].numpy()
    return images["stereo"][0, 0].permute(1, 2, 0).numpy(), np.where(depth > 0, depth, np.nan), outside
