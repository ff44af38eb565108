"""A first draft of a robot's description, read off the kinematic trees of its arm's and its hand's MJCF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from scipy.optimize import least_squares

from ..assets import AssetError
from .description import PalmConfig
from .mjcf import above, frame_of
from .mjcf_file import Part, read_part
from .rebuilt import Pose

AHEAD, ALONG = 0.6, 0.15
"""Where a hand of fingers of length 1 is to hold things: so far out of the palm, and so far along the fingers (the
Allegro hand's grasp site is at .61 and .19)."""
CURL, OPEN = 0.5, 0.25
"""Shares of a joint's range: what a finger's joints are curled by before their tips are sent to the grasp site, and of
that posture, what an open hand keeps."""
SQUEEZE = 0.3
"""Share of the way from open to tips that meet by which a hand closes further: what is between them is pressed."""
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


class Hand:
    """A hand as its tree tells it: the palm, the digits, and how far joints go."""

    def __init__(self, part: Part) -> None:
        """Raises AssetError: no body carries two digits."""
        self.part, self.model, self.rest = part, part.model, part.posed()
        self.low, self.high = np.where(self.model.jnt_limited[:, None], self.model.jnt_range, [-1.0, 1.0]).T
        self.spreads = np.abs(self.high + self.low) < 0.2 * (self.high - self.low)
        """(J,) whether a joint goes as far to both sides."""
        moves = lambda body: any(self.model.body_jntnum[one] for one in self.below(body))  # noqa: E731
        bodies = range(1, self.model.nbody)
        self.palm = max(bodies, key=lambda body: (sum(map(moves, self.children(body))), -body))
        """The body that carries most of the chains with joints."""
        self.fingers = self._fingers()
        """Digits, that whose last joint turns least like the others', the thumb, at the end."""
        if len(self.fingers) < 2:
            raise AssetError(f"{part.path.name}: expected a body that carries two digits or more, found none")

    def children(self, body: int) -> list[int]:
        """Bodies that hang on one."""
        return [other for other in range(1, self.model.nbody) if self.model.body_parentid[other] == body]

    def below(self, body: int) -> list[int]:
        """A body and all that hangs on it, each after its parent."""
        return [other for other in range(1, self.model.nbody) if body in above(self.model, other)]

    def _fingers(self) -> list[Finger]:
        m, found = self.model, list[Finger]()
        for root in self.children(self.palm):
            bodies = self.below(root)
            joints = [int(m.body_jntadr[b]) + k for b in bodies for k in range(m.body_jntnum[b])]
            if joints:
                tip = next(b for b in reversed(bodies) if m.body_geomnum[b] or b == root)
                found.append(Finger(root, bodies, joints, tip, self._end(tip)))
        axis = np.array([self.rest.xaxis[finger.joints[-1]] for finger in found]).reshape(-1, 3)
        odd = int(np.argmin(np.abs(axis @ axis.T).sum(1))) if len(found) > 2 else len(found) - 1
        return [*found[:odd], *found[odd + 1 :], *found[odd : odd + 1]]

    def _end(self, body: int) -> np.ndarray:
        """(3,) m: 5 mm below the far end of a body's last geom, in its frame."""
        boxes = self.boxes(body)
        middles = boxes.mean(1)
        ahead = middles[-1] - middles.mean(0)
        ahead = ahead if np.linalg.norm(ahead) > 0.002 else middles[-1]
        ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-6)
        return middles[-1] + ahead * max(float(((boxes[-1] - middles[-1]) @ ahead).max()) - 0.005, 0.0)

    def boxes(self, body: int) -> np.ndarray:
        """(G, 8, 3) m: corners of the boxes around a body's geoms, in its frame; its origin, if it has none."""
        m, found, rot = self.part.shapes, [], np.zeros(9)
        signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
        for geom in self.part.kept_geoms(body, collide=True):
            mujoco.mju_quat2Mat(rot, m.geom_quat[geom])
            middle, half = m.geom_aabb[geom].reshape(2, 3)
            found.append(m.geom_pos[geom] + (middle + signs * half) @ rot.reshape(3, 3).T)
        return np.array(found) if found else np.zeros((1, 8, 3))

    def tips(self, joints: np.ndarray | None = None) -> np.ndarray:
        """(F, 3) m: fingertips in the frame of the file's world, for joint positions (J,)."""
        data = self.part.posed(joints)
        return np.array([data.xpos[f.tip] + data.xmat[f.tip].reshape(3, 3) @ f.tip_pos for f in self.fingers])

    def curled(self) -> np.ndarray:
        """(J,) rad: joints that bend further to one side are bent to it by `CURL`, those that spread are in the middle,
        as are those of a thumb."""
        middle, far = (self.low + self.high) / 2, np.where(np.abs(self.high) >= np.abs(self.low), self.high, self.low)
        posture = np.where(self.spreads, middle, CURL * far)
        posture[self.fingers[-1].joints] = middle[self.fingers[-1].joints]
        return np.clip(posture, self.low, self.high)


def draft_robot(arm_path: Path, hand_path: Path) -> dict[str, Any]:
    """The tables of a TOML file, but `home` and the files' names.

    Raises:
        AssetError: MuJoCo cannot compile a file, or no body carries two digits.
    """
    arm, part = (read_part(path, path.parent, p, "capsule") for path, p in ((arm_path, "arm_"), (hand_path, "hand_")))
    hand = Hand(part)
    axes = PalmConfig(hand.model.body(hand.palm).name, *_axes(hand))
    frame = frame_of(axes)
    closed, grasp = _close(hand, Pose.of_arrays(hand.rest.xpos[hand.palm], hand.rest.xquat[hand.palm]).then(frame))
    opened = np.clip(OPEN * closed, hand.low, hand.high)
    opposing = hand.fingers[-1].joints[: len(hand.fingers[-1].joints) // 2]
    opened[opposing] = closed[opposing]  # a thumb's first joints oppose it, also when the hand is open
    squeezed = np.clip(closed + SQUEEZE * (closed - opened), hand.low, hand.high)
    name = lambda body: hand.model.body(body).name or str(body)  # noqa: E731
    joint = lambda values: {hand.model.joint(j).name: _short(values[j]) for f in hand.fingers for j in f.joints}  # noqa: E731
    return {
        "geometry": "capsule",
        "mount": _mount(arm, hand, frame),
        "palm": {"body": axes.body, **{key: _short(getattr(axes, key)) for key in ("pos", "facing", "fingers")}},
        "grasp": {"pos": _short(grasp)},
        "open_hand": joint(opened),
        "closed_hand": joint(squeezed),
        "digits": [
            {"name": name(f.root), "root": name(f.root), "tip": name(f.tip), "tip_pos": _short(f.tip_pos)}
            for f in hand.fingers
        ],
    }  # fmt: skip


def _short(values: Any) -> Any:
    return round(float(values), 4) + 0.0 if np.ndim(values) == 0 else [_short(value) for value in values]


def _axes(hand: Hand) -> tuple[Any, Any, Any]:
    """Origin, direction out of the palm and along the fingers, in the palm's own frame."""
    rot, roots = hand.rest.xmat[hand.palm].reshape(3, 3), hand.rest.xpos[[f.root for f in hand.fingers[:-1]]]
    tips, bent = hand.tips()[:-1], hand.tips(hand.curled())[:-1]
    along, out, row = (tips - roots).mean(0), (bent - tips).mean(0), roots[-1] - roots[0]
    along /= np.linalg.norm(along)
    if len(roots) > 1:  # the row of knuckles tells more than how fingers bend
        across = np.cross(row, along)
        out = across * np.sign(across @ out)
    out -= along * (out @ along)
    own = lambda vector: tuple(float(v) for v in rot.T @ vector)  # noqa: E731
    return own(roots.mean(0) - hand.rest.xpos[hand.palm]), own(out / np.linalg.norm(out)), own(along)


def _close(hand: Hand, palm: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Joints (J,) of a hand whose fingers, each in its own lane, and thumb meet at the grasp site, and that site moved
    to the middle between them; m, frame of the palm, whose pose in the file's world is given."""
    inside = lambda points: np.array([palm.inverse().of(point) for point in points])  # noqa: E731
    roots, start = hand.rest.xpos[[f.root for f in hand.fingers]], hand.curled()
    lanes = inside(roots)[:, 1]
    lanes[-1] = lanes[:-1].mean()
    length = float(np.median(np.linalg.norm(hand.tips() - roots, axis=1)[:-1]))
    own = [joint for finger in hand.fingers for joint in finger.joints]
    weight = np.where(hand.spreads, SPREAD_WEIGHT, REST_WEIGHT)
    weight[hand.fingers[-1].joints] = REST_WEIGHT
    closed, grasp = start.copy(), np.array([AHEAD * length, 0.0, ALONG * length])

    def away(values: np.ndarray, goals: np.ndarray) -> np.ndarray:
        closed[own] = values
        return np.concatenate([(inside(hand.tips(closed)) - goals).ravel() / 0.02, (weight * (closed - start))[own]])

    for _ in range(2):
        goals = np.column_stack([np.full(len(lanes), grasp[0]), lanes, np.full(len(lanes), grasp[2])])
        first, limits = np.clip(start, hand.low + 1e-6, hand.high - 1e-6)[own], (hand.low[own], hand.high[own])
        closed[own] = least_squares(away, first, bounds=limits, args=(goals,)).x
        reached = inside(hand.tips(closed))
        grasp = (reached[:-1].mean(0) + reached[-1]) / 2
    return closed, grasp


def _mount(arm: Part, hand: Hand, frame: Pose) -> dict[str, Any]:
    """The hand behind the flange's plane: fingers along its z, palm facing its x."""
    site = max(range(arm.model.nsite), key=lambda s: int(arm.model.site_bodyid[s]), default=None)
    root = Pose.of_arrays(hand.model.body_pos[1], hand.model.body_quat[1])
    in_root = lambda body: root.inverse().then(Pose.of_arrays(hand.rest.xpos[body], hand.rest.xquat[body]))  # noqa: E731
    turn = Pose((0.0, 0.0, 0.0), in_root(hand.palm).then(frame).inverse().quat)
    behind = set(range(1, hand.model.nbody)) - {body for finger in hand.fingers for body in finger.bodies}
    points = [turn.then(in_root(body)).of(c) for body in behind for c in hand.boxes(body).reshape(-1, 3)]
    low, high = np.min(points, 0), np.max(points, 0)
    pos = [-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]]
    at = arm.model.site(site).name if site is not None else arm.model.body(arm.model.nbody - 1).name
    return {"at": at, "pos": _short(pos), "quat": _short(turn.quat)}
