"""A robot as its user writes it down: one TOML file that names two MJCF files and what they do not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from ...errors import HandsightError
from ...files import read_toml
from ...ranges import Checked, Within, from_tree
from ..assets import AssetError, find
from ..env_config import ActionSpaceName, CameraRig

Place = Annotated[tuple[float, float, float], Within(-10, 10)]
Turn = Annotated[tuple[float, float, float, float], Within(-1, 1)]
Angle = Annotated[float, Within(-100, 100)]
"""rad, or m where a joint slides."""
Positive = Annotated[float, Within(0, 1e6)]


@dataclass(frozen=True)
class MountConfig(Checked):
    """Where the hand's first body sits on the arm."""

    at: str
    """Site or body of the arm."""
    pos: Place = (0.0, 0.0, 0.0)
    """m in the frame of `at`."""
    quat: Turn = (1.0, 0.0, 0.0, 0.0)
    """w x y z, frame of the hand's first body to that of `at`; the pose that its own file gives it is dropped."""


@dataclass(frozen=True)
class PalmConfig(Checked):
    """The palm, and the frame in which everything about it is said: x out of the palm, z along the fingers."""

    body: str
    """Body of the hand."""
    pos: Place = (0.0, 0.0, 0.0)
    """Origin of that frame, m in the body's own: where the fingers begin."""
    facing: Place = (1.0, 0.0, 0.0)
    """Direction out of the palm, toward what it holds, in the body's own frame."""
    fingers: Place = (0.0, 0.0, 1.0)
    """Direction in which the fingers point, in the body's own frame; made square to `facing`."""


@dataclass(frozen=True)
class DigitConfig(Checked):
    """A finger or a thumb."""

    name: str
    """What its touch sensor is called after."""
    root: str
    """Body at which it begins."""
    tip: str
    """Site, geom or body of its fingertip."""
    tip_pos: Place = (0.0, 0.0, 0.0)
    """m in the frame of `tip`."""


@dataclass(frozen=True)
class GraspSiteConfig(Checked):
    """Where an object should be when the hand closes: one of the two."""

    site: str | None = None
    """Site of the hand."""
    pos: Place | None = None
    """m in the palm's frame."""


@dataclass(frozen=True)
class PalmCameraConfig(Checked):
    """Where a camera pair at the palm sits, as in `CameraRig`."""

    position: Place = CameraRig.position
    """m in the palm's frame: the middle between the eyes."""
    right: Place = CameraRig.right
    """The camera's x axis in the palm's frame."""
    up: Place = CameraRig.up
    """The camera's y axis in the palm's frame."""


@dataclass(frozen=True)
class ActionsConfig(Checked):
    """What the hand's part of an action space does."""

    synergies: tuple[dict[str, Angle], ...]
    """For each synergy: by how much it moves which joints from the open hand, rad, as it goes from 0 to 1."""
    closing: Annotated[int, Within(1, 100)] = 2
    """How many of them, the first ones, close the hand."""
    lowest: Annotated[tuple[float, ...], Within(-1, 0)] | None = None
    """Lower bound of each; 0 if not given."""


@dataclass(frozen=True)
class RobotConfig(Checked):
    """A robot's TOML file. Joints, bodies, sites and actuators have the names that the MJCF files give them; `joint*`
    stands for several. What is left out is read from the MJCF files."""

    arm: str
    """MJCF file of the arm, below this file's folder or one of HANDSIGHT_ASSETS; or menagerie:MODEL, or
    menagerie:MODEL/ENTRY, of MuJoCo Menagerie (extra `robots`)."""
    hand: str
    """MJCF file of the hand, likewise."""
    mount: MountConfig
    """Where arm and hand meet."""
    palm: PalmConfig
    """The palm and its frame."""
    digits: tuple[DigitConfig, ...]
    """Fingers, the thumb last."""
    grasp: GraspSiteConfig
    """Where an object should be when the hand closes."""
    home: dict[str, Angle]
    """Rest posture of the joints from the base to the palm; those that are not named are as
    near to 0 as their limits let them."""
    closed_hand: dict[str, Angle]
    """The hand's joints around an object, rad; where not named likewise."""
    open_hand: dict[str, Angle] = field(default_factory=dict)
    """The hand's joints as an episode begins, rad; where not named likewise."""
    geometry: Literal["mesh", "capsule", "box"] = "capsule"
    """What stands for a mesh: its convex hull, or the box that MuJoCo fits to it, which is faster and which the ray
    caster can see; with "capsule" long boxes, those of the files too, are round."""
    base: Place = (0.0, 0.0, 0.0)
    """Where the arm's file is put into the world, m."""
    workspace: tuple[Place, Place] = ((0.42, -0.3, 0.02), (0.92, 0.3, 0.45))
    """Lowest and highest corner of the box that the palm's target stays in, m, world frame."""
    camera: PalmCameraConfig = field(default_factory=PalmCameraConfig)
    """The wrist pair's place, for scenes that have one."""
    gains: dict[str, Annotated[tuple[float, float], Within(0, 1e6)]] = field(default_factory=dict)
    """By joint: kp N m/rad and kv N m s/rad of its servo; needed where the MJCF has a motor."""
    torque: dict[str, Positive] = field(default_factory=dict)
    """By joint: the most that its servo gives, N m."""
    velocity: dict[str, Positive] = field(default_factory=dict)
    """By joint: the fastest that its target moves, rad/s; 2 for the arm and 8 for the hand if not given."""
    action_spaces: dict[ActionSpaceName, ActionsConfig] = field(default_factory=dict)
    """Ways of acting, the default first; without any, `palm4+closure2`: the fingers close, the thumb closes."""


def robot_file(name: str) -> Path:
    """Where the TOML file of a robot is. Raises AssetError: nowhere."""
    return find("robot", name, ".toml", Path(__file__).parent)


def read_robot(path: Path) -> RobotConfig:
    """The robot in a TOML file.

    Raises:
        AssetError: no such file, not TOML, or a name or value that means nothing; names the nearest known one.
    """
    tree = read_toml(path, "robot", AssetError)
    try:
        return from_tree(RobotConfig, tree)
    except HandsightError as error:
        raise AssetError(f"robot {path}: {error}") from error
