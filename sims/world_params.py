"""What the draws of one episode decide about each environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass
class WorldParams:
    """What the draws of one episode decide about each environment. All (N, ...) float32 unless said."""

    kind: Tensor
    """(N,) int64: kind of object."""
    size: Tensor
    """(N, 3): half extents of the object's bounding box, m."""
    geom_size: Tensor
    """(N, G, 3): sizes of the object's geoms, MuJoCo's convention, m."""
    geom_pos: Tensor
    """(N, G, 3): their places in the object's frame, m."""
    mass: Tensor
    """(N,) mass of the object, kg."""
    com: Tensor
    """(N, 3): centre of mass in the object's frame, m."""
    inertia: Tensor
    """(N, 3): principal moments about the centre of mass along the object's axes, kg m^2."""
    friction: Tensor
    """(N,) sliding friction of the object."""
    arm_gain: Tensor
    """(N,) factor on arm kp and kv."""
    hand_gain: Tensor
    """(N,) factor on finger kp and kv."""
    object_rgb: Tensor
    """(N, 3) colour of the object, 0..1."""
    table_rgb: Tensor
    """(N, 3) colour of the table, 0..1."""
    table_texture: Tensor
    """(N,) int64: which texture the table has."""
    light_dir: Tensor
    """(N, 3) unit vector, world frame."""
    light_diffuse: Tensor
    """(N,) intensity of the lamp, 0..1."""
    camera_shift: Tensor
    """(N, 3) m, the pair moves as one."""
    camera_turn: Tensor
    """(N, 3) rad, small rotation vector of the pair in the camera frame."""
    eye_shift: Tensor
    """(N, 2, 3) m in the mount's frame, of each eye beside the pair's."""
    eye_turn: Tensor
    """(N, 2, 3) rad, small rotation vector of each eye in its own frame, after the pair's."""
    gravity: Tensor | None = None
    """(N,) factor on the object's weight; None, as for what follows, where nothing of it is drawn."""
    joint_friction: Tensor | None = None
    """(N,) dry friction of the robot's joints, share of their torque limits."""
    latency: Tensor | None = None
    """(N,) int64: control steps that pass before an action is carried out."""
    distractors: Tensor | None = None
    """(N, D, 9): place, m, size in MuJoCo's convention, m, and colour, 0..1, of what lies about the table."""
    background: Tensor | None = None
    """(N,) in [0, 1): which of the images is behind everything."""
    rest: Tensor | None = None
    """(N,) int64: in which of its resting poses an object of meshes lies; None where objects stand upright."""

    @property
    def known(self) -> dict[str, Tensor]:
        """All that is drawn, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def each(self, change: Callable[[Tensor], Tensor]) -> WorldParams:
        """The same, every tensor changed."""
        return WorldParams(**{name: change(value) for name, value in self.known.items()})
