"""What the fake of Isaac Gym knows of geometry: URDF files, rotations, kinematics, and rays onto simple things.

Independent of MuJoCo on purpose: `check-env` compares the two. Written for Python 3.8 and NumPy alone.
"""

import math
from xml.etree import ElementTree

import numpy as np


class Asset:
    """An imported URDF, or a box. Joints and links come in an order of their own, as Isaac Gym's importer has one."""

    def __init__(self, links, joints=()):
        """links: {name: [(place, half size) of each collision shape, m]}; joints: one dict for each."""
        self.joints = {joint["child"]: joint for joint in joints}
        root = next(name for name in links if name not in self.joints)
        self.links, todo = [], [root]
        while todo:  # depth first, last sibling first
            self.links.append(todo.pop(0))
            todo = sorted((c for c, j in self.joints.items() if j["parent"] == self.links[-1]), reverse=True) + todo
        self.moving = [name for name in self.links if name in self.joints and self.joints[name]["type"] == "revolute"]
        self.shapes = links

    @property
    def dof_names(self):
        return [self.joints[name]["name"] for name in self.moving]

    @property
    def all_shapes(self):
        return [shape for link in self.links for shape in self.shapes[link]]

    def extent(self):
        """(height below the origin, radius of the ball about it) of the collision shapes, m."""
        below = max(size[2] - place[2] for place, size in self.all_shapes)
        return below, max(np.linalg.norm(place) + np.linalg.norm(size) for place, size in self.all_shapes)

    def kinematics(self, q):
        """Places (N, L, 3) and rotations (N, L, 3, 3) of the links for joint angles q (N, D), rad."""
        places, turns = {}, {}
        for link in self.links:
            joint = self.joints.get(link)
            if joint is None:
                places[link], turns[link] = np.zeros((len(q), 3)), np.tile(np.eye(3), (len(q), 1, 1))
                continue
            above, turn = turns[joint["parent"]], joint["turn"]
            if link in self.moving:
                turn = turn @ turn_about(joint["axis"], q[:, self.moving.index(link)])
            places[link] = places[joint["parent"]] + above @ joint["place"]
            turns[link] = above @ turn
        return tuple(np.stack([poses[link] for link in self.links], 1) for poses in (places, turns))


def read_urdf(path, from_text=False):
    """The asset of a URDF file, or of its text."""
    root = ElementTree.fromstring(path) if from_text else ElementTree.parse(path).getroot()
    links = {link.get("name"): [_shape(c) for c in link.findall("collision")] for link in root.findall("link")}
    joints = [_joint(joint) for joint in root.findall("joint")]
    return Asset(links, joints)


def _joint(joint):
    place, turn = _origin(joint)
    axis = joint.find("axis")
    return {
        "name": joint.get("name"), "type": joint.get("type"), "parent": joint.find("parent").get("link"),
        "child": joint.find("child").get("link"), "place": place, "turn": turn,
        "axis": None if axis is None else _numbers(axis.get("xyz")),
    }  # fmt: skip


def _origin(element):
    origin = element.find("origin")
    return _numbers(origin.get("xyz")), _rpy(_numbers(origin.get("rpy")))


def _shape(collision):
    """Place and half size of a collision shape's bounding box in its link, m."""
    (place, turn), shape = _origin(collision), collision.find("geometry")[0]
    if shape.tag == "box":
        half = _numbers(shape.get("size")) / 2
    else:
        radius = float(shape.get("radius"))
        half = np.array([radius, radius, float(shape.get("length", 2 * radius)) / 2])
    return place, np.abs(turn) @ half


def _numbers(text):
    return np.array([float(word) for word in text.split()])


def _rpy(angles):
    """URDF's fixed-axis roll, pitch, yaw to a matrix."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def turn_about(axis, angle):
    """(N, 3, 3) rotations by angle (N,) about one axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def matrix(quat):
    """(..., 4) x y z w to (..., 3, 3)."""
    x, y, z, w = np.moveaxis(np.asarray(quat, dtype=float), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def quaternion(rotation):
    """(N, 3, 3) to (N, 4) x y z w: the largest of the four candidates, so that no division is by a small number."""
    m = rotation
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    four = np.stack([2 * m[:, 0, 0] - trace, 2 * m[:, 1, 1] - trace, 2 * m[:, 2, 2] - trace, trace], 1) + 1
    xw, yw, zw = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 1, 0] + m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 2, 1] + m[:, 1, 2]
    rows = np.stack(
        [
            np.stack([four[:, 0], xy, xz, xw], 1), np.stack([xy, four[:, 1], yz, yw], 1),
            np.stack([xz, yz, four[:, 2], zw], 1), np.stack([xw, yw, zw, four[:, 3]], 1),
        ],
        1,
    )  # fmt: skip
    best = rows[np.arange(len(m)), four.argmax(1)]
    return best / np.linalg.norm(best, axis=1, keepdims=True)


def pixel_rays(width, height, horizontal_fov):
    """(pixels, 3) directions of length 1 along the optical axis: the camera looks along x, y is left, z up."""
    focal = 0.5 * width / math.tan(math.radians(horizontal_fov) / 2)
    left, up = np.meshgrid((width / 2 - np.arange(width) - 0.5) / focal, (height / 2 - np.arange(height) - 0.5) / focal)
    return np.stack([np.ones_like(left), left, up], -1).reshape(-1, 3)


def cast(eye, ray, table, ball):
    """Rays onto a table and a ball in every world.

    eye (N, 3) m; ray (N, P, 3); table: (centre (3,), half size (3,)); ball: (centres (N, 3), radii (N,)).
    Returns depth (N, P) along the optical axis, m, inf where nothing is, and what is there: 0 sky, 1 table, 2 ball.
    """
    (centre, half), (middle, radius) = table, ball
    with np.errstate(divide="ignore", invalid="ignore"):
        far = (centre[2] + half[2] - eye[:, None, 2]) / ray[..., 2]
        there = eye[:, None, :2] + far[..., None] * ray[..., :2]
        depth = np.where((far > 0) & (np.abs(there - centre[:2]) < half[:2]).all(-1), far, np.inf)
    gap = (eye - middle)[:, None]
    a, b = (ray**2).sum(-1), (ray * gap).sum(-1)
    root = b * b - a * ((gap**2).sum(-1) - radius[:, None] ** 2)
    near = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    hit = (near > 0) & (near < depth)
    return np.where(hit, near, depth), np.where(hit, 2, np.isfinite(depth).astype("i4"))
