"""Pictures and films for a study's report, made where the checkpoints are and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from ...files import explained, inside, read_json, write, write_json
from ..report.comparison import Comparison
from ..report.figures import colour, drawn
from ..report.film import Film, file_name, make_film, write_video
from ..report.gallery import film_moments, moments_figure
from ..report.results import Entry
from ..runs.policy_io import load_policy
from ..runs.progress import stage
from .results import Study

FILE = "illustrations.json"
FILMED = 4
"""Resets in each film."""
SPEED = 0.5
"""Playing speed of the films."""


@dataclass(frozen=True)
class Picture:
    """One file with what is to be said below it."""

    file: str
    """Path from the scene's folder."""
    caption: str


@dataclass(frozen=True)
class Illustrations:
    """What was made for one scene."""

    moments: tuple[Picture, ...] = ()
    """Resets in which the state teacher's student fails and the depth teacher's does not, png."""
    films: tuple[Picture, ...] = ()
    """One mp4 for each kind of policy."""

    def save(self, folder: Path) -> None:
        """Write the list; the files themselves are there."""
        write_json(folder / FILE, TypeAdapter(Illustrations).dump_python(self, mode="json"))

    @staticmethod
    def load(folder: Path) -> Illustrations:
        """What `save` wrote; nothing where nothing was made."""
        path = folder / FILE
        if not path.is_file():
            return Illustrations()
        with explained(path):
            found = TypeAdapter(Illustrations).validate_python(read_json(path))
        for picture in (*found.moments, *found.films):
            inside(folder, picture.file)
        return found


def illustrate(
    study: Study, folder: Path, runs: Path, moments: int = 3, device: str = "cpu"
) -> dict[str, Illustrations]:
    """Film the first policy of each role of each scene, and the moments that tell the headline's students apart.

    Scenes of which no checkpoint is at hand are passed over, and what was made of them before is kept.

    Args:
        study: its entries name their checkpoints.
        folder: of the study's results.
        runs: the folder from which the entries' checkpoints are told.
        moments: resets in the gallery of a scene.
        device: where policies and environments run.
    """
    made: dict[str, Illustrations] = {}
    for scene, comparison in study.comparisons.items():
        firsts = [comparison.of_role(role)[0] for role in comparison.roles]
        at_hand = [(entry, runs / entry.origin.checkpoint) for entry in firsts if _is_there(runs, entry)]
        if not at_hand:
            continue
        with stage(f"Film {scene}", len(at_hand) + 1, unit="policies") as progress:
            films = _films(comparison, at_hand, folder / scene, device, progress.advance)
            told = _moments(comparison, runs, folder / scene, moments, device)
            progress.advance(1)
        made[scene] = Illustrations(told, films)
        made[scene].save(folder / scene)
    return made


def _films(
    comparison: Comparison,
    entries: list[tuple[Entry, Path]],
    folder: Path,
    device: str,
    advance: Callable[[int], None],
) -> tuple[Picture, ...]:
    """An mp4 of each of the entries, given with their checkpoints."""
    settings, pictures = comparison.settings, []
    for entry, checkpoint in entries:
        loaded = load_policy(checkpoint, device=device)
        film = make_film(loaded.policy, loaded.env_config, FILMED, settings["seed"], settings.get("reset_kind"), device)
        file = Path("videos") / f"{file_name(entry.role)}.mp4"
        write_video(folder / file, film, title=entry.name, speed=SPEED, tile=112)
        pictures.append(Picture(str(file), film_caption(entry.name, film)))
        advance(1)
    return tuple(pictures)


def film_caption(name: str, film: Film) -> str:
    """What is said below a film."""
    good, count = int((film.success[-1] & ~film.lost).sum()), film.success.shape[1]
    return f"{name}: resets 0 to {count - 1}, {good} of {count} end in success; played at {SPEED:g}x."


def _moments(comparison: Comparison, runs: Path, folder: Path, count: int, device: str) -> tuple[Picture, ...]:
    """Of the headline's first pair of chains."""
    losses = comparison.extra_losses()
    if not losses:
        return ()
    entries = [comparison.entry(name) for name in losses[0].chains[0]]
    if not all(_is_there(runs, entry) for entry in entries):
        return ()
    loaded = [load_policy(runs / entry.origin.checkpoint, device=device) for entry in entries]
    students = [(e.name, one.policy, e.evaluation) for e, one in zip(entries, loaded, strict=True)]
    colours, pictures = [colour(comparison, entry.role) for entry in entries], []
    for scenes in film_moments(students[0], students[1], loaded[0].env_config, count, device):
        file = Path("gallery") / f"reset-{scenes.reset}.png"
        write(folder / file, drawn(partial(moments_figure, scenes.films, colours), "png"))
        pictures.append(Picture(str(file), scenes.caption(entries[0].evaluation)))
    return tuple(pictures)


def _is_there(runs: Path, entry: Entry) -> bool:
    place = runs / entry.origin.checkpoint
    return place.is_dir() and place.resolve().is_relative_to(runs.resolve())
