"""`Solid`: one thing of convex pieces: its mass, its inertia, how far it reaches, and how it can lie on a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ...errors import HandsightError

MAX_PLANES = 64
"""Planes of a piece, at most: what the ray caster goes through for every pixel."""
DENSITY = 600.0
"""kg/m^3 where nobody says otherwise: wood."""
LARGEST, SMALLEST = 0.4, 0.004
"""m: longest side of a thing that a hand may be asked to hold, and shortest: beyond, a unit was mistaken."""
MAX_RESTS, STEADY = 6, np.tan(np.radians(10.0))
"""Resting poses kept of a thing, and how far it must lean before it topples out of one (tangent of 10 degrees)."""
Array = NDArray[np.float64]


class SolidError(HandsightError):
    """Something that cannot be an object; says what is wrong with it."""


def directions(count: int = 32) -> Array:
    """(count, 3) unit vectors spread evenly over the sphere: the spiral of golden angles (Gonzalez 2010)."""
    rank = np.arange(count) + 0.5
    height, turn = 1 - 2 * rank / count, np.pi * (1 + 5**0.5) * rank
    around = np.sqrt(1 - height**2)
    return np.stack([around * np.cos(turn), around * np.sin(turn), height], 1)


def support(points: Array, along: Array) -> Array:
    """(D,) m: how far points (V, 3) reach along directions (D, 3), from the origin."""
    return (points @ along.T).max(0)


def planes(points: Array) -> Array:
    """(P, 4): outward normals and distances from the origin, m, of the faces of the convex hull of points (V, 3);
    triangles in one plane are one face.

    Raises:
        SolidError: the points lie in one plane, or there are none.
    """
    faces = _hull(points).equations * [1, 1, 1, -1]
    kept = np.zeros((0, 4))
    for one in faces:
        same = (kept[:, :3] @ one[:3] > 1 - 1e-6) & (np.abs(kept[:, 3] - one[3]) < 1e-5)
        if not same.any():
            kept = np.vstack([kept, one])
    return kept


def simplified(points: Array) -> Array:
    """(W, 3): of points (V, 3) those whose hull has at most `MAX_PLANES` faces, and is the nearest to the hull of all:
    beginning with the outermost along the axes, the one that lies farthest outside is taken, again and again."""
    points = points[_hull(points).vertices]
    if len(planes(points)) <= MAX_PLANES:
        return points
    outer = [int(found) for axis in np.concatenate([np.eye(3), -np.eye(3)]) for found in [(points @ axis).argmax()]]
    outer += [int((points @ way).argmax()) for way in directions(8)]
    chosen = list(dict.fromkeys(outer))
    while 2 * (len(chosen) + 1) - 4 <= MAX_PLANES:  # a hull of V points has 2 V - 4 triangles at most
        faces = _hull(points[chosen]).equations
        outside = (points @ faces[:, :3].T + faces[:, 3]).max(1)
        if outside.max() < 1e-5:
            break
        chosen.append(int(outside.argmax()))
    return points[chosen]


def moments(pieces: Sequence[Array]) -> tuple[float, Array, Array]:
    """Volume m^3, centre of mass (3,) m and covariance (3, 3) m^5, the integral of x x^T about that centre, of convex
    pieces (V, 3): exact sums over the tetrahedra between a point and the triangles of each hull."""
    volume, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    for points in pieces:
        hull = _hull(points)
        middle = points[hull.vertices].mean(0)
        corners = points[hull.simplices] - middle
        share = np.abs(np.linalg.det(corners)) / 6
        total = corners.sum(1)
        own = np.einsum("t,tvi,tvj->ij", share, corners, corners) + np.einsum("t,ti,tj->ij", share, total, total)
        shift = np.einsum("t,ti->i", share, total) / 4
        v = share.sum()
        second += own / 20 + np.outer(shift, middle) + np.outer(middle, shift) + v * np.outer(middle, middle)
        first += shift + v * middle
        volume += v
    com = first / volume
    return float(volume), com, second - volume * np.outer(com, com)


@dataclass(frozen=True)
class Solid:
    """A rigid thing. Its frame: the axes are its principal axes of inertia, as near as they come to those that it was
    given in; the origin is the middle of its bounding box along them."""

    name: str
    """What evaluations call it."""
    pieces: tuple[Array, ...]
    """Vertices (V, 3) of each convex piece, m."""
    mass: float
    """kg, before the draw of an episode makes it lighter or heavier."""
    com: Array
    """(3,) centre of mass, m."""
    inertia: Array
    """(3,) moments about the centre of mass along the axes, for one kilogram, m^2."""
    half: Array
    """(3,) half extents of its bounding box, m."""
    rests: Array
    """(R, 4) quaternions w x y z that lay it down in a pose in which it stays, R >= 1."""
    heights: Array
    """(R,) m: how high its origin is above the table in each."""
    held_out: bool = False
    """Whether trainings never meet it."""

    @staticmethod
    def of(
        name: str, pieces: Sequence[Array], held_out: bool = False, mass: float | None = None, density: float = DENSITY
    ) -> Solid:
        """A thing of uniform density; where pieces overlap, they count twice.

        Args:
            name: what it is called.
            pieces: vertices (V, 3) of each convex piece, m.
            held_out: whether trainings never meet it.
            mass: kg; None: by its density.
            density: kg/m^3.

        Raises:
            SolidError: no volume, numbers that are not finite, a size that no hand holds, more than `MAX_PLANES` faces
                on a piece, or moments that no body can have.
        """
        _check(name, pieces)
        volume, com, covariance = moments(pieces)
        turn = _principal(np.eye(3) * np.trace(covariance) - covariance)
        turned = [piece @ turn for piece in pieces]
        everything = np.concatenate(turned)
        low, high = everything.min(0), everything.max(0)
        middle = (low + high) / 2
        own = np.diag(turn.T @ covariance @ turn) / volume
        inertia = own.sum() - own
        if not (own > 0).all():
            raise SolidError(f"{name}: moments of inertia {inertia} m^2 per kg, which no body has")
        com = com @ turn - middle
        rests, heights = _rests(everything - middle, com)
        return Solid(
            name, tuple(piece - middle for piece in turned), volume * density if mass is None else mass, com, inertia,
            (high - low) / 2, rests, heights, held_out,
        )  # fmt: skip


def _hull(points: Array) -> Any:
    """scipy's `ConvexHull` of points (V, 3), or (V, 2). Raises SolidError: they have none."""
    from scipy.spatial import ConvexHull, QhullError  # half a second, for meshes only

    try:
        return ConvexHull(points)
    except (QhullError, ValueError, IndexError) as error:
        raise SolidError("no volume: the points lie in one plane, or are too few") from error


def _check(name: str, pieces: Sequence[Array]) -> None:
    if not pieces or not all(np.isfinite(piece).all() for piece in pieces):
        raise SolidError(f"{name}: {'coordinates that are not finite' if pieces else 'no pieces'}")
    sides = np.ptp(np.concatenate(pieces), axis=0)
    if sides.max() > LARGEST or sides.min() < SMALLEST:
        raise SolidError(
            f"{name}: sides of {' x '.join(f'{side:.3g}' for side in sides)} m, expected {SMALLEST} to {LARGEST} m: "
            "are its units metres?"
        )
    try:
        most = max(len(planes(piece)) for piece in pieces)
    except SolidError as error:
        raise SolidError(f"{name}: {error}") from error
    if most > MAX_PLANES:
        raise SolidError(f"{name}: a piece of {most} faces, at most {MAX_PLANES} can be shown")


def _principal(inertia: Array) -> Array:
    """(3, 3) rotation whose columns are principal axes: none at all if the given ones are, else the nearest to them."""
    apart = inertia - np.diag(np.diag(inertia))
    if np.abs(apart).max() < 1e-6 * np.trace(inertia):
        return np.eye(3)
    axes = np.linalg.eigh(inertia)[1]
    axes = axes[:, max(permutations(range(3)), key=lambda order: np.abs(np.diag(axes[:, order])).sum())]
    # never a mirror: of one the trace is at most 1, and the best order of any rotation or mirror is above that
    return axes * np.where(np.diag(axes) < 0, -1.0, 1.0)


def _rests(points: Array, com: Array) -> tuple[Array, Array]:
    """Quaternions (R, 4) and heights (R,) of the poses in which a thing lies steadily on a face of its hull, the
    steadiest first; the steadiest of all, where none is steady enough."""
    found = []
    for normal, distance in [(plane[:3], plane[3]) for plane in planes(points)]:
        face = points[points @ normal > distance - 1e-5]
        lean = _margin(face, normal, com) / max(distance - com @ normal, 1e-6)
        found.append((round(float(lean), 6), tuple(np.round(normal, 6)), normal, distance))
    found.sort(key=lambda one: one[:2], reverse=True)
    steady = [one for one in found if one[0] > STEADY][:MAX_RESTS] or found[:1]
    return np.array([_laid(normal) for _, _, normal, _ in steady]), np.array([one[3] for one in steady])


def _margin(face: Array, normal: Array, com: Array) -> float:
    """m: how far the centre of mass, seen along the normal of a face (V, 3), lies inside its edges."""
    across = np.linalg.svd(normal[None])[2][1:]
    try:
        edges = _hull(face @ across.T).equations
    except SolidError:
        return 0.0
    return float(-(edges[:, :2] @ (across @ com) + edges[:, 2]).max())


def _laid(normal: Array) -> Array:
    """Quaternion (4,) of the shortest turn that brings an outward normal (3,) to point down."""
    if normal[2] > 1 - 1e-9:
        return np.array([0.0, 1.0, 0.0, 0.0])
    axis = np.cross(normal, [0, 0, -1])
    quat, angle = np.zeros(4), np.arctan2(np.linalg.norm(axis), -normal[2])
    mujoco.mju_axisAngle2Quat(quat, axis / max(float(np.linalg.norm(axis)), 1e-12), angle)
    return quat
