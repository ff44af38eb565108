"""Any arm with any hand: from a TOML file and two MJCF files to a `Robot`, built anew of what they say.

The frame of the body `palm` is the house's (x out of the palm, z along the fingers), whatever the hand's own is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from ... import plugins
from ...errors import unknown
from ..assets import AssetError, folders
from .description import DigitConfig, PalmConfig, RobotConfig, read_robot, robot_file
from .kuka_allegro import KUKA_ALLEGRO
from .mjcf_file import Part, moved_joints, read_part
from .rebuilt import Assembly, Pose, build
from .robot import ActionSpace, Actuator, Digit, Robot

ARM_SPEED, HAND_SPEED, SLIDE_SPEED = 2.0, 8.0, 0.5
"""rad/s, and m/s where a joint of the arm slides: what an MJCF does not say, if the TOML file does not either."""
SLACK = 1e-3
"""rad: a posture may be rounded."""
PALM4 = "palm4+closure2"
MENAGERIE = "menagerie:"
"""What the name of a file begins with that MuJoCo Menagerie has."""


def named_robot(name: str) -> Robot:
    """The robot that artefacts call so.

    Raises:
        AssetError: it is not here, or its files are not what they should be.
    """
    if name == KUKA_ALLEGRO.name:
        return KUKA_ALLEGRO
    return plugins.find("robots", name) or load_robot(robot_file(name))


def load_robot(path: Path) -> Robot:
    """The robot of a TOML file; it is called as the file is.

    Raises:
        AssetError: a file is missing or leads elsewhere; a name that means nothing, a hand without actuators, a posture
            outside the limits, a workspace out of reach.
    """
    return _load(path.resolve(), path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache
def _load(path: Path, stamp: int) -> Robot:
    config = read_robot(path)
    try:
        return robot_of(path, config)
    except AssetError as error:
        raise AssetError(f"robot {path.name}: {error}") from error


def parts_of(path: Path, config: RobotConfig) -> tuple[Part, Part]:
    """Arm and hand of a robot's TOML file at `path`. Raises AssetError: a file is missing, or leads elsewhere."""
    return _part(path, config.arm, "arm_", config), _part(path, config.hand, "hand_", config)


def _part(path: Path, name: str, prefix: str, config: RobotConfig) -> Part:
    if name.startswith(MENAGERIE):
        return read_part(*of_menagerie(name.removeprefix(MENAGERIE)), prefix, config.geometry)
    roots = [path.parent, *folders()]
    root = next((root for root in roots if (root / name).is_file()), None)
    if root is None:
        places = ", ".join(map(str, dict.fromkeys(roots)))
        raise AssetError(
            f"{prefix[:-1]} {name!r}: expected that file in one of {places} (the MJCFs of the robots that ship are "
            "fetched by benchmarks/robots.py)"
        )
    return read_part(root / name, root, prefix, config.geometry)


def of_menagerie(word: str) -> tuple[Path, Path]:
    """MJCF file of a model of MuJoCo Menagerie, or of a model's entry, MODEL/ENTRY, and the model's folder; it is
    downloaded if it is not on this machine yet.

    Raises:
        AssetError: `mujoco-menagerie` is not installed, there is no such model, or it cannot be downloaded.
    """
    model, _, entry = word.partition("/")
    try:
        import mujoco_menagerie as menagerie  # an extra
    except ImportError as error:
        raise AssetError(
            f"{MENAGERIE}{word} needs mujoco-menagerie, which is not installed: pip install 'handsight[robots]'"
        ) from error
    try:
        found = menagerie.get(model)
        name = found.entry(entry.removesuffix(".xml") or found.default_model).file
        folder = found.path(progress=None)
    except (menagerie.MenagerieError, OSError) as error:
        raise AssetError(
            f"{MENAGERIE}{word}: {error}; without a network, MENAGERIE_ROOT names a folder with the models"
        ) from error
    return folder / name, folder


def robot_of(path: Path, config: RobotConfig) -> Robot:
    """What a description in a TOML file at `path` and its two MJCF files come to; raises AssetError as `load_robot`."""
    arm, hand = parts_of(path, config)
    if len(names := {one.name for one in config.digits}) < max(2, len(config.digits)):
        raise AssetError(
            f"digits: expected two or more with different names, found {', '.join(sorted(names)) or 'none'}"
        )
    at = arm.find(config.mount.at, ("site", "body"), "mount.at")
    palm = hand.find(config.palm.body, ("body",), "palm.body")[1]
    flange, pose = _place(arm.model, *at)
    reach, fingers = _joints(arm, flange, hand, palm)
    joints = reach + fingers
    servos = _servos(config, joints, hand)
    mount, tips = pose.then(Pose(config.mount.pos, config.mount.quat)), tuple(_tip(hand, one) for one in config.digits)
    assembly = Assembly(arm, hand, Pose(config.base), flange, mount, palm, frame_of(config.palm), tips)
    _check_reach(config, assembly, reach)
    open_hand, closed_hand = (_posture(getattr(config, name), fingers, name) for name in ("open_hand", "closed_hand"))
    slow = [SLIDE_SPEED if joint.slides else ARM_SPEED for joint in reach] + [HAND_SPEED] * len(fingers)
    speed = _by_joint(config.velocity, joints, "velocity")
    strong = {joint: torque for servo, torque in servos for joint in servo.joints}
    robot = Robot(
        name=path.stem,
        arm=tuple(joint.name for joint in reach),
        hand=tuple(joint.name for joint in fingers),
        actuators=tuple(servo for servo, _ in servos),
        digits=tuple(Digit(one.name, _root(hand, one), f"{one.name}_tip") for one in config.digits),
        palm="palm",
        grasp_site="grasp",
        grasp_pos=_grasp(config, hand, palm),
        home=_posture(config.home, reach, "home"),
        open_hand=open_hand,
        closed_hand=closed_hand,
        action_spaces=_action_spaces(config, hand, fingers, open_hand, closed_hand),
        torque_limit=tuple(strong.get(joint.name, 0.0) for joint in joints),
        velocity_limit=tuple(speed.get(index, slow[index]) for index in range(len(joints))),
        workspace=config.workspace,
        build=lambda spec: build(assembly, robot, spec),
        palm_touch=hand.scene_name("body", palm),
        model=_digest(assembly, config),
    )
    return robot


def _place(model: mujoco.MjModel, kind: str, index: int) -> tuple[int, Pose]:
    """Body that a site, geom or body belongs to, and its pose there."""
    if kind == "body":
        return index, Pose()
    body, pos, quat = (getattr(model, f"{kind}_{what}")[index] for what in ("bodyid", "pos", "quat"))
    return int(body), Pose.of_arrays(pos, quat)


def frame_of(palm: PalmConfig) -> Pose:
    """Frame of the palm in its body's own: x out of the palm, z along the fingers.

    Raises:
        AssetError: the two directions are parallel, or none.
    """
    x, z, quat = np.array(palm.facing), np.array(palm.fingers), np.zeros(4)
    across = np.cross(z, x)
    if np.linalg.norm(across) < 0.1 * np.linalg.norm(x) * np.linalg.norm(z) or not (x.any() and z.any()):
        raise AssetError("palm: expected facing and fingers to be two directions across each other, found the same")
    x, y = x / np.linalg.norm(x), across / np.linalg.norm(across)
    mujoco.mju_mat2Quat(quat, np.stack([x, y, np.cross(x, y)], 1).ravel())
    return Pose.of_arrays(palm.pos, quat)


def _grasp(config: RobotConfig, hand: Part, palm: int) -> tuple[float, float, float]:
    """The grasp site, m in the palm's frame."""
    if (config.grasp.site is None) == (config.grasp.pos is None):
        raise AssetError("grasp: expected either site or pos")
    if config.grasp.pos is not None:
        return config.grasp.pos
    site, rest = hand.find(config.grasp.site or "", ("site",), "grasp.site")[1], hand.posed()
    body = Pose.of_arrays(rest.xpos[palm], rest.xquat[palm])
    return body.then(frame_of(config.palm)).inverse().of(rest.site_xpos[site])


def _tip(hand: Part, digit: DigitConfig) -> tuple[int, tuple[float, float, float]]:
    """Body and place in it, m, of a fingertip."""
    body, pose = _place(hand.shapes, *hand.find(digit.tip, ("site", "geom", "body"), "digits.tip"))
    return body, pose.of(digit.tip_pos)


def _root(hand: Part, digit: DigitConfig) -> str:
    return hand.scene_name("body", hand.find(digit.root, ("body",), "digits.root")[1])


def above(model: mujoco.MjModel, body: int) -> Iterator[int]:
    """A body and those that it hangs on."""
    while body:
        yield body
        body = int(model.body_parentid[body])


class Joint(NamedTuple):
    """A joint of the arm or of the hand."""

    name: str
    """What it is called in a scene."""
    own_name: str
    """What its file calls it."""
    part: Part
    """The file that it comes from."""
    index: int
    """Its number in that file's model."""
    slides: bool
    """Whether it slides along its axis instead of turning about it."""


def _joints(arm: Part, flange: int, hand: Part, palm: int) -> tuple[list[Joint], list[Joint]]:
    """Joints from the base to the palm, a hand's wrist included, and those of the fingers."""
    reach, others = list[Joint](), list[Joint]()
    for part, end in ((arm, flange), (hand, palm)):
        chain = set(above(part.model, end))
        for index, kind in enumerate(part.model.jnt_type):
            name = part.scene_name("joint", index)
            joint = Joint(name, name.removeprefix(part.prefix), part, index, kind == mujoco.mjtJoint.mjJNT_SLIDE)
            if not joint.slides and kind != mujoco.mjtJoint.mjJNT_HINGE:
                raise AssetError(
                    f"joint {joint.own_name!r} of {part.path.name}: expected a hinge or a slide, found a ball"
                )
            on_the_way = int(part.model.jnt_bodyid[index]) in chain
            if (part is arm and not on_the_way) or (on_the_way and others):
                raise AssetError(
                    f"joint {joint.own_name!r} of {part.path.name}: expected joints one after the other down to the "
                    "palm, and then those of the fingers, found it beside them"
                )
            (reach if on_the_way else others).append(joint)
    if not reach or not others:
        raise AssetError(f"expected joints above the palm and below it, found {len(reach)} and {len(others)}")
    return reach, others


def _posture(given: Mapping[str, float], joints: list[Joint], what: str) -> tuple[float, ...]:
    """Angles of these joints, rad; raises AssetError: no such joint, or outside its limits."""
    said, angles = _by_joint(given, joints, what), list[float]()
    for at, joint in enumerate(joints):
        low, high = joint.part.span(joint.index)
        angles.append(float(said.get(at, min(max(0.0, low), high))))
        if not low - SLACK <= angles[-1] <= high + SLACK:
            limits = f"expected {low:.4g}..{high:.4g}, found {angles[-1]:.4g}"
            raise AssetError(f"{what}: {joint.own_name} is outside its limits: {limits}")
    return tuple(angles)


def _by_joint(table: Mapping[str, Any], joints: list[Joint], what: str) -> dict[int, Any]:
    """What a table says of each joint that one of its names fits; later names win."""
    found: dict[int, Any] = {}
    for pattern, value in table.items():
        fits = [index for index, joint in enumerate(joints) if fnmatchcase(joint.own_name, pattern)]
        if not fits:
            raise AssetError(f"{what}: {unknown('joint', pattern, [joint.own_name for joint in joints])}")
        found |= dict.fromkeys(fits, value)
    return found


def _servos(config: RobotConfig, joints: list[Joint], hand: Part) -> list[tuple[Actuator, float]]:
    """The actuators of both files as servos of a joint, or of the sum of several, in the order of the joints; and the
    most that each gives one of them, N m, or N where it slides."""
    gains, torque = (_by_joint(getattr(config, name), joints, name) for name in ("gains", "torque"))
    number = {joint.name: at for at, joint in enumerate(joints)}
    if not hand.model.nu:
        raise AssetError(f"hand {hand.path.name} has no actuators: expected a position servo for each joint or tendon")
    servos = list[tuple[Actuator, float]]()
    for part in dict.fromkeys(joint.part for joint in joints):
        for actuator in range(part.model.nu):
            moved, turns = moved_joints(part.model, actuator)
            name = part.model.actuator(actuator).name or str(actuator)
            if not moved:
                raise AssetError(
                    f"actuator {name!r} of {part.path.name}: expected it at a joint, or at a fixed tendon that pulls "
                    "its joints alike"
                )
            own = tuple(part.scene_name("joint", joint) for joint in moved)
            kp, kv = _gains(part, actuator, turns, gains.get(number[own[0]]), name)
            most = torque.get(number[own[0]], _strength(part, actuator, moved[0], abs(turns)))
            servos.append((Actuator(f"{part.prefix}{name}", own, kp, kv), most))
    driven = {joint for servo, _ in servos for joint in servo.joints}
    idle = [one.own_name for one in joints if one.name not in driven and one.part is not hand]
    if idle:
        raise AssetError(f"arm: expected an actuator for each joint, found none for {', '.join(idle)}")
    return sorted(servos, key=lambda servo: number[servo[0].joints[0]])


def _gains(part: Part, actuator: int, turns: float, given: Any, name: str) -> tuple[float, float]:
    """kp and kv at the joint of a servo that turns `turns` radians for each of the joint's."""
    if given is not None:
        return float(given[0]), float(given[1])
    bias = part.model.actuator_biasprm[actuator]
    if part.model.actuator_biastype[actuator] != mujoco.mjtBias.mjBIAS_AFFINE or bias[1] >= 0:
        raise AssetError(
            f"actuator {name!r} of {part.path.name} is no position servo: expected its kp and kv in the table gains"
        )
    return -float(bias[1]) * turns**2, -float(bias[2]) * turns**2


def _strength(part: Part, actuator: int, joint: int, turns: float) -> float:
    """N m (N) that a servo gives a joint at most; infinite where the file does not say."""
    m = part.model
    limits = (
        (m.actuator_forcelimited[actuator], m.actuator_forcerange[actuator, 1] * turns),
        (m.jnt_actfrclimited[joint], m.jnt_actfrcrange[joint, 1]),
    )
    return min((float(most) for limited, most in limits if limited), default=math.inf)


def _action_spaces(
    config: RobotConfig, hand: Part, fingers: list[Joint], open_hand: tuple[float, ...], closed: tuple[float, ...]
) -> tuple[ActionSpace, ...]:
    spaces = []
    for name, one in config.action_spaces.items():
        lowest = one.lowest or (0.0,) * len(one.synergies)
        if len(lowest) != len(one.synergies) or one.closing > len(one.synergies):
            raise AssetError(
                f"action_spaces.{name}: expected `lowest` for each of {len(one.synergies)} synergies and `closing` at "
                f"most that, found {len(lowest)} and {one.closing}"
            )
        rows = [_by_joint(row, fingers, f"action_spaces.{name}") for row in one.synergies]
        synergies = tuple(tuple(float(row.get(at, 0.0)) for at in range(len(fingers))) for row in rows)
        twist = ("x", "y", "z", "yaw") if name == PALM4 else ("x", "y", "z", "roll", "pitch", "yaw")
        spaces.append(ActionSpace(name, twist, synergies, lowest, one.closing))
    if not spaces:
        root = hand.find(config.digits[-1].root, ("body",), "digits.root")[1]
        thumb = [root in above(hand.model, int(hand.model.jnt_bodyid[joint.index])) for joint in fingers]
        change = [c - o for c, o in zip(closed, open_hand, strict=True)]
        rows = [tuple(c * (is_it == mine) for c, mine in zip(change, thumb, strict=True)) for is_it in (False, True)]
        spaces.append(ActionSpace(PALM4, ("x", "y", "z", "yaw"), tuple(rows), (0.0, 0.0), closing=2))
    return tuple(spaces)


def _check_reach(config: RobotConfig, assembly: Assembly, reach: list[Joint]) -> None:
    """Raise AssetError: the middle of the workspace is further from the first joint than the arm is long."""
    arm, hand = assembly.arm.model, assembly.hand.model
    links = [arm.body_pos[body] for body in list(above(arm, assembly.flange))[:-2]]
    links += [hand.body_pos[body] for body in list(above(hand, assembly.palm))[:-1]]
    length = sum(float(np.linalg.norm(place)) for place in (assembly.mount.pos, assembly.frame.pos, *links))
    length += sum(float(np.ptp(one.part.span(one.index))) for one in reach if one.slides)
    first = int(arm.jnt_bodyid[0]) if arm.njnt else 1
    base = np.array(config.base) + assembly.arm.posed().xpos[first]
    away = float(np.linalg.norm(np.mean(config.workspace, 0) - base))
    if away > length:
        raise AssetError(
            f"workspace is out of reach: its middle is {away:.2f} m from the arm's first joint, expected at most the "
            f"{length:.2f} m to which arm and palm stretch"
        )


def _digest(assembly: Assembly, config: RobotConfig) -> str:
    """Twelve hexadecimal digits that change with the bodies, joints and shapes of both files."""
    what, sum_ = ("body_pos", "body_quat", "body_mass", "body_inertia", "jnt_range", "dof_armature", "dof_damping"), ""
    shapes = ("geom_type", "geom_size", "geom_pos")
    for part in (assembly.arm, assembly.hand):
        for model, names in ((part.model, what), (part.shapes, shapes)):
            sum_ += "".join(str((np.round(getattr(model, name), 4) + 0.0).tolist()) for name in names)
    pose = (assembly.mount, assembly.frame, config.base, config.geometry)
    return hashlib.sha256(f"{sum_}{pose}".encode()).hexdigest()[:12]
