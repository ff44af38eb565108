"""`Randomization`: the ranges from which every episode draws its environment, and the draws themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..draws import Draws
from ..scene import TABLE_TEXTURES, Scene
from ..world_params import WorldParams

TABLE_GREY, LAMP_DIRECTION = 0.75, (0.15, 0.1, -1.0)
PARAM_DRAWS = {
    "kind": 1, "radius": 1, "half_height": 1, "mass": 1, "friction": 1, "arm_gain": 1, "hand_gain": 1,
    "object_rgb": 3, "table_rgb": 3, "table_texture": 1, "light": 2, "light_strength": 1, "camera_shift": 3,
    "camera_turn": 3, "baseline": 1, "eye_turn": 6,
}  # fmt: skip
"""How many random numbers each parameter of an environment takes."""


@dataclass(frozen=True)
class Randomization:
    """Ranges from which every episode draws its environment. Equal ends switch a draw off."""

    mass: tuple[float, float] = (0.08, 0.2)
    """Mass of the object, kg."""
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
    """Whether each environment's table has its own texture and colour, else one plain grey."""


class ParamDrawer:
    """Draws what an episode decides about each environment."""

    def __init__(self, ranges: Randomization, kinds: tuple[str, ...], scene: Scene, device: torch.device) -> None:
        """kinds: of the scene's objects, drawn uniformly."""
        self._ranges, self._objects = ranges, scene.objects
        self._kinds = torch.tensor([scene.objects.names.index(kind) for kind in kinds], device=device)
        self._lamp = torch.tensor(LAMP_DIRECTION, device=device)
        self._sides = scene.config.rig.sides(device)

    def draw(self, draws: Draws) -> WorldParams:
        """Parameters of the N environments of `draws`, each (N, ...)."""
        r, unit = self._ranges, draws.unit(**PARAM_DRAWS)
        between = lambda name, low, high: low + (high - low) * unit[name]  # noqa: E731
        one = lambda name, low_high: between(name, *low_high)[:, 0]  # noqa: E731
        pick = lambda name, count: (unit[name][:, 0] * count).long().clamp_(max=count - 1)  # noqa: E731
        kind = self._kinds[pick("kind", len(self._kinds))]
        shape = self._objects.shape(kind, one("radius", r.radius), one("half_height", r.half_height))
        geom_size, geom_pos, size = shape
        mass = one("mass", r.mass)
        com, inertia = self._objects.mass_properties(mass, geom_size, geom_pos)
        texture, table_rgb = pick("table_texture", TABLE_TEXTURES), between("table_rgb", 0.45, 0.95)
        return WorldParams(
            kind=kind, size=size, geom_size=geom_size, geom_pos=geom_pos, mass=mass, com=com, inertia=inertia,
            friction=one("friction", r.friction), arm_gain=one("arm_gain", r.arm_gain),
            hand_gain=one("hand_gain", r.hand_gain), object_rgb=between("object_rgb", 0.05, 0.95),
            table_rgb=table_rgb if r.textures else torch.full_like(table_rgb, TABLE_GREY),
            table_texture=texture if r.textures else torch.zeros_like(texture),
            light_dir=self._lean(between("light", -r.light_tilt, r.light_tilt)),
            light_diffuse=one("light_strength", r.light_strength),
            camera_shift=between("camera_shift", -r.camera_shift, r.camera_shift),
            camera_turn=between("camera_turn", -r.camera_turn, r.camera_turn),
            eye_shift=between("baseline", -r.baseline, r.baseline)[:, :, None] * self._sides,
            eye_turn=between("eye_turn", -r.eye_turn, r.eye_turn).unflatten(1, (2, 3)),
        )  # fmt: skip

    def _lean(self, tilt: Tensor) -> Tensor:
        """(N, 3) unit vector: the lamp's direction, tilted by (N, 2) in x and y."""
        lean = self._lamp.repeat(len(tilt), 1)
        lean[:, :2] += tilt
        return lean / lean.norm(dim=1, keepdim=True)
