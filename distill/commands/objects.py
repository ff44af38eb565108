"""`handsight objects import SRC OUT`, `handsight objects draw SET OUT`: sets of objects, brought in and looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import mujoco
import numpy as np

from ...errors import HandsightError
from ...files import check_writable, read_text, write_arrays, write_json, written
from ...sims.assets import OBJECTS, named
from ...sims.engines.ray_caster import POSES, RayCaster, View
from ...sims.objects.choose import SHAPES, object_set
from ...sims.objects.object_set import ObjectSet
from ...sims.objects.solids import Solid, SolidError
from ...sims.robots.robot import RENDERED
from ...sims.scene import look_at
from ..runs.progress import stage, tell
from .arguments import ObjectsArgs

SHEET = "contact_sheet.png"
LICENCES = ("LICENSE*", "LICENCE*", "COPYING*")
COLUMNS, TILE = 20, 96
"""Objects in a row of a contact sheet, and side of each picture, pixels."""
FROM = np.array([0.65, -0.6, 0.47])
"""Direction from which an object is drawn."""


def objects(args: ObjectsArgs) -> None:
    """What `handsight objects` does.

    Raises:
        HandsightError: a library is missing, no object passed, or there is no such set.
    """
    if args.action == "draw":
        if args.out is None:
            raise HandsightError("objects draw: expected SET OUT.png")
        _draw(object_set(named("objects", str(args.source))), args.out)
        tell(f"Saved {args.out}")
        return
    if args.out is None or not args.source.is_dir():
        raise HandsightError(f"objects import: expected SRC OUT, two folders, found {args.source} {args.out or ''}")
    check_writable(args.out)
    passed, left_out = imported(args)
    lines = [*left_out.values()]
    if not passed:
        raise HandsightError("\n  ".join([f"objects import: none of {len(left_out)} objects passed:", *lines[:20]]))
    _write(args, passed, left_out)
    held_out = sum(solid.held_out for solid in passed)
    more = [f"... and {len(lines) - 20} more, all in {args.out / OBJECTS}"] if len(lines) > 20 else []
    tell(
        "\n  ".join([f"{len(left_out)} left out:", *lines[:20], *more]) if lines else "none left out",
        f"{len(passed)} objects, {held_out} of them held out, in {args.out}: --objects {args.out}",
    )


def imported(args: ObjectsArgs) -> tuple[list[Solid], dict[str, str]]:
    """The objects of a folder that passed, and why each of the others, by name, did not."""
    from .object_meshes import libraries, listed, solid

    libraries()
    passed, left_out, files = [], {}, listed(args.source)
    with stage(f"Import {args.source.name}", len(files), unit="objects") as progress:
        for name, file in files.items():
            try:
                passed.append(solid(name, file, args, is_held_out(name, args.held_out_share)))
            except SolidError as error:
                left_out[name] = str(error)
            progress.advance(1)
    return passed, left_out


def is_held_out(name: str, share: float) -> bool:
    """Whether an object is held out: decided by a hash of its name alone, so that it stays where it is when others come
    and go."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < share * 2**32


def _write(args: ObjectsArgs, passed: Sequence[Solid], left_out: dict[str, str]) -> None:
    assert args.out is not None
    facts = [
        {
            "name": one.name, "split": "held_out" if one.held_out else "train", "pieces": len(one.pieces),
            "mass": one.mass, "size": (2 * one.half).tolist(),
        }
        for one in passed
    ]  # fmt: skip
    about = {"source": args.origin or args.source.resolve().name, "licence": args.licence or _licence(args.source)}
    arrays = {f"{one.name}/{number}": piece for one in passed for number, piece in enumerate(one.pieces)}
    with written(args.out) as draft:
        draft.mkdir()
        write_json(draft / OBJECTS, {**about, "objects": facts, "left_out": left_out})
        write_arrays(draft / SHAPES, arrays)
        _draw(ObjectSet.of_solids(args.out.name, passed), draft / SHEET)


def _licence(source: Path) -> str:
    """The first line of the licence that lies with the objects, in their folder or the one above."""
    for folder in (source, source.resolve().parent):
        for file in sorted(one for pattern in LICENCES for one in folder.glob(pattern) if one.is_file()):
            lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
            return f"{file.name}: {lines[0] if lines else 'empty'}"
    return "unknown"


def _draw(objects: ObjectSet, out: Path) -> None:
    """Write a contact sheet, its names in the order of the set."""
    from matplotlib.figure import Figure

    pictures = portraits(objects)
    rows = -(-len(pictures) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * 0.9, rows * 1.02))
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for one in axes:
        one.axis("off")
    for one, picture, name in zip(axes, pictures, objects.names, strict=False):
        one.imshow(picture)
        colour = "#b03a2e" if name in objects.held_out else "#333333"
        one.set_title(name.replace("_held_out", "")[:20], fontsize=4.5, pad=1.5, color=colour)
    figure.subplots_adjust(0.002, 0.005, 0.998, 0.985, 0.02, 0.14)
    with written(out) as draft:
        figure.savefig(draft, dpi=110, format="png")


def portraits(objects: ObjectSet) -> np.ndarray:
    """(K, TILE, TILE, 3) uint8: each object of a set of meshes on its own, as it lies in its steadiest pose.

    Raises:
        HandsightError: the set has no meshes.
    """
    if objects.meshes is None:
        raise HandsightError(f"object set {objects.name!r} is made of primitives: there are no meshes to draw")
    return np.stack([_portrait(solid) for solid in objects.meshes.solids])


def _portrait(solid: Solid) -> np.ndarray:
    """(TILE, TILE, 3) uint8: one object, from above a corner and so far away that it fills the picture."""
    spec, eye = mujoco.MjSpec(), 4.2 * np.linalg.norm(solid.half) * FROM / np.linalg.norm(FROM)
    body = spec.worldbody.add_body(quat=solid.rests[0])
    for number, piece in enumerate(solid.pieces):
        name = spec.add_mesh(name=f"{number}", uservert=piece.ravel()).name
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, group=RENDERED, rgba=[0.45, 0.62, 0.8, 1])
    sun = {"type": mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, "diffuse": [0.7] * 3, "ambient": [0.1] * 3}
    spec.worldbody.add_light(dir=[-0.3, 0.5, -1.0], **sun)
    spec.worldbody.add_camera(name="view", fovy=30, pos=eye, quat=look_at(eye, np.zeros(3)))
    model = spec.compile()
    model.vis.map.zfar = 10 / model.stat.extent
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with closing(RayCaster(model, View(("view",), 2 * TILE, 2 * TILE, (RENDERED,), (1.0, 1.0, 1.0)), 1)) as caster:
        image = caster.render({name: getattr(data, name)[None] for name in POSES}, ("stereo",))["stereo"][0, 0]
    return image.unflatten(2, (TILE, 2)).unflatten(1, (TILE, 2)).float().mean((2, 4)).byte().permute(1, 2, 0).numpy()
