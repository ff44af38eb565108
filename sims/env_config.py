"""`EnvConfig` and its parts: everything about the environments but their number, and how to reach simulators of them.

This file imports neither torch nor MuJoCo, as the command line must know every option before it loads them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import BeforeValidator, Discriminator, SerializeAsAny, Tag, TypeAdapter

from .. import plugins
from ..errors import HandsightError, unknown
from ..ranges import Checked, Count, Share, Steps, Within
from .camera_config import CameraConfig as CameraConfig
from .camera_config import CameraRig as CameraRig
from .camera_config import Kind
from .machine import machine
from .randomization import EXACT_DEPTH as EXACT_DEPTH
from .randomization import HARDEST, LEVELS, Randomization, between
from .randomization import DepthSensor as DepthSensor

EngineName = Literal["mujoco", "mujoco_warp", "isaacgym"]
TaskName = Literal["grasp", "carry"]
ActionSpaceName = Literal["palm4+closure2", "palm6+synergy5"]
"""Names that a configuration may give; what they mean is the robot's affair."""
KINDS = ("box", "cylinder", "cross", "tee", "mug")
"""Kinds of object that `objects.PRIMITIVES` makes."""
Split = Literal["train", "held_out", "all"]
"""Which objects of a set are drawn: those that trainings meet, those that none does, or both."""
Postures = Literal["training", "held_out"]
"""Which arm postures episodes begin with; until version 0.2 evaluations shared those of trainings."""
OBJECT_STORE: Final = "object-store"
"""The transport that is not Ray Direct Transport."""


@dataclass(frozen=True)
class WallConfig(Checked):
    """An upright board on the table, as the side of a bin: it stops hand and object, and hides what stands behind it.
    The arm's links pass through it, as through the table: like there, only the hand collides."""

    centre: Annotated[tuple[float, float], Within(-10, 10)] = (0.62, 0.285)
    """m: middle of its footprint on the table, x and y."""
    half_size: Annotated[tuple[float, float], Within(0.001, 10)] = (0.25, 0.008)
    """m: half extents of its footprint along x and y."""
    height: Annotated[float, Within(0.001, 10)] = 0.2
    """Height above the table, m."""
    rgb: Annotated[tuple[float, float, float], Within(0, 1)] = (0.36, 0.25, 0.2)
    """Colour, 0..1, the same in every environment."""


@dataclass(frozen=True)
class SceneConfig(Checked):
    """What is compiled into the model; all environments share it."""

    robot: str = "kuka_allegro"
    """Name of the robot: built in, or NAME.toml in a folder of HANDSIGHT_ASSETS (docs/robots.md)."""
    rig: CameraRig = field(default_factory=CameraRig)
    """The stereo pair of cameras."""
    cameras: tuple[CameraConfig, ...] = ()
    """Further cameras, of the CPU engine."""
    wall: WallConfig | None = None
    """A board on the table, or None; the engine `isaacgym` has none and refuses it."""
    objects: str = "primitives"
    """What lies on the table: `primitives`, `procedural`, or the name of an imported set (docs/objects.md)."""
    timestep: Annotated[float, Within(0.0001, 0.1)] = 0.08 / 9
    """Length of a physics step, s."""
    substeps: Annotated[int, Within(1, 1000)] = 9
    """Physics steps in one control step."""

    @property
    def camera_groups(self) -> dict[str, tuple[CameraConfig, Kind]]:
        """The observation groups that the further cameras give."""
        return {f"{camera.name}_{kind}": (camera, kind) for camera in self.cameras for kind in camera.gives}

    @property
    def control_dt(self) -> float:
        """Seconds in one control step."""
        return self.timestep * self.substeps


@dataclass(frozen=True)
class RewardWeights(Checked):
    """Weight of each term; the sum is multiplied by `scale`."""

    reach: Annotated[float, Within(-1000, 1000)] = 0.3
    """Fingertips near the object."""
    approach: Annotated[float, Within(-1000, 1000)] = 0.7
    """Object is at the grasp site."""
    close: Annotated[float, Within(-1000, 1000)] = 0.4
    """Hand closed around an object at the grasp site."""
    raise_hand: Annotated[float, Within(-1000, 1000)] = 1.5
    """Palm height while closed around the object: without it the policy grasps and keeps pushing down."""
    lift: Annotated[float, Within(-1000, 1000)] = 5.0
    """Object height while it stays at the grasp site."""
    success: Annotated[float, Within(-1000, 1000)] = 2.0
    """Lifted above the success height and held."""
    effort: Annotated[float, Within(-1000, 1000)] = -0.05
    """Squared norm of the action."""
    scale: Annotated[float, Within(1e-6, 1000)] = 0.1
    """Factor on the whole sum."""


@dataclass(frozen=True)
class CarryWeights(RewardWeights):
    """Those of grasping, and of what carrying adds."""

    lift: Annotated[float, Within(-1000, 1000)] = 3.0
    """Object height while it stays at the grasp site."""
    bring: Annotated[float, Within(-1000, 1000)] = 12.0
    """Lifted object near the commanded point."""
    there: Annotated[float, Within(-1000, 1000)] = 6.0
    """At the commanded point and held."""
    success: Annotated[float, Within(-1000, 1000)] = 4.0
    """The same for long enough."""


@dataclass(frozen=True)
class TaskConfig(Checked):
    """What every task can be asked for."""

    told: ClassVar[tuple[str, ...]] = ()
    """Observation groups that the task gives and every policy of it reads, teachers and students alike."""
    if TYPE_CHECKING:
        name: str
        """Which task it is: the tag by which artefacts tell configurations apart."""
    action_space: ActionSpaceName = "palm4+closure2"
    """What the numbers of an action mean."""
    episode_steps: Steps = 36
    """Control steps in an episode (12.5 a second)."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of object, drawn uniformly; of a set other than `primitives` the default means all of `split`."""
    split: Split = "train"
    """Which objects of such a set are drawn; trainings draw from `train` only."""
    reset_mix: Mapping[str, Share] = field(default_factory=lambda: {"near": 0.0, "easy": 0.0, "wide": 1.0})
    """Probability of each kind of reset."""
    randomization: Randomization = field(default_factory=Randomization)
    """What differs between environments and episodes."""
    levels: Count = LEVELS
    """L: how many levels lie above `randomization`, at which `hardest` is reached."""
    level: Annotated[int, Within(0, 1_000_000_000)] = 0
    """Where between the two episodes are drawn, 0..levels; `difficulty` of a training moves it by success."""
    hardest: Randomization = HARDEST
    """What differs at the highest level; all ranges move there together, in equal steps."""
    postures: Postures = "training"
    """Which of the solved arm postures episodes begin with; evaluations take those that no training meets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ranges(self.level)

    def ranges(self, level: int) -> Randomization:
        """What differs between environments and episodes at a level.

        Raises:
            HandsightError: there is no such level.
        """
        if not 0 <= level <= self.levels:
            raise HandsightError(f"level {level} of randomisation: expected 0..{self.levels}")
        return between(self.randomization, self.hardest, level / self.levels) if level else self.randomization

    @property
    def most_distractors(self) -> int:
        """Most things that lie about the table, at any level."""
        return max(self.randomization.distractors[1], self.hardest.distractors[1])

    @property
    def longest_latency(self) -> int:
        """Most control steps that an action waits, at any level."""
        return max(self.randomization.latency[1], self.hardest.latency[1])


@dataclass(frozen=True)
class GraspConfig(TaskConfig):
    """The task of grasping and lifting."""

    name: Literal["grasp"] = "grasp"
    """Which task it is; until version 0.4 there was no other, and nothing said so."""
    rewards: RewardWeights = field(default_factory=RewardWeights)
    """Weights of the reward terms."""


@dataclass(frozen=True)
class CarryConfig(TaskConfig):
    """The task of grasping, lifting and bringing to a commanded point, which every policy is told."""

    told: ClassVar[tuple[str, ...]] = ("command",)
    """As of every task."""
    name: Literal["carry"] = "carry"
    """Which task it is."""
    episode_steps: Steps = 48
    """Control steps in an episode (12.5 a second)."""
    goal_x: Annotated[tuple[float, float], Within(-10, 10, rising=True)] = (0.52, 0.72)
    """m, world frame: range of the commanded point, away from the arm's base."""
    goal_y: Annotated[tuple[float, float], Within(-10, 10, rising=True)] = (-0.15, 0.15)
    """m, world frame: likewise to the robot's left."""
    goal_z: Annotated[tuple[float, float], Within(-10, 10, rising=True)] = (0.17, 0.28)
    """m above the table: likewise upward."""
    rewards: CarryWeights = field(default_factory=CarryWeights)
    """Weights of the reward terms."""


def _which(task: Any) -> str:
    """Tag of a task's configuration, or of what an artefact holds of one."""
    named = task.get("name", "grasp") if isinstance(task, Mapping) else getattr(task, "name", "grasp")
    if not isinstance(named, str):
        return "grasp"  # whose reading says what was expected
    return named if named in get_args(TaskName) else "plugin" * bool(task_config(named))


TASKS: dict[TaskName, type[GraspConfig | CarryConfig]] = {"grasp": GraspConfig, "carry": CarryConfig}
"""Configuration of each task of ours."""


def task_config(name: str) -> type[TaskConfig]:
    """Configuration of a task, ours or a plugin's. Raises HandsightError: there is none; lists those that there are."""
    ours: dict[str, Any] = {**TASKS}
    if name not in ours and (found := plugins.find("tasks", name)):
        return found.config_class
    if name not in ours:
        known = [*ours, *plugins.names("tasks")]
        raise HandsightError(f"{unknown('task', name, known)}; --plugin brings others in")
    return ours[name]


def _of_plugin(task: Any) -> Any:
    return TypeAdapter(task_config(task["name"])).validate_python(task) if isinstance(task, Mapping) else task


PluginTask = Annotated[SerializeAsAny[TaskConfig], BeforeValidator(_of_plugin)]
"""Configuration of a task that a plugin brings in."""


@dataclass(frozen=True)
class WarpConfig(Checked):
    """Room and repeatability of the engine `mujoco_warp`."""

    nconmax: Count = 40
    """Contacts for which there is room in each world, on average over the worlds. With many worlds a third will do."""
    njmax: Count = 160
    """Constraint rows for which there is room in each world: 1.5 times the most that benchmarks/contact_room.py saw, as
    is `nconmax`, which one world alone must do with."""
    deterministic: bool = True
    """On a GPU: order contacts and sums so that the same seed and actions repeat bit for bit. Costs speed."""
    graphs: bool = True
    """Repeat the launches of a step as one graph; without, each is made anew from Python."""


@dataclass(frozen=True)
class IsaacConfig(Checked):
    """How to reach Isaac Gym. Nothing in it changes the worlds, and all of it is of the user's machine."""

    python: str | None = machine(None)
    """Interpreter that has isaacgym, e.g. /opt/rlgpu/bin/python3.8; None = $HANDSIGHT_ISAAC_PYTHON."""
    compute_device: Annotated[int, Within(0, 1023)] = machine(0)
    """CUDA ordinal of the GPU that simulates."""
    graphics_device: Annotated[int, Within(-1, 1023)] = machine(0)
    """Vulkan ordinal of the GPU that renders: the same GPU, though it may be numbered otherwise; -1 renders nothing."""
    timeout: Annotated[float, Within(0.01, 86_400)] = machine(60.0)
    """Longest wait for a step, s; starting and building may take ten times as long."""


@dataclass(frozen=True)
class EnvConfig(Checked):
    """Everything about the environments but their number."""

    engine: EngineName = "mujoco"
    """Simulator: `mujoco` (CPU physics on all cores, ray-traced cameras), `mujoco_warp` (physics and cameras on a GPU:
    docs/gpu.md) or `isaacgym` (your own installation of Isaac Gym Preview 4, behind its own interpreter:
    docs/isaac.md)."""
    scene: SceneConfig = field(default_factory=SceneConfig)
    """Model, time step and camera rig."""
    task: Annotated[
        Annotated[GraspConfig, Tag("grasp")]
        | Annotated[CarryConfig, Tag("carry")]
        | Annotated[PluginTask, Tag("plugin")],
        Discriminator(_which),
    ] = field(default_factory=GraspConfig)
    """Actions, resets, rewards and randomisation."""
    threads: Annotated[int | None, Within(1, 1024)] = machine(None)
    """Threads of the CPU engine; None = all cores. Does not change results."""
    warp: WarpConfig = field(default_factory=WarpConfig)
    """Room for contacts and repeatability, for the engine `mujoco_warp`."""
    isaac: IsaacConfig = field(default_factory=IsaacConfig)
    """Where Isaac Gym is, for the engine `isaacgym`."""

    def with_postures(self, postures: Postures) -> EnvConfig:
        """The same environments, whose episodes begin with these arm postures."""
        return replace(self, task=replace(self.task, postures=postures))

    def at_level(self, level: int | None) -> EnvConfig:
        """The same environments at a level of randomisation; None: at their own.

        Raises:
            HandsightError: there is no such level.
        """
        return self if level is None else replace(self, task=replace(self.task, level=level))


def _of_today(transport: object) -> object:
    """Configurations of the first edition may name a transport that is gone."""
    if transport in ("gloo", "nccl"):
        warnings.warn(f"transport {transport!r} is gone: reading it as {OBJECT_STORE!r}", stacklevel=2)
        return OBJECT_STORE
    return transport


@dataclass(frozen=True)
class RemoteConfig(Checked):
    """How the learner deals with its simulators; all of it is of the user's machine."""

    address: str | None = machine(None)
    """Address of an existing Ray cluster, host:port; None starts one on this machine, for it alone."""
    transport: Annotated[Literal["object-store", "cuda-ipc"], BeforeValidator(_of_today)] = machine(OBJECT_STORE)
    """How observations travel: "object-store", through the hosts' shared memory, or "cuda-ipc", by Ray Direct Transport
    between GPUs of one host."""
    double_buffer: bool = machine(False)
    """Step the simulators in two halves, so that one simulates while the policy decides for the other."""
    step_timeout: Annotated[float, Within(0.01, 86_400)] = machine(4.0)
    """Seconds without an answer after which a simulator counts as hung; never less than five times its slowest step."""
    build_timeout: Annotated[float, Within(0.01, 86_400)] = machine(120.0)
    """Seconds for a process to start and build its environments, in which kernels may have to be compiled."""
    spares: Annotated[int, Within(0, 1024)] = machine(1)
    """Processes on this machine that wait, with nothing but their imports in memory, to take over from a failed one."""
    max_failures: Annotated[int, Within(1, 1_000_000)] = machine(5)
    """Failures in a row of one simulator, without a step between them, that stop the run."""

    @property
    def direct(self) -> bool:
        """Whether Ray carries tensors from device to device."""
        return self.transport != OBJECT_STORE
