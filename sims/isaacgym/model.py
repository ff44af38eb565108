"""What the Isaac Gym worker is told: names, shared arrays, and the description of the worlds that it builds."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..cameras import eye_poses
from ..env_config import CameraRig
from ..objects.object_set import TINY, ObjectSet
from ..robots.robot import Robot
from ..scene import TABLE_CENTRE, Scene
from ..world_params import WorldParams

SPACING = 3.0
"""m between neighbouring worlds."""
ISAAC_CAMERA = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""Axes of Isaac Gym's camera (x forward, y left, z up) as columns in MuJoCo's (x right, y up, z back)."""


def links(robot: Robot, model: mujoco.MjModel) -> tuple[str, ...]:
    """Links that the worker reports: those of the arm's joints, of the hand's, and the palm; the others do not move or
    are not asked for."""
    return (*(model.body(int(model.joint(name).bodyid[0])).name for name in robot.joints), robot.palm)


def shared_arrays(
    n: int, scene: Scene, model: mujoco.MjModel, groups: Collection[str]
) -> dict[str, tuple[tuple[int, ...], str]]:
    """{name: (shape, dtype)}. Angles rad, lengths m, quaternions w x y z, world frame.

    To the worker: targets (N, J); reset (N,) which worlds to set, with reset_joints (N, J, 2) position and velocity
    and reset_object (N, 13) pose, linear and angular velocity; textures.
    From it: joints and object as above; links (N, L, 7) poses; force (N, L) N, net contact force; images.
    """
    rig, joints, bodies = scene.config.rig, len(scene.robot.joints), len(links(scene.robot, model))
    arrays: dict[str, tuple[tuple[int, ...], str]] = {
        "targets": ((n, joints), "float32"), "reset": ((n,), "uint8"),
        "reset_joints": ((n, joints, 2), "float32"), "reset_object": ((n, 13), "float32"),
        "joints": ((n, joints, 2), "float32"), "links": ((n, bodies, 7), "float32"),
        "object": ((n, 13), "float32"), "force": ((n, bodies), "float32"),
    }  # fmt: skip
    if groups:
        arrays["object_pixels"] = ((n, 1 + ("stereo" in groups)), "int32")
        arrays["textures"] = ((model.ntex, int(model.tex_height[0]), int(model.tex_width[0]), 4), "uint8")
    if "depth" in groups:
        arrays["depth"] = ((n, 1, rig.height, rig.width), "float32")
    if "stereo" in groups:
        arrays["stereo"] = ((n, 2, 3, rig.height, rig.width), "uint8")
    return arrays


def build_spec(scene: Scene, model: mujoco.MjModel, params: WorldParams, groups: Collection[str]) -> dict[str, Any]:
    """Arguments of the worker's command `build`, JSON: a robot, and for each world its object, servos and looks."""
    p = {name: value.cpu().numpy() for name, value in params.known.items()}
    shapes = zip(p["mass"], p["com"], p["inertia"], p["geom_size"], p["geom_pos"], strict=True)
    top, config, robot = model.geom("table"), scene.config, scene.robot
    return {
        "timestep": config.timestep,
        "spacing": SPACING,
        "joints": robot.joints,
        "links": links(robot, model),
        "robot": robot_urdf(model, robot),
        "objects": [object_urdf(scene.objects, float(shape[0]), *shape[1:]) for shape in shapes],
        "table": {"size": (2 * top.size).tolist(), "position": [*TABLE_CENTRE, float(top.pos[2])]},
        "drives": _drives(robot, model, p),
        "friction": p["friction"].tolist(),
        "render": list(groups),
        "rig": _rig(config.rig),
        "cameras": _camera_poses(config.rig, params) if groups else [[]] * len(p["mass"]),
        "looks": _looks(model, p),
    }


def _drives(robot: Robot, model: mujoco.MjModel, p: dict[str, np.ndarray]) -> dict[str, Any]:
    """PhysX's drive damps the joint with what MuJoCo splits into the servo's kv and the joint's own damping."""
    joints = len(robot.joints)
    parts = ((p["arm_gain"], len(robot.arm)), (p["hand_gain"], len(robot.hand)))
    gain = np.concatenate([np.repeat(factor[:, None], count, 1) for factor, count in parts], 1)
    stiffness, damping = model.actuator_gainprm[:joints, 0] * gain, -model.actuator_biasprm[:joints, 2] * gain
    return {
        "stiffness": stiffness.tolist(),
        "damping": (damping + model.dof_damping[:joints]).tolist(),
        "armature": model.dof_armature[:joints].tolist(),
        "effort": list(robot.torque_limit),
        "velocity": list(robot.velocity_limit),
    }


def _rig(rig: CameraRig) -> dict[str, Any]:
    wide = 2 * math.atan(math.tan(math.radians(rig.fov_y) / 2) * rig.width / rig.height)
    return {"mount": rig.mount, "height": rig.height, "width": rig.width, "horizontal_fov": math.degrees(wide)}


def _camera_poses(rig: CameraRig, params: WorldParams) -> list[list[list[float]]]:
    """For each world and eye: position, then quaternion x y z w, of Isaac Gym's camera in the mount's frame."""
    places, quats = (part.cpu().numpy() for part in eye_poses(rig, params, torch.float64))
    turned = Rotation.from_quat(quats.reshape(-1, 4), scalar_first=True) * Rotation.from_matrix(ISAAC_CAMERA)
    return np.concatenate([places, turned.as_quat().reshape(quats.shape)], -1).tolist()


def _looks(model: mujoco.MjModel, p: dict[str, np.ndarray]) -> dict[str, Any]:
    """Isaac Gym has one light for all worlds: the mean of theirs."""
    ambient = float(model.vis.headlight.ambient[0] + model.light("lamp").ambient[0])
    return {
        "object": p["object_rgb"].tolist(),
        "table": p["table_rgb"].tolist(),
        "texture": p["table_texture"].tolist(),
        "light": {
            "intensity": [float(p["light_diffuse"].mean())] * 3,
            "ambient": [ambient] * 3,
            "direction": p["light_dir"].mean(0).tolist(),
        },
    }


BOX, CAPSULE, CYLINDER = (int(getattr(mujoco.mjtGeom, f"mjGEOM_{name}")) for name in ("BOX", "CAPSULE", "CYLINDER"))
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def robot_urdf(model: mujoco.MjModel, robot: Robot) -> str:
    """Arm and hand with every link and joint under its own name; fixed at its first link. Lengths m, masses kg."""
    root = Element("robot", name="handsight")
    for body in range(1, model.body("object").id):
        link = _add_link(root, model.body(body).name, model.body_mass[body], model.body_ipos[body],
                         model.body_iquat[body], model.body_inertia[body])  # fmt: skip
        for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
            collides = bool(model.geom_contype[geom] or model.geom_conaffinity[geom])
            shape = int(model.geom_type[geom]), model.geom_size[geom]
            _add_shape(link, shape, model.geom_pos[geom], model.geom_quat[geom], model.geom_rgba[geom], collides)
        if model.body_parentid[body]:
            _add_joint(root, model, body, robot)
    return _text(root)


def object_urdf(
    objects: ObjectSet, mass: float, com: np.ndarray, inertia: np.ndarray, sizes: np.ndarray, places: np.ndarray
) -> str:
    """One world's object.

    Args:
        objects: the set that it belongs to.
        mass: kg.
        com: (3,) m, centre of mass in the object's frame.
        inertia: (3,) kg m^2, principal moments about it.
        sizes: (G, 3) m, of the slots' geoms, MuJoCo's convention; those of `TINY` are left out.
        places: (G, 3) m.
    """
    robot = Element("robot", name="object")
    link = _add_link(robot, "object", mass, com, UPRIGHT, inertia)
    for slot, size, place in zip(objects.slots, sizes, places, strict=True):
        if size[0] > TINY:
            shape = CYLINDER if slot.is_round else BOX
            _add_shape(link, (shape, size), place, UPRIGHT, (1, 1, 1, 1), collides=True)
    return _text(robot)


def _add_link(
    robot: Element, name: str, mass: float, com: np.ndarray, quat: Iterable[float], inertia: np.ndarray
) -> Element:
    link = _add(robot, "link", name=name)
    inertial = _add(link, "inertial")
    _add_origin(inertial, com, quat)
    _add(inertial, "mass", value=mass)
    x, y, z = inertia
    _add(inertial, "inertia", ixx=x, iyy=y, izz=z, ixy=0, ixz=0, iyz=0)
    return link


def _add_shape(
    link: Element, shape: tuple[int, np.ndarray], place: np.ndarray, quat: Iterable[float], rgba: Iterable[float],
    collides: bool,
) -> None:  # fmt: skip
    """What is seen, and the same again for what collides; a capsule is seen with its two round ends."""
    kind, size = shape
    body: tuple[str, dict[str, Any]] = ("cylinder", {"radius": size[0], "length": 2 * size[1]})
    if kind == BOX:
        body = ("box", {"size": 2 * size})
    parts = [("visual", place, body)] + [("collision", place, body)] * collides
    if kind == CAPSULE:
        axis = Rotation.from_quat(np.array(quat), scalar_first=True).apply([0.0, 0.0, size[1]])
        parts += [("visual", place + end, ("sphere", {"radius": size[0]})) for end in (axis, -axis)]
    for role, where, (tag, measures) in parts:
        element = _add(link, role)
        _add_origin(element, where, quat)
        _add(_add(element, "geometry"), tag, **measures)
        if role == "visual":
            name = "_".join(f"{round(255 * part):02x}" for part in rgba)
            _add(_add(element, "material", name=name), "color", rgba=rgba)


def _add_joint(root: Element, model: mujoco.MjModel, body: int, robot: Robot) -> None:
    moves = model.body_jntnum[body] == 1
    name = model.body(body).name
    joint = _add(root, "joint", name=name, type="revolute" if moves else "fixed")
    _add_origin(joint, model.body_pos[body], model.body_quat[body])
    _add(joint, "parent", link=model.body(model.body_parentid[body]).name)
    _add(joint, "child", link=name)
    if moves:
        index = int(model.body_jntadr[body])
        low, high = model.jnt_range[index]
        _add(joint, "axis", xyz=model.jnt_axis[index])
        effort, velocity = robot.torque_limit[index], robot.velocity_limit[index]
        _add(joint, "limit", lower=low, upper=high, effort=effort, velocity=velocity)


def _add_origin(element: Element, place: Iterable[float], quat: Iterable[float]) -> None:
    """URDF turns by fixed-axis roll, pitch and yaw. quat: w x y z."""
    turn = Rotation.from_quat(np.array(quat), scalar_first=True).as_euler("xyz", suppress_warnings=True)
    _add(element, "origin", xyz=place, rpy=turn)


def _add(parent: Element, tag: str, **attributes: Any) -> Element:
    """Attributes are words, numbers, or several numbers."""
    words = {
        name: value if isinstance(value, str) else " ".join(f"{number:.9g}" for number in np.ravel(value))
        for name, value in attributes.items()
    }
    return SubElement(parent, tag, words)


def _text(robot: Element) -> str:
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode")
