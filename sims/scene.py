"""The scene that every engine simulates: robot, table, one object of several kinds, lights and the stereo pair."""

from __future__ import annotations

from dataclasses import dataclass, field

import mujoco
import numpy as np

from ..errors import HandsightError
from .cameras import CameraRig
from .robots.kuka_allegro import ARM_JOINTS, DIGITS, HAND_JOINTS, RENDERED, SOFT, add_robot

TABLE_CENTRE, TABLE_HALF = (0.62, 0.0), (0.45, 0.6)
"""m: centre and half size of the visible table top, which lies at z = 0."""
OBJECT_GEOMS = ("object_box_a", "object_box_b", "object_cylinder")
"""Slots from which every kind of object is put together; the unused ones shrink into the middle."""
TABLE_TEXTURES = 6


@dataclass(frozen=True)
class WallConfig:
    """An upright board on the table, as the side of a bin: it stops hand and object, and hides what stands behind it.
    The arm's links pass through it, as through the table: like there, only the hand collides."""

    centre: tuple[float, float] = (0.62, 0.285)
    """m: middle of its footprint on the table, x and y."""
    half_size: tuple[float, float] = (0.25, 0.008)
    """m: half extents of its footprint along x and y."""
    height: float = 0.2
    """m."""
    rgb: tuple[float, float, float] = (0.36, 0.25, 0.2)
    """Colour, 0..1, the same in every world."""

    def __post_init__(self) -> None:
        if min(*self.half_size, self.height) <= 0:
            raise HandsightError(
                f"wall: expected half_size and height above 0 m, found half_size={self.half_size}, height={self.height}"
            )


@dataclass(frozen=True)
class SceneConfig:
    """What is compiled into the model; all worlds share it."""

    rig: CameraRig = field(default_factory=CameraRig)
    """The stereo pair."""
    wall: WallConfig | None = None
    """A board on the table, or None; the engine `isaacgym` has none and refuses it."""
    timestep: float = 0.008
    """Physics step, s."""
    substeps: int = 10
    """Physics steps in one control step."""

    @property
    def control_dt(self) -> float:
        """Seconds in one control step."""
        return self.timestep * self.substeps


@dataclass(frozen=True)
class SceneIds:
    """Where the task finds its bodies, sites and sensors in the compiled model."""

    palm: int
    object: int
    grasp_site: int
    tip_sites: tuple[int, ...]
    object_geoms: tuple[int, ...]
    table_geom: int
    object_qpos: int
    object_qvel: int
    touch: tuple[int, ...]
    """Addresses in sensordata: contacts found between the object and index, middle, ring, thumb, palm."""
    robot_dofs: int
    light: int
    cameras: tuple[int, ...]
    table_materials: tuple[int, ...]


def build_model(config: SceneConfig) -> mujoco.MjModel:
    """Compile the scene. World frame: z up, table top at z = 0, the arm's base at the origin, x toward the table."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.modelname = "handsight"
    _set_options(spec, config)
    add_robot(spec)
    _add_table(spec)
    if config.wall is not None:
        _add_wall(spec, config.wall)
    _add_object(spec)
    _add_lights(spec)
    config.rig.add_to(spec)
    spec.worldbody.add_camera(name="overview", pos=[1.55, -0.95, 0.8], fovy=30, quat=_look_at((1.55, -0.95, 0.8)))
    for body in (*(f"{digit}_0" for digit in DIGITS), "palm"):
        _add_touch(spec, body)
    return spec.compile()


def scene_ids(model: mujoco.MjModel) -> SceneIds:
    """Look every name up once."""
    free = model.joint("object").id
    return SceneIds(
        palm=model.body("palm").id,
        object=model.body("object").id,
        grasp_site=model.site("grasp").id,
        tip_sites=tuple(model.site(f"{digit}_tip").id for digit in DIGITS),
        object_geoms=tuple(model.geom(name).id for name in OBJECT_GEOMS),
        table_geom=model.geom("table").id,
        object_qpos=int(model.jnt_qposadr[free]),
        object_qvel=int(model.jnt_dofadr[free]),
        touch=tuple(int(model.sensor(f"touch_{body}").adr[0]) for body in (*DIGITS, "palm")),
        robot_dofs=len(ARM_JOINTS) + len(HAND_JOINTS),
        light=model.light("lamp").id,
        cameras=(model.camera("left").id, model.camera("right").id),
        table_materials=tuple(model.material(f"table_{i}").id for i in range(TABLE_TEXTURES)),
    )


def _set_options(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    option = spec.option
    option.timestep = config.timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
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
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2, 2, 0.1], group=4,
        contype=2, conaffinity=3, condim=4, friction=[0.8, 0.02, 0.0005], **SOFT,
    )  # fmt: skip
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=[*TABLE_HALF, 0.02], pos=[*TABLE_CENTRE, -0.02],
        material="table_0", group=RENDERED, contype=0, conaffinity=0,
    )  # fmt: skip


def _add_wall(spec: mujoco.MjSpec, wall: WallConfig) -> None:
    spec.worldbody.add_geom(
        name="wall", type=mujoco.mjtGeom.mjGEOM_BOX, size=[*wall.half_size, wall.height / 2],
        pos=[*wall.centre, wall.height / 2], rgba=[*wall.rgb, 1], group=RENDERED,
        contype=2, conaffinity=3, condim=4, friction=[0.8, 0.02, 0.0005], **SOFT,
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


def _add_object(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="object", pos=[*TABLE_CENTRE, 0.04])
    body.add_freejoint(name="object")
    body.explicitinertial = True
    body.mass, body.inertia = 0.1, [1e-4] * 3
    shapes = (mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER)
    for name, shape in zip(OBJECT_GEOMS, shapes, strict=True):
        body.add_geom(
            name=name, type=shape, size=[0.03, 0.03, 0.04], rgba=[0.2, 0.5, 0.8, 1], group=RENDERED,
            contype=2, conaffinity=1, condim=4, friction=[1.0, 0.02, 0.0005], **SOFT,
        )  # fmt: skip


def _add_lights(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_light(
        name="lamp", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0.6, 0, 1.5], dir=[0.1, 0.1, -1],
        diffuse=[0.6] * 3, specular=[0] * 3, ambient=[0.1] * 3, castshadow=False,
    )  # fmt: skip


def _add_touch(spec: mujoco.MjSpec, body: str) -> None:
    """A sensor that counts contacts between the object and everything below `body` (the palm: itself only)."""
    whole = body != "palm"
    name = body.removesuffix("_0")
    spec.add_sensor(
        name=f"touch_{name}", type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_XBODY if whole else mujoco.mjtObj.mjOBJ_BODY, objname=body,
        reftype=mujoco.mjtObj.mjOBJ_BODY, refname="object", intprm=[1, 0, 1],
    )  # fmt: skip


def _look_at(eye: tuple[float, float, float], target: tuple[float, float, float] = (0.55, 0.0, 0.2)) -> np.ndarray:
    """Quaternion (w, x, y, z) of a camera at `eye` that looks at `target` with z up."""
    back = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quat
