"""`EnvConfig` and its parts: everything about the environments but their number, and how to reach simulators of them.

This file imports neither torch nor MuJoCo, as the command line must know every option before it loads them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from ..errors import HandsightError
from .machine import machine

EngineName = Literal["mujoco", "mujoco_warp", "isaacgym"]
ActionSpaceName = Literal["palm4+closure2", "palm6+synergy5"]
"""Names that a configuration may give; what they mean is the robot's affair."""
KINDS = ("box", "cylinder", "cross", "tee", "mug")
"""Kinds of object that `objects.PRIMITIVES` makes."""
OBJECT_STORE: Final = "object-store"
"""The transport that is not Ray Direct Transport."""


@dataclass(frozen=True)
class CameraRig:
    """A stereo pair with parallel optical axes: its mount, its intrinsics and its depth range."""

    mount: str = "palm"
    """Body that carries the pair: "palm" (wrist pair) or "world" (fixed pair)."""
    position: tuple[float, float, float] = (0.11, 0.0, -0.14)
    """m in the mount's frame: the middle between the eyes."""
    right: tuple[float, float, float] = (0.0, -1.0, 0.0)
    """The camera's x axis in the mount's frame; the eyes sit along it."""
    up: tuple[float, float, float] = (-0.961, 0.0, 0.276)
    """The camera's y axis in the mount's frame."""
    baseline: float = 0.06
    """m between the eyes."""
    fov_y: float = 45.0
    """Vertical field of view, degrees."""
    height: int = 32
    """Height of an image, pixels."""
    width: int = 32
    """Width of an image, pixels."""
    depth_max: float = 0.6
    """m: depth beyond this is clipped to it."""

    def __post_init__(self) -> None:
        if self.height < 8 or self.width < 8:
            raise HandsightError(f"camera images must be at least 8 x 8 pixels, not {self.height} x {self.width}")
        if not 1.0 <= self.fov_y <= 150.0:
            raise HandsightError(f"fov_y must lie within 1..150 degrees, not {self.fov_y}")
        if not 0.1 <= self.depth_max <= 32.0:
            raise HandsightError(f"depth_max must lie within 0.1..32 m (int16 millimetres), not {self.depth_max}")

    @property
    def focal_pixels(self) -> float:
        """Focal length in pixels, the same in x and y (square pixels)."""
        return 0.5 * self.height / math.tan(math.radians(self.fov_y) / 2)

    def intrinsics(self) -> list[list[float]]:
        """3 x 3 pinhole matrix K per eye: u = fx X/Z + cx, v = fy Y/Z + cy with Z along the optical axis, Y down. The
        image's upper left corner is (0, 0), so the pixel in column j and row i looks through (j + .5, i + .5)."""
        f = self.focal_pixels
        return [[f, 0.0, self.width / 2], [0.0, f, self.height / 2], [0.0, 0.0, 1.0]]

    def disparity(self, depth: float) -> float:
        """Disparity in pixels of a point at `depth` m along the optical axis: f b / Z (rectified pair)."""
        return self.focal_pixels * self.baseline / depth

    def describe(self) -> dict[str, Any]:
        """What travels with a checkpoint: mount, intrinsics, baseline, image size and depth range."""
        return {
            "mount": self.mount, "position": list(self.position), "right": list(self.right), "up": list(self.up),
            "baseline": self.baseline, "intrinsics": self.intrinsics(), "height": self.height, "width": self.width,
            "depth_max": self.depth_max,
        }  # fmt: skip


@dataclass(frozen=True)
class WallConfig:
    """An upright board on the table, as the side of a bin: it stops hand and object, and hides what stands behind it.
    The arm's links pass through it, as through the table: like there, only the hand collides."""

    centre: tuple[float, float] = (0.62, 0.285)
    """m: middle of its footprint on the table, x and y."""
    half_size: tuple[float, float] = (0.25, 0.008)
    """m: half extents of its footprint along x and y."""
    height: float = 0.2
    """Height above the table, m."""
    rgb: tuple[float, float, float] = (0.36, 0.25, 0.2)
    """Colour, 0..1, the same in every environment."""

    def __post_init__(self) -> None:
        if min(*self.half_size, self.height) <= 0:
            raise HandsightError(
                f"wall: expected half_size and height above 0 m, found half_size={self.half_size}, height={self.height}"
            )


@dataclass(frozen=True)
class SceneConfig:
    """What is compiled into the model; all environments share it."""

    rig: CameraRig = field(default_factory=CameraRig)
    """The stereo pair of cameras."""
    wall: WallConfig | None = None
    """A board on the table, or None; the engine `isaacgym` has none and refuses it."""
    timestep: float = 0.08 / 9
    """Length of a physics step, s."""
    substeps: int = 9
    """Physics steps in one control step."""

    @property
    def control_dt(self) -> float:
        """Seconds in one control step."""
        return self.timestep * self.substeps


@dataclass(frozen=True)
class DepthSensor:
    """What a depth camera makes of the true depth: it matches the pair's images, so its errors are those of stereo."""

    disparity_noise: float = 0.1
    """Standard deviation of a match, pixels of disparity: depth z errs by z^2 / (f b) times it, 2.7 mm at 25 cm for
    images of 32 pixels and half of it for 64."""
    edge_mix: float = 0.5
    """Probability that a pixel beside a step of depth (more than a pixel of disparity) takes its neighbour's, as the
    windows do that are matched."""
    dropout: float = 0.01
    """Probability that a pixel has no return."""
    shadows: bool = True
    """Whether there is no return from what something nearer hides from the right eye."""

    def __post_init__(self) -> None:
        if not 0 <= self.disparity_noise <= 2:
            raise HandsightError(f"disparity_noise must lie within 0..2 pixels, not {self.disparity_noise}")
        for name in ("edge_mix", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise HandsightError(f"{name} must lie within 0..1, not {getattr(self, name)}")


EXACT_DEPTH = DepthSensor(disparity_noise=0.0, edge_mix=0.0, dropout=0.0, shadows=False)
"""A depth camera without errors."""


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
    """Sliding friction of the object, against table and hand alike."""
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
    """Largest mounting error of the camera pair, rad about each axis through the middle between the eyes."""
    baseline: float = 0.0
    """Largest error of the distance between the eyes, m; observed as "calibration", like all that follows."""
    eye_turn: float = 0.0
    """Largest error of each eye's own direction, rad about each axis: what is left after rectification."""
    depth: DepthSensor = field(default_factory=DepthSensor)
    """What the depth camera makes of the true depth."""
    pixel_noise: float = 3.0
    """Standard deviation of RGB noise, grey levels of 255."""
    textures: bool = True
    """Whether each environment's table has its own texture and colour, else one plain grey."""


@dataclass(frozen=True)
class RewardWeights:
    """Weight of each term; the sum is multiplied by `scale`."""

    reach: float = 0.3
    """Fingertips near the object."""
    approach: float = 0.7
    """Object is at the grasp site."""
    close: float = 0.4
    """Hand closed around an object at the grasp site."""
    raise_hand: float = 1.5
    """Palm height while closed around the object: without it the policy grasps and keeps pushing down."""
    lift: float = 5.0
    """Object height while it stays at the grasp site."""
    success: float = 2.0
    """Lifted above the success height and held."""
    effort: float = -0.05
    """Squared norm of the action."""
    scale: float = 0.1
    """Factor on the whole sum."""


@dataclass(frozen=True)
class TaskConfig:
    """What every task can be asked for."""

    action_space: ActionSpaceName = "palm4+closure2"
    """What the numbers of an action mean."""
    episode_steps: int = 36
    """Control steps in an episode (12.5 a second)."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of object, drawn uniformly."""
    reset_mix: Mapping[str, float] = field(default_factory=lambda: {"near": 0.0, "easy": 0.0, "wide": 1.0})
    """Probability of each kind of reset."""
    randomization: Randomization = field(default_factory=Randomization)
    """What differs between environments and episodes."""

    def __post_init__(self) -> None:
        if self.episode_steps < 1:
            raise HandsightError(f"episode_steps must be at least 1, not {self.episode_steps}")


@dataclass(frozen=True)
class GraspConfig(TaskConfig):
    """The task of grasping and lifting."""

    rewards: RewardWeights = field(default_factory=RewardWeights)
    """Weights of the reward terms."""


@dataclass(frozen=True)
class WarpConfig:
    """Room and repeatability of the engine `mujoco_warp`."""

    nconmax: int = 40
    """Contacts for which there is room in each world, on average over the worlds. With many worlds a third will do."""
    njmax: int = 160
    """Constraint rows for which there is room in each world: 1.5 times the most that benchmarks/contact_room.py saw, as
    is `nconmax`, which one world alone must do with."""
    deterministic: bool = True
    """On a GPU: order contacts and sums so that the same seed and actions repeat bit for bit. Costs speed."""
    graphs: bool = True
    """Repeat the launches of a step as one graph; without, each is made anew from Python."""


@dataclass(frozen=True)
class IsaacConfig:
    """How to reach Isaac Gym. Nothing in it changes the worlds, and all of it is of the user's machine."""

    python: str | None = machine(None)
    """Interpreter that has isaacgym, e.g. /opt/rlgpu/bin/python3.8; None = $HANDSIGHT_ISAAC_PYTHON."""
    compute_device: int = machine(0)
    """CUDA ordinal of the GPU that simulates."""
    graphics_device: int = machine(0)
    """Vulkan ordinal of the GPU that renders: the same GPU, though it may be numbered otherwise."""
    timeout: float = machine(60.0)
    """Longest wait for a step, s; starting and building may take ten times as long."""


@dataclass(frozen=True)
class EnvConfig:
    """Everything about the environments but their number."""

    engine: EngineName = "mujoco"
    """Simulator: `mujoco` (CPU physics on all cores, ray-traced cameras), `mujoco_warp` (physics and cameras on a GPU:
    docs/gpu.md) or `isaacgym` (your own installation of Isaac Gym Preview 4, behind its own interpreter:
    docs/isaac.md)."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """Model, time step and camera rig."""
    task: GraspConfig = field(default_factory=GraspConfig)
    """Actions, resets, rewards and randomisation."""
    threads: int | None = machine(None)
    """Threads of the CPU engine; None = all cores. Does not change results."""
    warp: WarpConfig = field(default_factory=WarpConfig)
    """Room for contacts and repeatability, for the engine `mujoco_warp`."""
    isaac: IsaacConfig = field(default_factory=IsaacConfig)
    """Where Isaac Gym is, for the engine `isaacgym`."""


def _of_today(transport: object) -> object:
    """Configurations of the first edition may name a transport that is gone."""
    if transport in ("gloo", "nccl"):
        warnings.warn(f"transport {transport!r} is gone: reading it as {OBJECT_STORE!r}", stacklevel=2)
        return OBJECT_STORE
    return transport


@dataclass(frozen=True)
class RemoteConfig:
    """How the learner deals with its simulators; all of it is of the user's machine."""

    address: str | None = machine(None)
    """Address of an existing Ray cluster, host:port; None starts one on this machine, for it alone."""
    transport: Annotated[Literal["object-store", "cuda-ipc"], BeforeValidator(_of_today)] = machine(OBJECT_STORE)
    """How observations travel: "object-store", through the hosts' shared memory, or "cuda-ipc", by Ray Direct Transport
    between GPUs of one host."""
    double_buffer: bool = machine(False)
    """Step the simulators in two halves, so that one simulates while the policy decides for the other."""
    step_timeout: float = machine(4.0)
    """Seconds without an answer after which a simulator counts as hung; never less than five times its slowest step."""
    build_timeout: float = machine(120.0)
    """Seconds for a process to start and build its environments, in which kernels may have to be compiled."""
    spares: int = machine(1)
    """Processes on this machine that wait, with nothing but their imports in memory, to take over from a failed one."""
    max_failures: int = machine(5)
    """Failures in a row of one simulator, without a step between them, that stop the run."""

    @property
    def direct(self) -> bool:
        """Whether Ray carries tensors from device to device."""
        return self.transport != OBJECT_STORE
