"""`Chosen`: which worlds somebody asks for, on a command line or in a study's file; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Self

import tyro

from ...ranges import Checked, Within
from ...sims.assets import named
from ...sims.env_config import EnvConfig, Split
from ...sims.scenes import with_robot, with_scene, with_task


@dataclass(frozen=True, kw_only=True)
class Chosen(Checked):
    """How worlds are to differ from those that a command or a policy comes with; None: as these."""

    scene: Annotated[str | None, tyro.conf.arg(metavar="wrist|open|occluded")] = None
    """What can be seen (docs/scenes.md); wrist if nothing says otherwise."""
    task: Annotated[str | None, tyro.conf.arg(metavar="grasp|carry")] = None
    """What is to be done; grasp if nothing says otherwise."""
    robot: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE.toml")] = None
    """Arm and hand (docs/robots.md); kuka_allegro if nothing says otherwise."""
    objects: Annotated[str | None, tyro.conf.arg(metavar="NAME|FOLDER")] = None
    """What is grasped: primitives, procedural, or an imported set by name or folder (docs/objects.md)."""
    objects_split: Split | None = None
    """Which objects of a set other than `primitives`; a training draws from train only."""
    level: Annotated[int | None, Within(0, 1_000_000_000)] = None
    """Level of randomisation, from 0, that of trainings, to env.task.levels, the hardest."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What was asked for, by name."""
        names = (one.name for one in fields(Chosen))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def words(self) -> Iterator[str]:
        """The same as words of a command line."""
        return (word for name, value in self.chosen.items() for word in (f"--{name.replace('_', '-')}", str(value)))

    def by_name(self) -> Self:
        """The same, robot and objects by name: their folders are searched first from now on.

        Raises:
            AssetError: there is no such file or folder.
        """
        things = {what: named(what, word) for what in ("robot", "objects") if (word := getattr(self, what)) is not None}
        return replace(self, **things)

    def change(self, env: EnvConfig) -> EnvConfig:
        """The environments as they are asked for.

        Raises:
            HandsightError: no such scene, robot, object set, task or level.
        """
        asked = self.by_name()
        env = env if asked.scene is None else with_scene(env, asked.scene)
        if asked.robot is not None or asked.scene is not None:  # whose camera a scene's may be
            env = with_robot(env, asked.robot or env.scene.robot)
        env = env if asked.task is None else with_task(env, asked.task)
        env = replace(env, scene=replace(env.scene, objects=asked.objects or env.scene.objects))
        env = replace(env, task=replace(env.task, split=asked.objects_split or env.task.split))
        return env.at_level(asked.level)
