"""KUKA LBR iiwa 14 and right Allegro hand as primitive geoms: published kinematics, masses and limits, no meshes.

Link frames, masses and joint ranges follow the manufacturers' published descriptions (KUKA LBR iiwa 14 R820; Wonik
Robotics Allegro Hand v3), as also modelled in MuJoCo Menagerie. Shapes are ours. Angles rad, lengths m, masses kg.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from .robot import FIRM, HIDDEN_FROM_WRIST, RENDERED, ActionSpace, Actuator, Digit, Robot

DIGITS = ("index", "middle", "ring", "thumb")
ARM_JOINTS = tuple(f"arm_{i}" for i in range(1, 8))
HAND_JOINTS = tuple(f"{digit}_{i}" for digit in DIGITS for i in range(4))
ARM_GAINS = ((600.0, 60.0),) * 4 + ((240.0, 24.0),) * 3
HAND_GAINS = ((3.0, 0.1),) * len(HAND_JOINTS)
"""kp and kv of the position servos."""
TORQUE_LIMIT = (320.0, 320.0, 176.0, 176.0, 110.0, 40.0, 40.0) + (0.7,) * 16
"""N m, arm joints then hand joints (KUKA LBR iiwa 14 R820 data sheet; Allegro Hand v3 data sheet)."""
VELOCITY_LIMIT = tuple(math.radians(v) for v in (85, 85, 100, 75, 130, 135, 135)) + (9.5,) * 16
"""rad/s, same order and sources (Allegro: 0.11 s for 60 degrees)."""
OPEN_HAND = (0.0, 0.25, 0.42, 0.3) * 3 + (1.35, 0.3, 0.1, 0.1)
CLOSED_HAND = (0.0, 1.15, 0.85, 1.0) * 3 + (1.35, 0.8, 1.2, 0.7)
BLACK, GREY, ORANGE, WHITE = (0.13, 0.13, 0.14, 1), (0.62, 0.63, 0.65, 1), (0.93, 0.47, 0.13, 1), (0.9, 0.9, 0.88, 1)
HAND_FRICTION, TIP_FRICTION = (1.0, 0.02, 0.0005), (1.5, 0.03, 0.0005)


@dataclass(frozen=True)
class Link:
    """One link of the arm: frame relative to its parent, inertia, and the capsule or cylinder that stands for it."""

    pos: tuple[float, float, float]
    quat: tuple[float, float, float, float]
    limit: float
    """Symmetric joint range, rad."""
    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float]
    """Principal moments, kg m^2."""
    end: tuple[float, float, float]
    """The capsule runs from the link's origin to here."""
    radius: float


_TURN, _TILT = (0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 0.0, 0.0)
ARM = (
    Link((0, 0, 0.1575), (1, 0, 0, 0), 2.96706, 5.76, (0, -0.03, 0.12), (0.0333, 0.033, 0.0123), (0, 0, 0.19), 0.075),
    Link((0, 0, 0.2025), _TURN, 2.0944, 6.35, (0.0003, 0.059, 0.042), (0.0305, 0.0304, 0.011), (0, 0.18, 0), 0.075),
    Link((0, 0.2045, 0), _TURN, 2.96706, 3.5, (0, 0.03, 0.13), (0.025, 0.0238, 0.0076), (0, 0, 0.2), 0.07),
    Link((0, 0, 0.2155), _TILT, 2.0944, 3.5, (0, 0.067, 0.034), (0.017, 0.0164, 0.006), (0, 0.165, 0), 0.07),
    Link((0, 0.1845, 0), _TURN, 2.96706, 3.5, (0.0001, 0.021, 0.076), (0.01, 0.0087, 0.00449), (0, 0, 0.19), 0.055),
    Link((0, 0, 0.2155), _TILT, 2.0944, 1.8, (0, 0.0006, 0.0004), (0.0049, 0.0047, 0.0036), (0, 0.02, 0), 0.065),
    Link((0, 0.081, 0), _TURN, 3.05433, 1.2, (0, 0, 0.02), (0.001, 0.001, 0.001), (0, 0, 0.015), 0.045),
)
FLANGE = 0.045
"""m from the last joint's frame to the flange."""
PALM_ON_FLANGE = 0.105
"""m from the flange to the Allegro palm frame: the palm's length (.095) and a mounting plate."""

FINGER_BASES = {
    "index": ((0.0, 0.0435, -0.001542), (0.999048, -0.0436194, 0.0, 0.0)),
    "middle": ((0.0, 0.0, 0.0007), (1.0, 0.0, 0.0, 0.0)),
    "ring": ((0.0, -0.0435, -0.001542), (0.999048, 0.0436194, 0.0, 0.0)),
    "thumb": ((-0.0182, 0.019333, -0.045987), (0.477714, -0.521334, -0.521334, -0.477714)),
}
FINGER_OFFSETS = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0164), (0.0, 0.0, 0.054), (0.0, 0.0, 0.0384))
THUMB_OFFSETS = ((0.0, 0.0, 0.0), (-0.027, 0.005, 0.0399), (0.0, 0.0, 0.0177), (0.0, 0.0, 0.0514))
FINGER_AXES = ((0, 0, 1), (0, 1, 0), (0, 1, 0), (0, 1, 0))
THUMB_AXES = ((-1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 0))
FINGER_RANGES = ((-0.47, 0.47), (-0.196, 1.61), (-0.174, 1.709), (-0.227, 1.618))
THUMB_RANGES = ((0.263, 1.396), (-0.105, 1.163), (-0.189, 1.644), (-0.162, 1.719))
FINGER_MASSES, THUMB_MASSES = (0.0119, 0.065, 0.0355, 0.0096 + 0.0168), (0.0176, 0.0119, 0.038, 0.0388 + 0.0168)
FINGER_LENGTHS, THUMB_LENGTHS = (0.0164, 0.054, 0.0384, 0.0267), (0.0, 0.0177, 0.0514, 0.0423)
PALM_MASS = 0.4154


def _build(spec: mujoco.MjSpec) -> None:
    base = spec.worldbody.add_body(name="base")
    base.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[0.1, 0.075, 0], pos=[0, 0, 0.075], rgba=GREY,
        group=HIDDEN_FROM_WRIST, contype=0, conaffinity=0,
    )  # fmt: skip
    flange = _add_arm(base)
    palm = flange.add_body(name="palm", pos=[0, 0, FLANGE + PALM_ON_FLANGE], gravcomp=1)
    _set_inertia(palm, PALM_MASS, (-0.0093, 0, -0.0475), (0.0204, 0.0565, 0.0475))
    palm.add_geom(
        name="palm", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.0204, 0.0565, 0.0475], pos=[-0.0093, 0, -0.0475],
        rgba=BLACK, friction=HAND_FRICTION, group=RENDERED, contype=1, conaffinity=2, condim=4, **FIRM,
    )  # fmt: skip
    palm.add_site(name=KUKA_ALLEGRO.grasp_site, pos=KUKA_ALLEGRO.grasp_pos)
    for digit in DIGITS:
        _add_digit(palm, digit)
    _add_servos(spec)


def _set_inertia(body: mujoco.MjsBody, mass: float, com: tuple, half: tuple) -> None:
    """Inertia of a solid box with half sizes `half` (m) centred at `com`."""
    x, y, z = (2 * h for h in half)
    body.explicitinertial = True
    body.mass, body.ipos = mass, com
    body.inertia = np.array([y * y + z * z, x * x + z * z, x * x + y * y]) * mass / 12


def _add_arm(base: mujoco.MjsBody) -> mujoco.MjsBody:
    body = base
    for name, link in zip(ARM_JOINTS, ARM, strict=True):
        body = body.add_body(name=name, pos=link.pos, quat=link.quat, gravcomp=1)
        body.explicitinertial = True
        body.mass, body.ipos, body.inertia = link.mass, link.com, link.inertia
        last = name in ARM_JOINTS[-2:]
        body.add_joint(
            name=name, axis=[0, 0, 1], range=[-link.limit, link.limit], limited=1, armature=0.3, damping=[2.0, 0, 0]
        )
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, *link.end], size=[link.radius, 0, 0],
            rgba=ORANGE if name in ("arm_2", "arm_4", "arm_6") else GREY,
            group=RENDERED if last else HIDDEN_FROM_WRIST, contype=0, conaffinity=0,
        )  # fmt: skip
    return body


def _add_digit(palm: mujoco.MjsBody, digit: str) -> None:
    thumb = digit == "thumb"
    offsets, axes = (THUMB_OFFSETS, THUMB_AXES) if thumb else (FINGER_OFFSETS, FINGER_AXES)
    ranges, lengths = (THUMB_RANGES, THUMB_LENGTHS) if thumb else (FINGER_RANGES, FINGER_LENGTHS)
    masses = THUMB_MASSES if thumb else FINGER_MASSES
    base_pos, base_quat = FINGER_BASES[digit]
    body = palm
    for i in range(4):
        pos, quat = (base_pos, base_quat) if i == 0 else (offsets[i], (1, 0, 0, 0))
        body = body.add_body(name=f"{digit}_{i}", pos=pos, quat=quat, gravcomp=1)
        half = max(lengths[i], 0.02) / 2
        _set_inertia(body, masses[i], (0, 0, half), (0.0098, 0.01375, half))
        body.add_joint(
            name=f"{digit}_{i}", axis=axes[i], range=ranges[i], limited=1, armature=0.006, damping=[0.1, 0, 0]
        )
        if lengths[i] > 0.017:
            _add_phalanx(body, lengths[i], tip=i == 3)


def _add_phalanx(body: mujoco.MjsBody, length: float, tip: bool) -> None:
    radius = 0.012 if tip else 0.0115
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0.004, 0, 0, length], size=[radius, 0, 0],
        rgba=WHITE if tip else BLACK, friction=TIP_FRICTION if tip else HAND_FRICTION,
        group=RENDERED, contype=1, conaffinity=2, condim=4, **FIRM,
    )  # fmt: skip
    if tip:
        body.add_site(name=body.name.replace("_3", "_tip"), pos=[0, 0, length])


def _add_servos(spec: mujoco.MjSpec) -> None:
    """Position servos, clipped at the published torque."""
    for actuator, torque in zip(KUKA_ALLEGRO.actuators, TORQUE_LIMIT, strict=True):
        servo = spec.add_actuator(
            name=actuator.name, target=actuator.name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcerange=[-torque, torque], forcelimited=1,
        )  # fmt: skip
        servo.set_to_position(kp=actuator.kp, kv=actuator.kv)


def _action_spaces() -> tuple[ActionSpace, ...]:
    """`palm4+closure2`: palm x y z yaw, closing of the three fingers, closing of the thumb.

    `palm6+synergy5`: the whole palm twist, and five synergies: closing of fingers, closing of thumb, opposition of the
    thumb, spread of the fingers, curl of the tips against the knuckles.
    """
    closing = [c - o for c, o in zip(CLOSED_HAND, OPEN_HAND, strict=True)]
    fingers, thumb = (*closing[:12], 0, 0, 0, 0), (*[0.0] * 12, *closing[12:])
    opposition = (*[0.0] * 12, -0.8, 0.4, 0.0, 0.0)
    spread = (-0.3, 0, 0, 0, 0, 0, 0, 0, 0.3, 0, 0, 0, 0, 0, 0, 0)
    curl = (0.0, -0.35, 0.3, 0.3) * 3 + (0.0, 0.0, -0.2, 0.3)
    rows = (fingers, thumb, opposition, spread, curl)
    return (
        ActionSpace("palm4+closure2", ("x", "y", "z", "yaw"), rows[:2], (0.0, 0.0), closing=2),
        ActionSpace(
            "palm6+synergy5", ("x", "y", "z", "roll", "pitch", "yaw"), rows, (0.0, 0.0, -0.5, -1.0, -1.0), closing=2
        ),
    )


KUKA_ALLEGRO = Robot(
    name="kuka_allegro",
    arm=ARM_JOINTS,
    hand=HAND_JOINTS,
    actuators=tuple(
        Actuator(name, (name,), kp, kv)
        for name, (kp, kv) in zip(ARM_JOINTS + HAND_JOINTS, ARM_GAINS + HAND_GAINS, strict=True)
    ),
    digits=tuple(Digit(name, f"{name}_0", f"{name}_tip") for name in DIGITS),
    palm="palm",
    grasp_site="grasp",
    grasp_pos=(0.083, 0.0, 0.025),  # x out of the palm, z along the fingers
    home=(0.0, 0.6, 0.0, -1.8, 0.0, -0.05, 0.0),
    open_hand=OPEN_HAND,
    closed_hand=CLOSED_HAND,
    action_spaces=_action_spaces(),
    torque_limit=TORQUE_LIMIT,
    velocity_limit=VELOCITY_LIMIT,
    workspace=((0.42, -0.3, 0.02), (0.92, 0.3, 0.45)),
    build=_build,
)
"""The first robot of the house: KUKA LBR iiwa 14 with a right Allegro hand."""
