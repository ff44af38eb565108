"""What differs between environments and episodes: ranges of what is drawn, and the levels between easy and hard ones.

This file imports neither torch nor MuJoCo, as `env_config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from ..ranges import Checked, Share, Within


@dataclass(frozen=True)
class DepthSensor(Checked):
    """What a depth camera makes of the true depth: it matches the pair's images, so its errors are those of stereo."""

    disparity_noise: Annotated[float, Within(0, 2)] = 0.1
    """Standard deviation of a match, pixels of disparity: depth z errs by z^2 / (f b) times it, 2.7 mm at 25 cm for
    images of 32 pixels and half of it for 64."""
    edge_mix: Share = 0.5
    """Probability that a pixel beside a step of depth (more than a pixel of disparity) takes its neighbour's, as the
    windows do that are matched."""
    dropout: Share = 0.01
    """Probability that a pixel has no return."""
    shadows: bool = True
    """Whether there is no return from what something nearer hides from the right eye."""


EXACT_DEPTH = DepthSensor(disparity_noise=0.0, edge_mix=0.0, dropout=0.0, shadows=False)
"""A depth camera without errors."""


@dataclass(frozen=True)
class Randomization(Checked):
    """Ranges from which every episode draws its environment. Equal ends switch a draw off."""

    mass: Annotated[tuple[float, float], Within(0.001, 10, rising=True)] = (0.08, 0.2)
    """Mass of the object, kg."""
    radius: Annotated[tuple[float, float], Within(0.001, 0.2, rising=True)] = (0.025, 0.04)
    """Object half width, m."""
    half_height: Annotated[tuple[float, float], Within(0.001, 0.2, rising=True)] = (0.03, 0.05)
    """Object half height, m."""
    friction: Annotated[tuple[float, float], Within(0, 10, rising=True)] = (0.8, 1.2)
    """Sliding friction of the object, against table and hand alike."""
    arm_gain: Annotated[tuple[float, float], Within(0.01, 10, rising=True)] = (0.9, 1.1)
    """Factor on kp and kv of the arm servos."""
    hand_gain: Annotated[tuple[float, float], Within(0.01, 10, rising=True)] = (0.8, 1.2)
    """Factor on kp and kv of the finger servos."""
    light_tilt: Annotated[float, Within(0, 10)] = 0.5
    """Most the lamp's direction leans, as a fraction of its vertical part."""
    light_strength: Annotated[tuple[float, float], Within(0, 1, rising=True)] = (0.4, 0.9)
    """Diffuse intensity of the lamp, 0..1."""
    camera_shift: Annotated[float, Within(0, 1)] = 0.003
    """Largest mounting error of the camera pair, m along each axis."""
    camera_turn: Annotated[float, Within(0, 1)] = 0.015
    """Largest mounting error of the camera pair, rad about each axis through the middle between the eyes."""
    baseline: Annotated[float, Within(0, 1)] = 0.0
    """Largest error of the distance between the eyes, m; observed as "calibration", like all that follows."""
    eye_turn: Annotated[float, Within(0, 1)] = 0.0
    """Largest error of each eye's own direction, rad about each axis: what is left after rectification."""
    depth: DepthSensor = field(default_factory=DepthSensor)
    """What the depth camera makes of the true depth."""
    pixel_noise: Annotated[float, Within(0, 255)] = 3.0
    """Standard deviation of RGB noise, grey levels of 255."""
    position_noise: Annotated[float, Within(0, 1)] = 0.009
    """Standard deviation of the group "noisy_position", m along each axis, at each step anew: what benchmarks/scenes.py
    measured of a student's network that sees the object, 1.4 cm median distance, which is 1.54 of it."""
    textures: bool = True
    """Whether each environment's table has its own texture and colour, else all have the same grey chequers."""
    gravity: Annotated[tuple[float, float], Within(0, 10, rising=True)] = (1.0, 1.0)
    """Factor on the object's weight; its inertia stays."""
    joint_friction: Annotated[tuple[float, float], Within(0, 1, rising=True)] = (0.0, 0.0)
    """Dry friction of the robot's joints, as a share of the torque limit of each."""
    latency: Annotated[tuple[int, int], Within(0, 100, rising=True)] = (0, 0)
    """Control steps that pass before an action is carried out; until then the robot holds still."""
    proprio_noise: Annotated[float, Within(0, 10)] = 0.0
    """Standard deviation of noise on each number of the group "proprio", in its unit, at each step anew."""
    blur: Annotated[float, Within(0, 10)] = 0.0
    """Standard deviation of the blur of RGB images, pixels; the noise comes after it."""
    distractors: Annotated[tuple[int, int], Within(0, 8, rising=True)] = (0, 0)
    """How many things lie about the table besides the object, only to be looked at: hand and object pass through."""
    background: str | None = None
    """Images behind everything in RGB, one drawn for each episode: `procedural`, or the name of a folder of PNG or JPEG
    files in one of HANDSIGHT_ASSETS; None: a plain sky."""


HARDEST = Randomization(
    mass=(0.04, 0.35), friction=(0.5, 1.5), arm_gain=(0.7, 1.3), hand_gain=(0.6, 1.4), light_tilt=1.0,
    light_strength=(0.2, 1.0), camera_shift=0.01, camera_turn=0.05, position_noise=0.02, pixel_noise=9.0,
    depth=DepthSensor(disparity_noise=0.25, dropout=0.06), gravity=(0.7, 1.3), joint_friction=(0.0, 0.05),
    latency=(0, 2), proprio_noise=0.03, blur=1.0,
)  # fmt: skip
"""About three times as wide as the ranges of trainings, which lie inside it."""
LEVELS = 10
"""Level of randomisation that is `HARDEST`, unless a configuration says otherwise; 0 is that of trainings."""


def between(easy: Any, hard: Any, share: float) -> Any:
    """Ranges a share (0..1) of the way from easy to hard ones: each number by itself, whole ones rounded."""
    match easy:
        case Checked():
            parts = {one.name: (getattr(easy, one.name), getattr(hard, one.name)) for one in fields(easy)}  # type: ignore[arg-type]
            return replace(easy, **{name: between(*pair, share) for name, pair in parts.items()})  # type: ignore[type-var]
        case tuple():
            return tuple(between(*pair, share) for pair in zip(easy, hard, strict=True))
        case bool() | str() | None:
            return hard if share == 1 else easy
    moved = easy + share * (hard - easy)
    return round(moved) if isinstance(easy, int) else moved
