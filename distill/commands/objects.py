"""`handsight objects import SRC OUT`, `handsight objects draw SET OUT`: sets of objects, brought in and looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ...errors import HandsightError
from ...files import check_writable, read_text, write_arrays, write_json, written
from ...sims.assets import OBJECTS, named
from ...sims.objects.choose import SHAPES, object_set
from ...sims.objects.object_set import ObjectSet
from ...sims.objects.solids import Solid, SolidError
from ..report.portraits import portraits
from ..runs.progress import stage, tell
from .arguments import ObjectsArgs

SHEET = "contact_sheet.png"
LICENCES = ("LICENSE*", "LICENCE*", "COPYING*")
COLUMNS = 20
"""Objects in a row of a contact sheet."""


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

    pictures = portraits(objects, objects.names)
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
