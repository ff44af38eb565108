"""One MJCF file as MuJoCo compiles it: refused if it leads out of its folder, meshes as hulls or as primitives."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import mujoco
import numpy as np

from ...errors import unknown
from ...files import read_text
from ..assets import AssetError

Geometry = Literal["mesh", "capsule", "box"]
FIXED_TENDON = int(mujoco.mjtWrap.mjWRAP_JOINT)
LONG, FLAT = 1.3, 1.7
"""A box is a capsule, too, if it is so much longer than wide, and no wider than so many times its thickness."""
DIRECTORIES = ("meshdir", "texturedir", "assetdir")


@dataclass(frozen=True, eq=False)
class Part:
    """An arm or a hand: what its file says. Names in a scene have `prefix` before those of the file."""

    prefix: str
    """What its names begin with: "arm_" or "hand_"."""
    path: Path
    """MJCF file that it comes from."""
    model: mujoco.MjModel
    """As the file is: joints, masses, actuators."""
    shapes: mujoco.MjModel
    """The same, with the shapes that meshes are to have."""
    dropped: tuple[str, ...]
    """What of the file is left out, in words."""

    def names(self, kind: str) -> list[str]:
        """Those that the file gives to its "body", "joint", "site", "geom" or "actuator"."""
        count = {"joint": "njnt", "actuator": "nu"}.get(kind, f"n{kind}")
        return [getattr(self.model, kind)(index).name for index in range(getattr(self.model, count))]

    def find(self, name: str, kinds: Sequence[str], what: str) -> tuple[str, int]:
        """Kind and number of the first of these kinds that has this name.

        Raises:
            AssetError: none has; names the nearest ones.
        """
        for kind in kinds:
            if name and name in (names := self.names(kind)):
                return kind, names.index(name)
        known = [one for kind in kinds for one in self.names(kind) if one and one != "world"]
        raise AssetError(f"{what}: {unknown(' or '.join(kinds), name, known)} in {self.path.name}")

    def scene_name(self, kind: str, index: int) -> str:
        """What a "body" or "joint" is called in a scene."""
        return f"{self.prefix}{getattr(self.model, kind)(index).name or index}"

    def span(self, joint: int) -> tuple[float, float]:
        """Lowest and highest position of a joint, rad, or m where it slides; two turns, if it has no limits."""
        low, high = self.model.jnt_range[joint] if self.model.jnt_limited[joint] else (-2 * np.pi, 2 * np.pi)
        return float(low), float(high)

    def posed(self, joints: np.ndarray | None = None) -> mujoco.MjData:
        """Where everything is for joint positions (J,), each joint having one; None: as the file has them."""
        data = mujoco.MjData(self.model)
        if joints is not None:
            data.qpos[self.model.jnt_qposadr] = joints
        mujoco.mj_kinematics(self.model, data)
        return data

    def kept_geoms(self, body: int, collide: bool) -> list[int]:
        """Geoms of a body that a scene has: those that collide, or, where nothing may, the fewer of these and those
        that are only to be looked at."""
        first = self.model.body_geomadr[body]
        all_of_them = range(first, first + self.model.body_geomnum[body])
        solid = [g for g in all_of_them if self.model.geom_contype[g] or self.model.geom_conaffinity[g]]
        if collide and (self.shapes.geom_contype | self.shapes.geom_conaffinity).any():
            return solid
        visual = [g for g in all_of_them if g not in solid]
        return min((found for found in (solid, visual) if found), key=len, default=[])


def read_part(path: Path, root: Path, prefix: str, geometry: Geometry) -> Part:
    """Compile one MJCF file; its free joints and keyframes are dropped.

    Args:
        path: of the file.
        root: folder that nothing in the file may lead out of.
        prefix: see `Part`.
        geometry: what meshes become.

    Raises:
        AssetError: no such file, a place outside `root`, or not what MuJoCo can compile.
    """
    _refuse_outside(path, path, root, set())
    try:
        dropped, model = _compile(path, None)
        shapes = model if geometry == "mesh" else _compile(path, mujoco.mjtGeom.mjGEOM_BOX)[1]
    except (ValueError, TypeError) as error:
        raise AssetError(f"{path.name}: MuJoCo cannot compile it: {error}") from error
    if geometry == "capsule":
        _round(shapes)
    return Part(prefix, path, model, shapes, dropped)


def _round(shapes: mujoco.MjModel) -> None:
    """Turn long boxes into capsules, written into the model: fingers hold better by one round side than by edges, as
    there are fewer contacts and their normals do not jump."""
    for geom in np.flatnonzero(shapes.geom_type == mujoco.mjtGeom.mjGEOM_BOX):
        half, turn, axis = shapes.geom_size[geom], np.zeros(4), np.zeros(3)
        thin, wide, long = np.sort(half)
        if long < LONG * wide or wide > FLAT * thin:
            continue
        axis[int(np.argmax(half))] = 1
        mujoco.mju_quatZ2Vec(turn, axis)
        quat = shapes.geom_quat[geom].copy()
        mujoco.mju_mulQuat(shapes.geom_quat[geom], quat, turn)
        radius = (thin + wide) / 2
        shapes.geom_type[geom], shapes.geom_size[geom] = mujoco.mjtGeom.mjGEOM_CAPSULE, [radius, long - radius, 0]
        shapes.geom_aabb[geom] = [0, 0, 0, radius, radius, long]


def _compile(path: Path, fitted: mujoco.mjtGeom | None) -> tuple[tuple[str, ...], mujoco.MjModel]:
    spec = mujoco.MjSpec.from_file(str(path))
    free = [joint for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_FREE]
    dropped = {"free joint": free, "keyframe": list(spec.keys)}
    for elements in dropped.values():
        for element in elements:
            spec.delete(element)
    for geom in spec.geoms if fitted is not None else ():
        if geom.meshname:
            geom.type = fitted
    words = tuple(f"{len(found)} {what}{'s' * (len(found) > 1)}" for what, found in dropped.items() if found)
    return words, spec.compile()


def _refuse_outside(path: Path, main: Path, root: Path, seen: set[Path]) -> None:
    """Raise AssetError where the file, or one that it includes, names a place outside `root`, before MuJoCo reads."""
    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    _check(path, root, path)
    try:
        tree = ElementTree.fromstring(read_text(path, AssetError))
    except OSError as error:
        raise AssetError(f"{path}: expected an MJCF file, found {error}") from error
    except ElementTree.ParseError as error:
        raise AssetError(f"{path} is not XML: {error}") from error
    folders = {path.parent, main.parent}
    folders |= {
        folder / one.get(name, "") for one in tree.iter("compiler") for name in DIRECTORIES for folder in folders
    }
    for element in tree.iter():
        for name in (value for key, value in element.items() if key.startswith("file")):
            for folder in folders:
                _check(folder / name, root, path)
        if element.tag == "include":
            for included in {folder / element.get("file", "") for folder in folders}:
                if included.is_file():
                    _refuse_outside(included, main, root, seen)


def _check(place: Path, root: Path, where: Path) -> None:
    if not place.resolve().is_relative_to(root.resolve()):
        raise AssetError(f"{where.name}: {str(place)!r} leads out of {root}; expected a place inside")


def moved_joints(model: mujoco.MjModel, actuator: int) -> tuple[list[int], float]:
    """Joints that an actuator moves, and by how much it turns for each radian of one of them; no joints, and 0, if it
    is neither at a joint nor at a fixed tendon that pulls all of its joints alike."""
    kind, target = int(model.actuator_trntype[actuator]), int(model.actuator_trnid[actuator, 0])
    gear = float(model.actuator_gear[actuator, 0])
    if kind in (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT)):
        return [target], gear
    if kind != int(mujoco.mjtTrn.mjTRN_TENDON):
        return [], 0.0
    first = model.tendon_adr[target]
    wraps = range(first, first + model.tendon_num[target])
    pulls: Collection[float] = {float(model.wrap_prm[w]) for w in wraps}
    if len(pulls) != 1 or any(model.wrap_type[w] != FIXED_TENDON for w in wraps):
        return [], 0.0
    return [int(model.wrap_objid[w]) for w in wraps], gear * next(iter(pulls))
