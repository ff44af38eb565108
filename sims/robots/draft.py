"""A first draft of a robot's description, read off the kinematic trees of its arm's and its hand's MJCF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from scipy.optimize import least_squares

from ..assets import AssetError
from .description import PalmConfig
from .mjcf import frame_of
from .mjcf_file import Part, read_part
from .rebuilt import Pose

AHEAD, ALONG = 0.6, 0.15
"""Where a hand of fingers of length 1 is to hold things: so far out of the palm, and so far along the fingers (the
Allegro hand's grasp site is at .61 and .19)."""
CURL, OPEN = 0.5, 0.25
"""Shares of a joint's range: what a finger's joints are curled by before their tips are sent to the grasp site, and of
that posture, what an open hand keeps."""
SQUEEZE = 0.3
"""Share of the way from open to tips that meet by which a hand closes further."""
REST_WEIGHT, SPREAD_WEIGHT = 0.15, 3.0
"""Weight of a radian from the curled posture, against 2 cm from the grasp site; of joints that spread the fingers."""


class Finger(NamedTuple):
    """A digit as the tree has it."""

    root: int
    """Body at which it begins."""
    bodies: list[int]
    """All of its bodies."""
    joints: list[int]
    """Those that its own actuators may move."""
    tip: int
    """Last body of the chain."""
    tip_pos: np.ndarray
    """(3,) m in that body's frame: near the end of its last geom."""


def draft_robot(arm_path: Path, hand_path: Path) -> dict[str, Any]:
    """The tables of a TOML file, but `home` and the files' names.

    Raises:
        AssetError: MuJoCo cannot compile a file, or no body carries two digits.
    """
    arm, hand = (
        read_part(path, path.parent, name, "capsule") for path, name in ((arm_path, "arm_"), (hand_path, "hand_"))
    )
    palm = _palm(hand)
    fingers = _fingers(hand, palm)
    if len(fingers) < 2:
        raise AssetError(f"{hand_path.name}: expected a body that carries two digits or more, found none")
    axes = PalmConfig(hand.model.body(palm).name, *_axes(hand, palm, fingers))
    frame = frame_of(axes)
    length = float(np.median([np.linalg.norm(_tips(hand, [f])[0] - hand.at_rest().xpos[f.root]) for f in fingers[:-1]]))
    closed, grasp = _close(hand, palm, frame, fingers, np.array([AHEAD * length, 0.0, ALONG * length]))
    opened = _opened(hand, fingers, closed)
    name = lambda body: hand.model.body(body).name or str(body)  # noqa: E731
    joint = lambda values: {hand.model.joint(j).name: _short(values[j]) for f in fingers for j in f.joints}  # noqa: E731
    return {
        "geometry": "capsule",
        "mount": _mount(arm, hand, palm, frame, fingers),
        "palm": {"body": axes.body, **{key: _short(getattr(axes, key)) for key in ("pos", "facing", "fingers")}},
        "grasp": {"pos": _short(grasp)},
        "open_hand": joint(opened),
        "closed_hand": joint(_squeezed(hand, opened, closed)),
        "digits": [
            {"name": name(f.root), "root": name(f.root), "tip": name(f.tip), "tip_pos": _short(f.tip_pos)}
            for f in fingers
        ],
    }  # fmt: skip


def _short(values: Any) -> Any:
    return round(float(values), 4) + 0.0 if np.ndim(values) == 0 else [_short(value) for value in values]


def _children(hand: Part, body: int) -> list[int]:
    return [other for other in range(1, hand.model.nbody) if hand.model.body_parentid[other] == body]


def _below(hand: Part, body: int) -> list[int]:
    """A body and all that hangs on it, each after its parent."""
    return [body, *(one for child in _children(hand, body) for one in _below(hand, child))]


def _palm(hand: Part) -> int:
    """The body that carries most of the chains with joints."""
    moves = lambda body: any(hand.model.body_jntnum[one] for one in _below(hand, body))  # noqa: E731
    return max(range(1, hand.model.nbody), key=lambda body: (sum(map(moves, _children(hand, body))), -body))


def _fingers(hand: Part, palm: int) -> list[Finger]:
    """Digits, that whose last joint turns least like the others', the thumb, at the end."""
    m, found = hand.model, list[Finger]()
    for root in _children(hand, palm):
        bodies = _below(hand, root)
        joints = [int(m.body_jntadr[b]) + k for b in bodies for k in range(m.body_jntnum[b])]
        if joints:
            tip = next(b for b in reversed(bodies) if m.body_geomnum[b] or b == root)
            found.append(Finger(root, bodies, joints, tip, _end(hand, tip)))
    axis = np.array([hand.at_rest().xaxis[finger.joints[-1]] for finger in found]).reshape(-1, 3)
    alike = np.abs(axis @ axis.T).sum(1)
    odd = int(np.argmin(alike)) if len(found) > 2 else len(found) - 1
    return [*found[:odd], *found[odd + 1 :], *found[odd : odd + 1]]


def _end(hand: Part, body: int) -> np.ndarray:
    """(3,) m: 5 mm below the far end of a body's last geom, in its frame."""
    boxes = _boxes(hand, body)
    middles = boxes.mean(1)
    ahead = middles[-1] - middles.mean(0)
    ahead = ahead if np.linalg.norm(ahead) > 0.002 else middles[-1]
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-6)
    return middles[-1] + ahead * max(float(((boxes[-1] - middles[-1]) @ ahead).max()) - 0.005, 0.0)


def _boxes(hand: Part, body: int) -> np.ndarray:
    """(G, 8, 3) m: corners of the boxes around a body's geoms, in its frame; its origin, if it has none."""
    m, found = hand.shapes, []
    for geom in hand.kept_geoms(body, collide=True):
        rot = np.zeros(9)
        mujoco.mju_quat2Mat(rot, m.geom_quat[geom])
        box = m.geom_aabb[geom].reshape(2, 3)
        signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
        found.append(m.geom_pos[geom] + (box[0] + signs * box[1]) @ rot.reshape(3, 3).T)
    return np.array(found) if found else np.zeros((1, 8, 3))


def _tips(hand: Part, fingers: list[Finger], joints: np.ndarray | None = None) -> np.ndarray:
    """(F, 3) m: fingertips in the frame of the file's world, for joint positions (J,)."""
    data = hand.at_rest() if joints is None else hand.posed(joints)
    return np.array([data.xpos[f.tip] + data.xmat[f.tip].reshape(3, 3) @ f.tip_pos for f in fingers])


def _limits(hand: Part) -> np.ndarray:
    """(2, J) rad: lowest and highest position of each joint."""
    return np.where(hand.model.jnt_limited[:, None], hand.model.jnt_range, [-1.0, 1.0]).T


def _curled(hand: Part, fingers: list[Finger]) -> np.ndarray:
    """(J,) rad: joints that bend further to one side are bent to it by `CURL`, those that spread are in the middle."""
    low, high = _limits(hand)
    far = np.where(np.abs(high) >= np.abs(low), high, low)
    posture = np.where(np.abs(high + low) < 0.2 * (high - low), (low + high) / 2, CURL * far)
    for joint in fingers[-1].joints:  # a thumb's joints are where they can go both ways
        posture[joint] = (low[joint] + high[joint]) / 2
    return np.clip(posture, low, high)


def _axes(hand: Part, palm: int, fingers: list[Finger]) -> tuple[Any, Any, Any]:
    """Origin, direction out of the palm and along the fingers, in the palm's own frame."""
    rest, straight = hand.at_rest(), fingers[:-1]
    rot, roots = rest.xmat[palm].reshape(3, 3), np.array([rest.xpos[f.root] for f in straight])
    tips, bent = _tips(hand, straight), _tips(hand, straight, _curled(hand, fingers))
    along, out, row = (tips - roots).mean(0), (bent - tips).mean(0), roots[-1] - roots[0]
    along /= np.linalg.norm(along)
    if len(straight) > 1:  # the row of knuckles tells more than how fingers bend
        across = np.cross(row, along)
        out = across * np.sign(across @ out)
    out -= along * (out @ along)
    own = lambda vector: tuple(float(v) for v in rot.T @ vector)  # noqa: E731
    return own(roots.mean(0) - rest.xpos[palm]), own(out / np.linalg.norm(out)), own(along)


def _close(
    hand: Part, palm: int, frame: Pose, fingers: list[Finger], grasp: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (J,) of a hand whose fingers, each in its own lane, and thumb meet at the grasp site, and that site moved
    to the middle between them; m, palm's frame."""
    rest, start = hand.at_rest(), _curled(hand, fingers)
    world = Pose.of_arrays(rest.xpos[palm], rest.xquat[palm]).then(frame)
    inside = lambda points: np.array([world.inverse().of(point) for point in points])  # noqa: E731
    lanes = inside([rest.xpos[f.root] for f in fingers])[:, 1]
    lanes[-1] = lanes[:-1].mean()
    closed = start.copy()
    for _ in range(2):
        for finger, lane in zip(fingers, lanes, strict=True):
            goal = grasp * [1, 0, 1] + np.array([0.0, lane, 0.0])
            closed = _sent(hand, finger, closed, start, world, goal, finger is fingers[-1])
        reached = inside(_tips(hand, fingers, closed))
        grasp = (reached[:-1].mean(0) + reached[-1]) / 2
    return closed, grasp


def _sent(
    hand: Part, finger: Finger, joints: np.ndarray, start: np.ndarray, world: Pose, goal: np.ndarray, is_thumb: bool
) -> np.ndarray:
    """Joints (J,) with one digit's so that its tip is at `goal`, m in the palm's frame, if it gets there."""
    own, (low, high) = finger.joints, _limits(hand)[:, finger.joints]
    spreads = (np.abs(high + low) < 0.2 * (high - low)) & (not is_thumb)
    weight = np.where(spreads, SPREAD_WEIGHT, REST_WEIGHT)

    def away(values: np.ndarray) -> np.ndarray:
        posed = joints.copy()
        posed[own] = values
        tip = world.inverse().of(_tips(hand, [finger], posed)[0])
        return np.concatenate([(np.array(tip) - goal) / 0.02, weight * (values - start[own])])

    found = joints.copy()
    found[own] = least_squares(away, np.clip(start[own], low + 1e-6, high - 1e-6), bounds=(low, high)).x
    return found


def _squeezed(hand: Part, opened: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Joints (J,) closed by `SQUEEZE` more, as far as their limits let them: what is between the tips is pressed."""
    low, high = _limits(hand)
    return np.clip(closed + SQUEEZE * (closed - opened), low, high)


def _opened(hand: Part, fingers: list[Finger], closed: np.ndarray) -> np.ndarray:
    """Joints (J,) of an open hand: little of what closes it, but a thumb's first two joints, which oppose it."""
    low, high = _limits(hand)
    opened = np.clip(OPEN * closed, low, high)
    thumb = fingers[-1].joints[: len(fingers[-1].joints) // 2]
    opened[thumb] = closed[thumb]
    return opened


def _mount(arm: Part, hand: Part, palm: int, frame: Pose, fingers: list[Finger]) -> dict[str, Any]:
    """The hand behind the flange's plane: fingers along its z, palm facing its x."""
    site = max(range(arm.model.nsite), key=lambda s: int(arm.model.site_bodyid[s]), default=None)
    root = Pose.of_arrays(hand.model.body_pos[1], hand.model.body_quat[1])
    rest = hand.at_rest()
    in_root = root.inverse().then(Pose.of_arrays(rest.xpos[palm], rest.xquat[palm])).then(frame)
    turn = Pose((0.0, 0.0, 0.0), in_root.inverse().quat)
    behind = set(range(1, hand.model.nbody)) - {body for finger in fingers for body in finger.bodies}
    points = []
    for body in behind:
        pose = turn.then(root.inverse()).then(Pose.of_arrays(rest.xpos[body], rest.xquat[body]))
        points += [pose.of(corner) for corner in _boxes(hand, body).reshape(-1, 3)]
    low, high = np.min(points, 0), np.max(points, 0)
    pos = [-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]]
    at = arm.model.site(site).name if site is not None else arm.model.body(arm.model.nbody - 1).name
    return {"at": at, "pos": _short(pos), "quat": _short(turn.quat)}
