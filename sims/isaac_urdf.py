"""The scene as URDF, which Isaac Gym imports: written from the model that MuJoCo compiled.

Isaac Gym also reads MJCF, but its importer wants one body below the world (ours holds a robot, a table and an object),
ignores position servos and gravity compensation, and knows nothing of sizes that differ between worlds. URDF has no
capsule: links are written as cylinders, which the import option `replace_cylinder_with_capsule` turns into capsules of
the same straight length. Servos, armature and friction are set on the imported actor; sites and sensors stay with us.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from .objects import TINY
from .robot import TORQUE_LIMIT, VELOCITY_LIMIT
from .scene import OBJECT_GEOMS

BOX, CAPSULE, CYLINDER = (int(getattr(mujoco.mjtGeom, f"mjGEOM_{name}")) for name in ("BOX", "CAPSULE", "CYLINDER"))
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def robot_urdf(model: mujoco.MjModel) -> str:
    """Arm and hand with every link and joint under its own name; fixed at the link `base`. Lengths m, masses kg."""
    robot = Element("robot", name="handsight")
    for body in range(model.body("base").id, model.body("object").id):
        link = _add_link(robot, model.body(body).name, model.body_mass[body], model.body_ipos[body],
                         model.body_iquat[body], model.body_inertia[body])  # fmt: skip
        for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
            collides = bool(model.geom_contype[geom] or model.geom_conaffinity[geom])
            shape = int(model.geom_type[geom]), model.geom_size[geom]
            _add_shape(link, shape, model.geom_pos[geom], model.geom_quat[geom], model.geom_rgba[geom], collides)
        if model.body(body).name != "base":
            _add_joint(robot, model, body)
    return _text(robot)


def object_urdf(mass: float, com: np.ndarray, inertia: np.ndarray, sizes: np.ndarray, places: np.ndarray) -> str:
    """One world's object.

    Args:
        mass: kg.
        com: (3,) m, centre of mass in the object's frame.
        inertia: (3,) kg m^2, principal moments about it.
        sizes: (G, 3) m, of the geoms in `OBJECT_GEOMS`, MuJoCo's convention; those of `TINY` are left out.
        places: (G, 3) m.
    """
    robot = Element("robot", name="object")
    link = _add_link(robot, "object", mass, com, UPRIGHT, inertia)
    for name, size, place in zip(OBJECT_GEOMS, sizes, places, strict=True):
        if size[0] > TINY:
            shape = CYLINDER if name.endswith("cylinder") else BOX
            _add_shape(link, (shape, size), place, UPRIGHT, (1, 1, 1, 1), collides=True)
    return _text(robot)


def _add_link(
    robot: Element, name: str, mass: float, com: np.ndarray, quat: Iterable[float], inertia: np.ndarray
) -> Element:
    link = SubElement(robot, "link", name=name)
    inertial = SubElement(link, "inertial")
    _add_origin(inertial, com, quat)
    SubElement(inertial, "mass", value=_numbers([mass]))
    moments = dict(zip(("ixx", "iyy", "izz"), (_numbers([value]) for value in inertia), strict=True))
    SubElement(inertial, "inertia", moments | {"ixy": "0", "ixz": "0", "iyz": "0"})
    return link


def _add_shape(
    link: Element, shape: tuple[int, np.ndarray], place: np.ndarray, quat: Iterable[float], rgba: Iterable[float],
    collides: bool,
) -> None:  # fmt: skip
    """What is seen, and the same again for what collides; a capsule is seen with its two round ends."""
    kind, size = shape
    radius, length = _numbers(size[:1]), _numbers([2 * size[1]])
    body: tuple[str, dict[str, str]] = ("cylinder", {"radius": radius, "length": length})
    if kind == BOX:
        body = ("box", {"size": _numbers(2 * size)})
    parts = [("visual", place, body)] + [("collision", place, body)] * collides
    if kind == CAPSULE:
        axis = Rotation.from_quat(np.array(quat), scalar_first=True).apply([0.0, 0.0, size[1]])
        parts += [("visual", place + end, ("sphere", {"radius": radius})) for end in (axis, -axis)]
    for role, where, (tag, attributes) in parts:
        element = SubElement(link, role)
        _add_origin(element, where, quat)
        SubElement(SubElement(element, "geometry"), tag, attributes)
        if role == "visual":
            name = "_".join(f"{round(255 * part):02x}" for part in rgba)
            SubElement(SubElement(element, "material", name=name), "color", rgba=_numbers(rgba))


def _add_joint(robot: Element, model: mujoco.MjModel, body: int) -> None:
    moves = model.body_jntnum[body] == 1
    name = model.body(body).name
    joint = SubElement(robot, "joint", name=name, type="revolute" if moves else "fixed")
    _add_origin(joint, model.body_pos[body], model.body_quat[body])
    SubElement(joint, "parent", link=model.body(model.body_parentid[body]).name)
    SubElement(joint, "child", link=name)
    if moves:
        index = int(model.body_jntadr[body])
        low, high = model.jnt_range[index]
        SubElement(joint, "axis", xyz=_numbers(model.jnt_axis[index]))
        limits = {"lower": low, "upper": high, "effort": TORQUE_LIMIT[index], "velocity": VELOCITY_LIMIT[index]}
        SubElement(joint, "limit", {key: _numbers([value]) for key, value in limits.items()})


def _add_origin(element: Element, place: Iterable[float], quat: Iterable[float]) -> None:
    """URDF turns by fixed-axis roll, pitch and yaw. quat: w x y z."""
    turn = Rotation.from_quat(np.array(quat), scalar_first=True).as_euler("xyz", suppress_warnings=True)
    SubElement(element, "origin", xyz=_numbers(place), rpy=_numbers(turn))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)


def _text(robot: Element) -> str:
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode")
