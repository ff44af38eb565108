"""`Robot`: an arm with a hand as one frozen value, from which every width in the code derives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Any

import mujoco
import torch
from torch import Tensor

from ...errors import HandsightError

RENDERED, HIDDEN_FROM_WRIST = 1, 3
"""Geom groups: what every camera sees, and what the wrist pair never does, so that its ray tracing leaves it out."""
FIRM = {"solref": [0.0178, 1.0], "solimp": [0.98, 0.995, 0.001, 0.5, 2.0]}
"""Contacts as firm as steps of 9 ms allow: the median held object sinks .5 mm into the fingers, where the first
edition's contacts let it sink 5.2 (benchmarks/contacts.py)."""
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Digit:
    """One finger or thumb."""

    name: str
    """What its touch sensor is called after."""
    root: str
    """Body at which it begins: what hangs below it is the digit."""
    tip: str
    """Site on its fingertip."""


@dataclass(frozen=True)
class Actuator:
    """One servo: its force is kp (target - q) - kv qdot, where q is the sum of the joints that it moves."""

    name: str
    joints: tuple[str, ...]
    """Joints whose sum it moves: one, or those that a tendon couples. All of the arm or all of the hand."""
    kp: float
    """N m/rad, or N/m for a sliding joint."""
    kv: float
    """N m s/rad, or N s/m."""


@dataclass(frozen=True)
class ActionSpace:
    """Names and meaning of the action's numbers, each in [-1, 1]."""

    name: str
    twist: tuple[str, ...]
    """Controlled parts of the palm's twist, world frame: any of x y z and roll pitch yaw."""
    synergies: tuple[tuple[float, ...], ...]
    """Change of the hand's joint angles from `Robot.open_hand` as each synergy goes from 0 to 1: rows, rad."""
    lowest: tuple[float, ...]
    """Lower bound of each integrated synergy; the upper bound is 1."""
    closing: int
    """How many of the synergies, the first ones, close the hand."""

    @property
    def dim(self) -> int:
        """Length of the action."""
        return len(self.twist) + len(self.synergies)


@dataclass(frozen=True)
class Robot:
    """An arm and a hand. `J` joints are the arm's, then the hand's, first in the model and in this order; `U` actuators
    are the arm's, then the hand's. Angles rad, lengths m."""

    name: str
    """What a signature calls it."""
    arm: tuple[str, ...]
    """Joints from the base to the palm."""
    hand: tuple[str, ...]
    """Joints of the hand."""
    actuators: tuple[Actuator, ...]
    """Servos: the engine is driven by their targets."""
    digits: tuple[Digit, ...]
    """Fingers and thumbs: each has a fingertip site and a sense of touch."""
    palm: str
    """Body of the palm, which feels touch, too."""
    grasp_site: str
    """Site where an object should be when the hand closes."""
    grasp_pos: Point
    """Its place in the palm's frame, m."""
    home: tuple[float, ...]
    """The arm's rest posture: the null space of the controller pulls toward it."""
    open_hand: tuple[float, ...]
    """The hand's joints as an episode begins."""
    closed_hand: tuple[float, ...]
    """The hand's joints around an object."""
    action_spaces: tuple[ActionSpace, ...]
    """Ways of acting, the default first."""
    torque_limit: tuple[float, ...]
    """For each joint, N m."""
    velocity_limit: tuple[float, ...]
    """For each joint, rad/s."""
    workspace: tuple[Point, Point]
    """Lowest and highest corner of the box that the palm's target stays in, m, world frame."""
    build: Callable[[mujoco.MjSpec], None]
    """Adds bodies, joints, servos, `grasp_site` and the fingertip sites; `add_to` calls it."""
    palm_touch: str | None = None
    """Body whose geoms are the palm's, where `palm` is but a frame on it."""
    model: str | None = None
    """Digest of the bodies and joints that `build` adds, where files decide them."""

    @property
    def joints(self) -> tuple[str, ...]:
        """All joints in the order of every joint vector."""
        return self.arm + self.hand

    @property
    def arm_actuators(self) -> int:
        """How many of the actuators, the first ones, move the arm."""
        return sum(set(actuator.joints) <= set(self.arm) for actuator in self.actuators)

    def action_space(self, name: str) -> ActionSpace:
        """The way of acting that has this name.

        Raises:
            HandsightError: there is none; lists those that there are.
        """
        for space in self.action_spaces:
            if space.name == name:
                return space
        available = ", ".join(space.name for space in self.action_spaces)
        raise HandsightError(f"unknown action space {name!r}; available: {available}")

    @cached_property
    def is_coupled(self) -> bool:
        """Whether there is anything but one actuator for each joint, in the same order."""
        return tuple((joint,) for joint in self.joints) != tuple(actuator.joints for actuator in self.actuators)

    def ctrl(self, joints: Tensor) -> Tensor:
        """(N, U) targets of the actuators for joint targets (N, J), rad or m."""
        if not self.is_coupled:
            return joints
        first, *others = _moved(self, joints.device)
        target = joints[:, first]
        for index, moves in others:  # a hand whose tendons couple joints
            target = target + joints[:, index] * moves
        return target

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Put the robot into a scene, its base at the origin of the world."""
        self.build(spec)

    def facts(self) -> dict[str, Any]:
        """All that the value decides, JSON-able: what a signature's digest is made of."""
        facts = asdict(replace(self, build=bool))  # whatever it is: it may hold whole models
        return {name: value for name, value in facts.items() if name != "build" and value is not None}


@cache
def _moved(robot: Robot, device: torch.device) -> list[Any]:
    """(U,) the first joint of every actuator; then, for each further one, (U,) which it is and whether there is one."""
    columns = [[robot.joints.index(joint) for joint in actuator.joints] for actuator in robot.actuators]
    index = lambda values: torch.tensor(values, device=device)  # noqa: E731
    more = [
        (index([row[k] if k < len(row) else 0 for row in columns]), index([float(k < len(row)) for row in columns]))
        for k in range(1, max(map(len, columns)))
    ]
    return [index([row[0] for row in columns]), *more]
