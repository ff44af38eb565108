"""A robot's bodies, joints, servos and sites, put into a scene as its arm's and its hand's file have them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mujoco
import numpy as np

from .mjcf_file import Part
from .robot import FIRM, HIDDEN_FROM_WRIST, RENDERED, Actuator, Point, Robot

HULL_VERTICES = 32
"""Most vertices of a mesh's hull: no more than 64 planes."""
HAND_FRICTION = (1.0, 0.02, 0.0005)
STIFFEST = {"arm": 0.16, "hand": 0.04}
"""Largest kp dt^2 over the inertia of a joint: gears have an inertia of their own, which many MJCF files leave out.
Both are those of `kuka_allegro`. With the arm's bare inertia a scripted grasp by its twin lifted all objects and lost
40 % of them again, as the wrist trembled; with its fingers' bare inertia it lifted 75 %. From 4 on a step comes back
larger than it went."""


@dataclass(frozen=True)
class Pose:
    """A place, m, and a unit quaternion w x y z in some frame."""

    pos: Point = (0.0, 0.0, 0.0)
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)

    @classmethod
    def of_arrays(cls, pos: Sequence[float] | np.ndarray, quat: np.ndarray) -> Pose:
        """From (3,) m and (4,) w x y z."""
        (x, y, z), (w, *turn) = map(float, pos), map(float, quat)
        return cls((x, y, z), (w, turn[0], turn[1], turn[2]))

    def then(self, other: Pose) -> Pose:
        """The pose of what has the pose `other` in this one's frame."""
        pos, quat = np.zeros(3), np.zeros(4)
        turn = np.array(other.quat) / np.linalg.norm(other.quat)
        mujoco.mju_mulPose(pos, quat, np.array(self.pos), np.array(self.quat), np.array(other.pos), turn)
        return Pose.of_arrays(pos, quat)

    def inverse(self) -> Pose:
        """The pose of this frame's parent in it."""
        pos, quat = np.zeros(3), np.zeros(4)
        mujoco.mju_negPose(pos, quat, np.array(self.pos), np.array(self.quat))
        return Pose.of_arrays(pos, quat)

    def of(self, point: Sequence[float] | np.ndarray) -> Point:
        """(3,) m: a point of this frame, in its parent's."""
        place = np.zeros(3)
        mujoco.mju_trnVecPose(place, np.array(self.pos), np.array(self.quat), np.asarray(point, dtype=float))
        return float(place[0]), float(place[1]), float(place[2])


@dataclass(frozen=True, eq=False)
class Assembly:
    """The two parts of a robot, and where they meet."""

    arm: Part
    """What the arm's file says."""
    hand: Part
    """What the hand's file says."""
    base: Pose
    """Pose of the arm's file in the world."""
    flange: int
    """Body of the arm that carries the hand."""
    mount: Pose
    """Pose of the hand's first body on the flange."""
    palm: int
    """Body of the hand that is the palm."""
    frame: Pose
    """The palm's frame in that body's own."""
    tips: tuple[tuple[int, Point], ...]
    """For each digit: body of the hand, and place in it, m."""


def build(a: Assembly, robot: Robot, spec: mujoco.MjSpec) -> None:
    """Add it all to a scene; robot: what its joints, servos and digits are called and can do."""
    arm = _add_bodies(spec, robot, a.arm, spec.worldbody, lambda body: a.base.then(_own_pose(a.arm, body)), a.arm)
    hand = _add_bodies(spec, robot, a.hand, arm[a.flange], lambda _: a.mount, a.arm)
    palm = hand[a.palm].add_body(name=robot.palm, pos=a.frame.pos, quat=a.frame.quat)
    palm.add_site(name=robot.grasp_site, pos=robot.grasp_pos)
    for digit, (body, place) in zip(robot.digits, a.tips, strict=True):
        hand[body].add_site(name=digit.tip, pos=place)
    for part in (a.arm, a.hand):
        _add_couplings(spec, part)
    for servo in robot.actuators:
        _add_servo(spec, servo, robot.torque_limit[robot.joints.index(servo.joints[0])])


def _own_pose(part: Part, body: int) -> Pose:
    return Pose.of_arrays(part.model.body_pos[body], part.model.body_quat[body])


def _add_bodies(
    spec: mujoco.MjSpec, robot: Robot, part: Part, parent: mujoco.MjsBody, first: Callable[[int], Pose], arm: Part
) -> list[mujoco.MjsBody]:
    """The part's bodies by their numbers in its file, 0 being `parent`. first(body): pose of one that hangs there."""
    model, bodies, is_hand = part.model, [parent], part is not arm
    near = int(arm.model.jnt_bodyid[max(arm.model.njnt - 2, 0)]) if arm.model.njnt else 0
    for number in range(1, model.nbody):
        above = int(model.body_parentid[number])
        pose = _own_pose(part, number) if above else first(number)
        body = bodies[above].add_body(name=part.scene_name("body", number), pos=pose.pos, quat=pose.quat, gravcomp=1)
        if model.body_mass[number] > 0:
            body.explicitinertial = True
            body.mass, body.ipos = float(model.body_mass[number]), model.body_ipos[number]
            body.iquat, body.inertia = model.body_iquat[number], model.body_inertia[number]
        seen = RENDERED if is_hand or number >= near else HIDDEN_FROM_WRIST
        for geom in part.kept_geoms(number, collide=is_hand):
            _add_geom(spec, body, part, geom, seen, solid=is_hand)
        for joint in range(model.body_jntadr[number], model.body_jntadr[number] + model.body_jntnum[number]):
            _add_joint(spec, body, robot, part, joint)
        bodies.append(body)
    return bodies


def _add_joint(spec: mujoco.MjSpec, body: mujoco.MjsBody, robot: Robot, part: Part, index: int) -> None:
    """As in its file, with at least the armature that its servo needs at the scene's time step (`STIFFEST`)."""
    model, name, dt = part.model, part.scene_name("joint", index), spec.option.timestep
    dof, own = int(model.jnt_dofadr[index]), STIFFEST["hand" if name in robot.hand else "arm"]
    stiff = [servo.kp * dt**2 / own for servo in robot.actuators if name in servo.joints]
    body.add_joint(
        name=name, type=mujoco.mjtJoint(model.jnt_type[index]), axis=model.jnt_axis[index],
        pos=model.jnt_pos[index], range=part.span(index), limited=1, damping=[float(model.dof_damping[dof]), 0, 0],
        armature=max(float(model.dof_armature[dof]), *stiff, 0.0), frictionloss=float(model.dof_frictionloss[dof]),
        stiffness=[float(model.jnt_stiffness[index]), 0, 0],
        springref=float(model.qpos_spring[model.jnt_qposadr[index]]),
    )  # fmt: skip


def _add_geom(spec: mujoco.MjSpec, body: mujoco.MjsBody, part: Part, geom: int, group: int, solid: bool) -> None:
    m, material = part.shapes, int(part.model.geom_matid[geom])
    rgba = part.model.mat_rgba[material] if material >= 0 else m.geom_rgba[geom]
    shape: dict = {"type": mujoco.mjtGeom(m.geom_type[geom]), "size": m.geom_size[geom]}
    if m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        name = f"{part.prefix}mesh_{m.geom_dataid[geom]}"
        if spec.mesh(name) is None:
            mesh = spec.add_mesh(name=name, maxhullvert=HULL_VERTICES)
            first = m.mesh_vertadr[m.geom_dataid[geom]]
            mesh.uservert = m.mesh_vert[first : first + m.mesh_vertnum[m.geom_dataid[geom]]].ravel()
        shape = {"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": name}
    contact: dict = {"contype": 0, "conaffinity": 0}
    if solid:
        contact = {"contype": 1, "conaffinity": 2, "condim": 4, "friction": HAND_FRICTION, **FIRM}
    body.add_geom(
        **shape, pos=m.geom_pos[geom], quat=m.geom_quat[geom], rgba=[*rgba[:3], 1], group=group, mass=0, **contact
    )


def _add_couplings(spec: mujoco.MjSpec, part: Part) -> None:
    """Joints that follow others, as a linkage makes them."""
    model, joint = part.model, partial(part.scene_name, "joint")
    for index in range(model.neq):
        if model.eq_type[index] == mujoco.mjtEq.mjEQ_JOINT and model.eq_obj2id[index] >= 0:
            equality = spec.add_equality(
                type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1=joint(model.eq_obj1id[index]),
                name2=joint(model.eq_obj2id[index]), solref=model.eq_solref[index], solimp=model.eq_solimp[index],
            )  # fmt: skip
            equality.data[:5] = model.eq_data[index, :5]


def _add_servo(spec: mujoco.MjSpec, servo: Actuator, torque: float) -> None:
    target, kind = servo.joints[0], mujoco.mjtTrn.mjTRN_JOINT
    if len(servo.joints) > 1:
        target, kind = servo.name, mujoco.mjtTrn.mjTRN_TENDON
        tendon = spec.add_tendon(name=servo.name)
        for name in servo.joints:
            tendon.wrap_joint(name, 1.0)
    limits = {} if math.isinf(torque) else {"forcerange": [-torque, torque], "forcelimited": 1}
    spec.add_actuator(name=servo.name, target=target, trntype=kind, **limits).set_to_position(kp=servo.kp, kv=servo.kv)
