"""The scenes of the observability-gap study by name: one task, three ways of seeing it. docs/scenes.md shows them."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

from .. import plugins
from ..errors import HandsightError, unknown
from ..files import read_toml
from ..ranges import from_tree
from . import env_config
from .env_config import CameraRig, EnvConfig, GraspConfig, Randomization, SceneConfig, TaskConfig, WallConfig
from .robots.description import PalmCameraConfig, read_robot, robot_file

SceneName = Literal["wrist", "open", "occluded"]


def _beside_the_table(distance: float, elevation: float, target: tuple[float, float, float]) -> CameraRig:
    """A fixed pair on the robot's left that looks across the table.

    distance m from the pair's middle to `target` (m, world frame); elevation degrees above the horizontal. At 32 x 32
    pixels an object is 4 to 7 pixels high wherever it stands, and the disparity falls by 3 pixels across the table.
    """
    c, s = math.cos(math.radians(elevation)), math.sin(math.radians(elevation))
    x, y, z = target
    return CameraRig(
        mount="world", position=(x, y + distance * c, z + distance * s), right=(-1.0, 0.0, 0.0), up=(0.0, -s, c),
        baseline=0.1, fov_y=32.0, depth_max=1.1,
    )  # fmt: skip


FIXED = _beside_the_table(distance=0.8, elevation=25.0, target=(0.62, 0.0, 0.08))
CALIBRATED = GraspConfig(randomization=Randomization(camera_turn=0.005))
"""A pair that stands still is calibrated in place: 5 mrad are 4 mm on the table, the wrist pair's 15 would be 12."""
SCENES: dict[SceneName, EnvConfig] = {
    "wrist": EnvConfig(),
    "open": EnvConfig(scene=SceneConfig(rig=FIXED), task=CALIBRATED),
    "occluded": EnvConfig(scene=SceneConfig(rig=FIXED, wall=WallConfig()), task=CALIBRATED),
}
"""`wrist`: the pair on the palm; whoever wants to see must look. `open`: a fixed pair sees everything. `occluded`: the
same pair, and a bin wall before it that hides what stands in the nearer half."""


def scene(name: str) -> EnvConfig:
    """The environments of a scene.

    Raises:
        HandsightError: there is none of this name; lists those that there are.
    """
    found = {str(known): env for known, env in SCENES.items()}
    if name not in found:
        raise HandsightError(unknown("scene", name, found))
    return found[name]


def with_scene(env: EnvConfig, name: str) -> EnvConfig:
    """The same engine, threads, robot, objects and task, with another scene: its model, cameras and randomisation.

    Raises:
        HandsightError: as `scene`.
    """
    chosen = scene(name)
    own = replace(chosen.scene, robot=env.scene.robot, objects=env.scene.objects)
    return with_task(replace(env, scene=own, task=chosen.task), env.task.name)


def with_task(env: EnvConfig, name: str) -> EnvConfig:
    """The same environments, in which something else is to be done, as long as that takes; what tasks share stays.

    Raises:
        HandsightError: there is no such task; lists those that there are.
    """
    config = env_config.task_config(name)
    if name == env.task.name:
        return env
    shared = {one.name: getattr(env.task, one.name) for one in fields(TaskConfig) if one.name != "episode_steps"}
    return replace(env, task=config(**shared))


def with_robot(env: EnvConfig, name: str) -> EnvConfig:
    """The same environments with another robot; a pair at the palm sits where the robot's file wants it.

    Raises:
        HandsightError: there is no robot of this name, or its file is not what it should be.
    """
    filed = name != SceneConfig.robot and plugins.find("robots", name) is None
    place = read_robot(robot_file(name)).camera if filed else PalmCameraConfig()
    rig = env.scene.rig
    if rig.mount == CameraRig.mount:
        rig = replace(rig, **{one.name: getattr(place, one.name) for one in fields(place)})
    return replace(env, scene=replace(env.scene, robot=name, rig=rig))


def with_image(env: EnvConfig, size: str) -> EnvConfig:
    """The same environments with images of WIDTHxHEIGHT pixels.

    Raises:
        HandsightError: no such size.
    """
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise HandsightError(f"--image {size}: expected WIDTHxHEIGHT in pixels, e.g. 64x64 or 160x120")
    rig = replace(env.scene.rig, width=int(width), height=int(height))
    return replace(env, scene=replace(env.scene, rig=rig))


def with_cameras(env: EnvConfig, path: Path) -> EnvConfig:
    """The same environments with the cameras of a TOML file: `[[cameras]]` beside the pair, and changes to `[rig]`.

    Raises:
        HandsightError: no such file, or a name or value in it that means nothing.
    """
    tree = read_toml(path, "cameras", HandsightError)
    if others := sorted(set(tree) - {"cameras", "rig"}):
        raise HandsightError(f"cameras {path}: {unknown('table', others[0], ('cameras', 'rig'))}")
    return replace(env, scene=from_tree(SceneConfig, tree, f"cameras {path}", env.scene))
