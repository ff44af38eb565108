"""`Randomization`: the ranges from which every episode draws its world."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Randomization:
    """Ranges from which every episode draws its world. Equal ends switch a draw off."""

    mass: tuple[float, float] = (0.08, 0.2)
    """Object mass, kg."""
    radius: tuple[float, float] = (0.025, 0.04)
    """Object half width, m."""
    half_height: tuple[float, float] = (0.03, 0.05)
    """Object half height, m."""
    friction: tuple[float, float] = (0.8, 1.2)
    """Factor on the object's sliding friction (1.0)."""
    arm_gain: tuple[float, float] = (0.9, 1.1)
    """Factor on kp and kv of the arm servos."""
    hand_gain: tuple[float, float] = (0.8, 1.2)
    """Factor on kp and kv of the finger servos."""
    light_tilt: float = 0.5
    """Most the lamp's direction leans, as a fraction of its vertical part."""
    light_strength: tuple[float, float] = (0.4, 0.9)
    """Diffuse intensity of the lamp, 0..1."""
    camera_shift: float = 0.003
    """Largest mounting error of the camera pair, m along each axis."""
    camera_turn: float = 0.015
    """Largest mounting error of the camera pair, rad about each axis."""
    baseline: float = 0.0
    """Largest error of the distance between the eyes, m; observed as "calibration", like all that follows."""
    eye_turn: float = 0.0
    """Largest error of each eye's own direction, rad about each axis: what is left after rectification."""
    depth_noise: float = 0.003
    """Standard deviation of depth noise at 1 m, m; grows with the square of depth, as stereo matching does."""
    pixel_noise: float = 3.0
    """Standard deviation of RGB noise, grey levels of 255."""
    textures: bool = True
    """Whether each world's table has its own texture and colour, else one plain grey."""
