"""`Randomization`: the ranges from which every episode draws its environment, and the draws themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cameras import eye_sides
from ..draws import Draws
from ..env_config import Randomization
from ..scene import TABLE_CENTRE, TABLE_TEXTURES, Scene
from ..world_params import WorldParams

TABLE_GREY, LAMP_DIRECTION = 0.75, (0.15, 0.1, -1.0)
PARAM_DRAWS = {
    "kind": 1, "radius": 1, "half_height": 1, "mass": 1, "friction": 1, "arm_gain": 1, "hand_gain": 1,
    "object_rgb": 3, "table_rgb": 3, "table_texture": 1, "light": 2, "light_strength": 1, "camera_shift": 3,
    "camera_turn": 3, "baseline": 1, "eye_turn": 6, "gravity": 1, "joint_friction": 1, "latency": 1, "background": 1,
}  # fmt: skip
"""How many random numbers each parameter of an environment takes."""
MORE = ("gravity", "joint_friction", "latency", "background")
"""Those of them that are drawn only where somebody asks for it."""
AROUND, DISTRACTOR_HALF, HIDDEN = (0.24, 0.42), (0.015, 0.05), (0.0, 0.0, -5.0)
"""m: how far from the middle of the table, beside where objects stand, things lie about, and how large they are by
half; and the place of those that an episode does without."""


class ParamDrawer:
    """Draws what an episode decides about each environment."""

    def __init__(
        self, ranges: Randomization, kinds: tuple[str, ...], scene: Scene, device: torch.device, moving: bool = False
    ) -> None:
        """kinds: of the scene's objects, drawn uniformly; moving: these ranges may give way to others, so that
        everything is drawn, also what they leave alone."""
        off = Randomization()
        self._more = [name for name in MORE if moving or getattr(ranges, name) != getattr(off, name)]
        self._ranges, self._objects, self._distractors = ranges, scene.objects, scene.distractors
        self._kinds = torch.tensor([scene.objects.names.index(kind) for kind in kinds], device=device)
        self._lamp = torch.tensor(LAMP_DIRECTION, device=device)
        self._sides = eye_sides(scene.config.rig, device)

    def draw(self, draws: Draws) -> WorldParams:
        """Parameters of the N environments of `draws`, each (N, ...)."""
        r, unit = self._ranges, draws.unit(**PARAM_DRAWS)
        between = lambda name, low, high: low + (high - low) * unit[name]  # noqa: E731
        one = lambda name, low_high: between(name, *low_high)[:, 0]  # noqa: E731
        pick = lambda name, count: (unit[name][:, 0] * count).long().clamp_(max=count - 1)  # noqa: E731
        kind = self._kinds[pick("kind", len(self._kinds))]
        shape = self._objects.shape(kind, one("radius", r.radius), one("half_height", r.half_height))
        geom_size, geom_pos, size = shape
        mass, com, inertia = self._objects.weigh(kind, one("mass", r.mass), sum(r.mass) / 2, geom_size, geom_pos)
        rest = None
        if self._objects.meshes is not None:
            rest = self._objects.meshes.rest(kind, draws.uniform("rest", 1)[:, 0])
        plain = [name for name in self._more if name not in ("latency", "background")]
        more: dict[str, Tensor] = {name: one(name, getattr(r, name)) for name in plain}
        if "latency" in self._more:
            more["latency"] = r.latency[0] + pick("latency", r.latency[1] - r.latency[0] + 1)
        if "background" in self._more:
            more["background"] = unit["background"][:, 0]
        if self._distractors:
            more["distractors"] = self._lying_about(draws.uniform("distractors", 1 + 8 * self._distractors))
        texture, table_rgb = pick("table_texture", TABLE_TEXTURES), between("table_rgb", 0.45, 0.95)
        return WorldParams(
            kind=kind, size=size, geom_size=geom_size, geom_pos=geom_pos, rest=rest, mass=mass, com=com,
            inertia=inertia, friction=one("friction", r.friction), arm_gain=one("arm_gain", r.arm_gain),
            hand_gain=one("hand_gain", r.hand_gain), object_rgb=between("object_rgb", 0.05, 0.95),
            table_rgb=table_rgb if r.textures else torch.full_like(table_rgb, TABLE_GREY),
            table_texture=texture if r.textures else torch.zeros_like(texture),
            light_dir=self._lean(between("light", -r.light_tilt, r.light_tilt)),
            light_diffuse=one("light_strength", r.light_strength),
            camera_shift=between("camera_shift", -r.camera_shift, r.camera_shift),
            camera_turn=between("camera_turn", -r.camera_turn, r.camera_turn),
            eye_shift=between("baseline", -r.baseline, r.baseline)[:, :, None] * self._sides,
            eye_turn=between("eye_turn", -r.eye_turn, r.eye_turn).unflatten(1, (2, 3)), **more,
        )  # fmt: skip

    def _lying_about(self, unit: Tensor) -> Tensor:
        """(N, D, 9) as in `WorldParams`, of random numbers (N, 1 + 8 D)."""
        (fewest, most), each = self._ranges.distractors, unit[:, 1:].unflatten(1, (self._distractors, 8))
        low, high = DISTRACTOR_HALF
        away, angle = AROUND[0] + (AROUND[1] - AROUND[0]) * each[..., 0], 2 * torch.pi * each[..., 1]
        size = low + (high - low) * each[..., 2:5]
        upright = torch.where(torch.arange(self._distractors, device=unit.device) % 2 == 0, size[..., 2], size[..., 1])
        ahead, left = TABLE_CENTRE[0] + away * torch.cos(angle), TABLE_CENTRE[1] + away * torch.sin(angle)
        place = torch.stack([ahead, left, upright], -1)  # boxes and cylinders in turn, which stand
        count = fewest + (unit[:, :1] * (most + 1 - fewest)).long()
        there = (torch.arange(self._distractors, device=unit.device) < count)[..., None]
        return torch.cat([torch.where(there, place, torch.tensor(HIDDEN, device=unit.device)), size, each[..., 5:]], -1)

    def _lean(self, tilt: Tensor) -> Tensor:
        """(N, 3) unit vector: the lamp's direction, tilted by (N, 2) in x and y."""
        lean = self._lamp.repeat(len(tilt), 1)
        lean[:, :2] += tilt
        return lean / lean.norm(dim=1, keepdim=True)
