"""From a file of triangles to the convex pieces of an object: read, check, scale, decompose, simplify."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from ...errors import HandsightError
from ...files import inside
from ...sims.objects.solids import Array, Solid, SolidError, simplified
from .arguments import ObjectsArgs

MESHES = (".obj", ".stl")
CONVEX = 0.999
"""Share of its convex hull's volume from which a part counts as convex."""
CONCAVITY = 0.05
"""How far coacd lets a piece be from convex (Wei et al. 2022): its own default."""


def libraries() -> tuple[Any, Any]:
    """trimesh and coacd. Raises HandsightError: one is not installed; says how to."""
    try:
        import coacd
        import trimesh
    except ImportError as error:
        raise HandsightError(
            f"objects import needs {error.name}, which is not installed: pip install 'handsight[objects]'"
        ) from error
    coacd.set_log_level("error")
    return trimesh, coacd


def listed(source: Path) -> dict[str, Path]:
    """The files of a folder that are objects, by name: its URDFs, or else all its OBJ and STL files; a name is a file's
    place in the folder, as far as it takes to tell it from all others.

    Raises:
        HandsightError: there are none.
    """
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".urdf", *MESHES) and path.is_file())
    files = [path for path in files if path.suffix.lower() == ".urdf"] or files
    if not files:
        raise HandsightError(f"{source} holds no objects: expected .urdf, .obj or .stl files in it or below it")
    stems = [path.stem for path in files]
    whole = [path.relative_to(source).with_suffix("").as_posix().replace("/", "_") for path in files]
    return {
        stem if stems.count(stem) == 1 else long: path for stem, long, path in zip(stems, whole, files, strict=True)
    }


def solid(name: str, file: Path, args: ObjectsArgs, held_out: bool) -> Solid:
    """The object of a file.

    Raises:
        SolidError: what is wrong with it.
    """
    trimesh, coacd = libraries()
    pieces: list[Array] = []
    for mesh in _parts(trimesh, file):
        mesh.apply_scale(args.scale)
        wrong = {
            "coordinates that are not finite": not np.isfinite(mesh.vertices).all(),
            "its surface is open": not mesh.is_watertight,
            "its surface is inverted: the triangles face inward": not mesh.is_winding_consistent or mesh.volume < 0,
            "no volume": mesh.volume < 1e-12,
        }
        if any(wrong.values()):
            raise SolidError(f"{name}: {next(words for words, is_so in wrong.items() if is_so)}")
        if mesh.volume >= CONVEX * mesh.convex_hull.volume:
            pieces.append(mesh.vertices)
            continue
        whole, settings = coacd.Mesh(mesh.vertices, mesh.faces), {"resolution": 1000, "mcts_iterations": 60}
        found = coacd.run_coacd(whole, threshold=CONCAVITY, max_convex_hull=args.pieces, **settings)
        pieces += [np.array(vertices) for vertices, _ in found]
    if len(pieces) > args.pieces:
        raise SolidError(f"{name}: {len(pieces)} convex pieces, more than --pieces {args.pieces}")
    return Solid.of(name, [simplified(np.array(piece)) for piece in pieces], held_out, args.mass, args.density)


def _parts(trimesh: Any, file: Path) -> list[Any]:
    """The connected parts of what a file describes, in its own unit."""
    try:
        meshes = list(_urdf(trimesh, file)) if file.suffix.lower() == ".urdf" else [_mesh(trimesh, file)]
        found = [part for mesh in meshes for part in mesh.split(only_watertight=False, repair=False)]
    except HandsightError:
        raise
    except Exception as error:  # whatever a parser of foreign files met
        raise SolidError(f"{file.stem}: cannot be read: {str(error) or type(error).__name__}") from error
    if not found:
        raise SolidError(f"{file.stem}: no triangles")
    return found


def _mesh(trimesh: Any, file: Path) -> Any:
    mesh = trimesh.load(file, force="mesh", process=False)
    if not np.isfinite(mesh.vertices).all():
        raise SolidError(f"{file.stem}: coordinates that are not finite")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh


def _urdf(trimesh: Any, file: Path) -> Iterator[Any]:
    """The collision meshes of a URDF's only link, each where its origin says. Files outside its folder are not read."""
    links = ElementTree.parse(file).getroot().findall("link")
    if len(links) != 1:
        raise SolidError(f"{file.stem}: {len(links)} links, expected one: a rigid object")
    for collision in links[0].findall("collision"):
        shape, origin = collision.find("geometry/mesh"), collision.find("origin")
        if shape is None:
            raise SolidError(f"{file.stem}: a collision geometry that is no mesh")
        numbers = lambda at, name, usual: np.array((at.get(name) or usual).split(), float)  # noqa: E731
        mesh, place = _mesh(trimesh, inside(file.parent, shape.get("filename", ""), SolidError)), np.eye(4)
        place[:3, :3] = np.diag(numbers(shape, "scale", "1 1 1"))
        if origin is not None:
            place[:3, :3] = Rotation.from_euler("xyz", numbers(origin, "rpy", "0 0 0")).as_matrix() @ place[:3, :3]
            place[:3, 3] = numbers(origin, "xyz", "0 0 0")
        yield mesh.apply_transform(place)
