"""The scene that every engine simulates: robot, table, one object of several kinds, lights and the stereo pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np

from ..errors import HandsightError
from .cameras import add_camera, add_cameras
from .env_config import SceneConfig, WallConfig
from .objects.choose import object_set
from .objects.object_set import ObjectSet
from .robots.mjcf import named_robot
from .robots.robot import FIRM, RENDERED, Robot

TABLE_CENTRE, TABLE_HALF = (0.62, 0.0), (0.45, 0.6)
"""m: centre and half size of the visible table top, which lies at z = 0."""
SOLID = {"contype": 2, "conaffinity": 3, "condim": 4, "friction": [0.8, 0.02, 0.0005], **FIRM}
"""Contacts of what stands still, with hand and object."""
OVERVIEW_EYE = (1.55, -0.95, 0.8)
"""m: where the camera of films stands, which turns with the object."""
TABLE_TEXTURES = 6
"""Patterns of the table top, one drawn for each environment."""


@dataclass(frozen=True)
class SceneIds:
    """Where the task finds its bodies, sites and sensors in the compiled model."""

    palm: int
    object: int
    grasp_site: int
    tip_sites: tuple[int, ...]
    """Fingertips in the order of the robot's digits."""
    object_geoms: tuple[int, ...]
    """Consecutive geoms of the object, in the order of its slots."""
    table_geom: int
    object_qvel: int
    """Where the object's linear, then its angular velocity begin in qvel."""
    touch: tuple[int, ...]
    """Addresses in sensordata: contacts found between the object and each digit, then the palm."""
    force: tuple[int, ...]
    """Addresses there: x, y and z of the contact force of each digit; none unless the scene measures `forces`."""
    arm_dofs: int
    robot_dofs: int
    light: int
    cameras: tuple[int, ...]
    """Left and right eye."""
    distractors: tuple[int, ...]
    """Consecutive geoms of what lies about the table."""
    table_materials: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """What an engine simulates: a robot at a table with one object. World frame: z up, table top at z = 0, the arm's
    base at the origin, x toward the table."""

    config: SceneConfig = field(default_factory=SceneConfig)
    """Time step, cameras and wall."""
    robot: Robot = None  # pyright: ignore[reportAssignmentType]
    """The arm and its hand; if not given, those that `config` names."""
    objects: ObjectSet = None  # pyright: ignore[reportAssignmentType]
    """What lies on the table; if not given, what `config` names."""
    forces: bool = False
    """Whether the contact force of each digit is measured, too."""
    distractors: int = 0
    """How many things may lie about the table, only to be looked at: boxes and cylinders in turn."""

    def __post_init__(self) -> None:
        """Raises HandsightError: the configuration names a robot or an object set that is not here."""
        if self.robot is None:
            object.__setattr__(self, "robot", named_robot(self.config.robot))
        if self.objects is None:
            object.__setattr__(self, "objects", object_set(self.config.objects))

    def build(self) -> mujoco.MjModel:
        """Compile it.

        Raises:
            HandsightError: the camera rig's mount is no body.
        """
        spec, robot = mujoco.MjSpec(), self.robot
        spec.compiler.degree = False
        spec.modelname = "handsight"
        _set_options(spec, self.config)
        robot.add_to(spec)
        _add_table(spec)
        if self.config.wall is not None:
            _add_wall(spec, self.config.wall)
        _add_object(spec, self.objects)
        if self.distractors:
            _add_distractors(spec, self.distractors)
        _add_lights(spec)
        add_cameras(self.config.rig, spec)
        for camera in self.config.cameras:
            add_camera(camera, spec)
        spec.worldbody.add_camera(
            name="overview", pos=OVERVIEW_EYE, fovy=18, quat=look_at(OVERVIEW_EYE, (0.55, 0, 0.1))
        )
        for digit in robot.digits:
            _add_touch(spec, digit.name, digit.root, mujoco.mjtObj.mjOBJ_XBODY)
            if self.forces:
                _add_touch(spec, f"force_{digit.name}", digit.root, mujoco.mjtObj.mjOBJ_XBODY, NET_FORCE)
        _add_touch(spec, "palm", robot.palm_touch or robot.palm, mujoco.mjtObj.mjOBJ_BODY)
        return spec.compile()

    def check_fit(self, model: mujoco.MjModel, kinds: tuple[str, ...]) -> None:
        """Whether the open hand goes around the narrowest side of each of these objects of meshes.

        Raises:
            HandsightError: one is wider than the fingertips are apart; names the widest.
        """
        if self.objects.meshes is None:
            return
        data, robot = mujoco.MjData(model), self.robot
        data.qpos[: len(robot.joints)] = [*robot.home, *robot.open_hand]
        mujoco.mj_kinematics(model, data)
        tips = data.site_xpos[[model.site(digit.tip).id for digit in robot.digits]]
        opening = float(np.linalg.norm(tips[:, None] - tips, axis=-1).max())
        narrow = {one.name: 2 * float(one.half.min()) for one in self.objects.meshes.solids if one.name in kinds}
        widest = max(narrow, key=lambda name: narrow[name])
        if narrow[widest] > opening:
            raise HandsightError(
                f"object set {self.objects.name!r} does not fit the hand of {robot.name}: {widest!r} is "
                f"{narrow[widest]:.3f} m wide at its narrowest, and the open fingertips are {opening:.3f} m apart"
            )

    def ids(self, model: mujoco.MjModel) -> SceneIds:
        """Look every name up once."""
        robot = self.robot
        return SceneIds(
            palm=model.body(robot.palm).id,
            object=model.body("object").id,
            grasp_site=model.site(robot.grasp_site).id,
            tip_sites=tuple(model.site(digit.tip).id for digit in robot.digits),
            object_geoms=tuple(model.geom(slot.name).id for slot in self.objects.slots),
            table_geom=model.geom("table").id,
            object_qvel=int(model.joint("object").dofadr[0]),
            touch=tuple(
                int(model.sensor(f"touch_{name}").adr[0]) for name in (*(digit.name for digit in robot.digits), "palm")
            ),
            force=tuple(
                int(model.sensor(f"touch_force_{digit.name}").adr[0]) + axis
                for digit in robot.digits * self.forces
                for axis in range(3)
            ),
            arm_dofs=len(robot.arm),
            robot_dofs=len(robot.joints),
            light=model.light("lamp").id,
            cameras=(model.camera("left").id, model.camera("right").id),
            distractors=tuple(model.geom(f"distractor_{number}").id for number in range(self.distractors)),
            table_materials=tuple(model.material(f"table_{i}").id for i in range(TABLE_TEXTURES)),
        )


def _set_options(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    option = spec.option
    option.timestep = config.timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON  # the CPU engine has one of its own
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    option.iterations, option.ls_iterations = 8, 8
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.15] * 3
    spec.visual.headlight.specular = [0, 0, 0]
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960


def _add_table(spec: mujoco.MjSpec) -> None:
    """A plane to stand on and a box to look at, whose material is drawn per world."""
    for i in range(TABLE_TEXTURES):
        _add_table_material(spec, i)
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2, 2, 0.1], group=4, **SOLID,
    )  # fmt: skip
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=[*TABLE_HALF, 0.02], pos=[*TABLE_CENTRE, -0.02],
        material="table_0", group=RENDERED, contype=0, conaffinity=0,
    )  # fmt: skip


def _add_wall(spec: mujoco.MjSpec, wall: WallConfig) -> None:
    spec.worldbody.add_geom(
        name="wall", type=mujoco.mjtGeom.mjGEOM_BOX, size=[*wall.half_size, wall.height / 2],
        pos=[*wall.centre, wall.height / 2], rgba=[*wall.rgb, 1], group=RENDERED, **SOLID,
    )  # fmt: skip


def _add_table_material(spec: mujoco.MjSpec, index: int) -> None:
    """Builtin textures of several patterns and scales; a colour per world is multiplied in."""
    checker = index % 2 == 0
    builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER if checker else mujoco.mjtBuiltin.mjBUILTIN_FLAT
    spec.add_texture(
        name=f"table_{index}", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=builtin, width=64, height=64,
        rgb1=[0.95, 0.95, 0.95], rgb2=[0.55 + 0.06 * index] * 3,
        mark=mujoco.mjtMark.mjMARK_NONE if checker else mujoco.mjtMark.mjMARK_RANDOM, markrgb=[0.4, 0.4, 0.4],
        random=0.02 * (index + 1),
    )  # fmt: skip
    material = spec.add_material(name=f"table_{index}", texrepeat=[3 + 2 * index, 4 + 2 * index], specular=0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"table_{index}"


def _add_object(spec: mujoco.MjSpec, objects: ObjectSet) -> None:
    body = spec.worldbody.add_body(name="object", pos=[*TABLE_CENTRE, 0.04])
    body.add_freejoint(name="object")
    body.explicitinertial = True
    body.mass, body.inertia = 0.1, [1e-4] * 3
    objects.add_to(
        spec, body, rgba=[0.2, 0.5, 0.8, 1], group=RENDERED, contype=2, conaffinity=1, condim=4,
        friction=[1.0, 0.02, 0.0005], priority=1, **FIRM,  # what touches it takes the object's friction
    )  # fmt: skip


def _add_distractors(spec: mujoco.MjSpec, count: int) -> None:
    """On a body that could be moved, as engines may take the world's own geoms to stand where they were compiled."""
    body = spec.worldbody.add_body(name="distractors", mocap=True)
    for number in range(count):
        kind = mujoco.mjtGeom.mjGEOM_CYLINDER if number % 2 else mujoco.mjtGeom.mjGEOM_BOX
        body.add_geom(
            name=f"distractor_{number}", type=kind, size=[0.05] * 3, pos=[0, 0, -5], group=RENDERED, contype=0,
            conaffinity=0, mass=0,
        )  # fmt: skip


def _add_lights(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_light(
        name="lamp", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0.6, 0, 1.5], dir=[0.1, 0.1, -1],
        diffuse=[0.6] * 3, specular=[0] * 3, ambient=[0.1] * 3, castshadow=False,
    )  # fmt: skip


FOUND, NET_FORCE = (1, 0, 1), (2, 3, 1)
"""What a contact sensor says: how many contacts there are; or the sum of their forces, N, world frame."""


def _add_touch(
    spec: mujoco.MjSpec, name: str, body: str, kind: mujoco.mjtObj, what: tuple[int, int, int] = FOUND
) -> None:
    """A sensor of contacts between the object and everything below `body`, or as a BODY itself only."""
    spec.add_sensor(
        name=f"touch_{name}", type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=kind, objname=body,
        reftype=mujoco.mjtObj.mjOBJ_BODY, refname="object", intprm=[*what],
    )  # fmt: skip


def look_at(eye: Sequence[float] | np.ndarray, target: Sequence[float] | np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z) of a camera at `eye` that looks at `target`, both (3,) m, with z up."""
    back = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quat
