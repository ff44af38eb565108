"""Pictures and films for a report, made where the checkpoints are and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from ...files import explained, inside, read_json, write, write_json
from ..runs.policy_io import LoadedPolicy, load_policy
from ..runs.progress import stage
from .comparison import Comparison
from .film import Film, contact_sheet, file_name, make_film, write_video
from .gallery import film_moments, moments_figure
from .results import PolicyResult
from .study_results import Study
from .style import colour, drawn

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
    sheets: tuple[Picture, ...] = ()
    """What the students saw in the first reset of their films, png."""

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
        for picture in (*found.moments, *found.films, *found.sheets):
            inside(folder, picture.file)
        return found


def illustrate_study(
    study: Study, folder: Path, runs: Path, moments: int = 3, device: str = "cpu"
) -> dict[str, Illustrations]:
    """Film the first policy of each kind of each scene, and the moments that tell the headline's students apart.

    Scenes of which no checkpoint is at hand are passed over, and what was made of them before is kept.

    Args:
        study: its policies name their checkpoints.
        folder: of the study's results.
        runs: the folder from which the policies' checkpoints are told.
        moments: resets in the gallery of a scene.
        device: where policies and environments run.
    """

    def load(policy: PolicyResult) -> LoadedPolicy | None:
        path = runs / policy.origin.checkpoint
        return (
            load_policy(path, device=device)
            if path.is_dir() and path.resolve().is_relative_to(runs.resolve())
            else None
        )

    made = {s: illustrate(c, load, folder / s, f"Film {s}", moments, device) for s, c in study.comparisons.items()}
    return {scene: illustrations for scene, illustrations in made.items() if illustrations is not None}


def illustrate(
    comparison: Comparison,
    load: Callable[[PolicyResult], LoadedPolicy | None],
    folder: Path,
    title: str = "Film",
    moments: int = 0,
    device: str = "cpu",
) -> Illustrations | None:
    """Film the first policy of each kind, and the moments that tell the headline's students apart.

    Args:
        comparison: who is filmed.
        load: a policy from its checkpoint; None if that is not at hand.
        folder: where the files go, and the list of them.
        title: of the progress bar.
        moments: resets in the gallery.
        device: where policies and environments run.

    Returns:
        what was made; None if no checkpoint is at hand.
    """
    firsts = [comparison.of_kind(kind)[0] for kind in comparison.kinds]
    at_hand = [(one, loaded) for one in firsts if (loaded := load(one)) is not None]
    if not at_hand:
        return None
    films, sheets = [], []
    with stage(title, len(at_hand) + bool(moments), unit="policies") as progress:
        for policy, loaded in at_hand:
            film = _film(comparison, loaded, device)
            file = f"videos/{file_name(policy.kind.label)}.mp4"
            write_video(folder / file, film, title=policy.name, speed=SPEED, tile=112)
            films.append(Picture(file, film_caption(policy.name, film)))
            if policy.kind.is_student:
                sheets.append(_sheet(policy.name, film, folder))
            progress.advance(1)
        told = _moments(comparison, load, folder, moments, device) if moments else ()
        progress.advance(bool(moments))
    made = Illustrations(told, tuple(films), tuple(sheets))
    made.save(folder)
    return made


def _film(comparison: Comparison, loaded: LoadedPolicy, device: str) -> Film:
    settings = comparison.settings
    reset_kind = settings.get("reset_kind")
    return make_film(loaded.policy, loaded.env_config, FILMED, settings["seed"], reset_kind, device)


def film_caption(name: str, film: Film) -> str:
    """What is said below a film."""
    good, count = int((film.success[-1] & ~film.lost).sum()), film.success.shape[1]
    return f"{name}: resets 0 to {count - 1}, {good} of {count} end in success; played at {SPEED:g}x."


def _sheet(name: str, film: Film, folder: Path) -> Picture:
    """The first of the filmed resets as a contact sheet."""
    outcome = film.caption(len(film.success) - 1, 0).replace("   ", ", ")
    told = f"{name}: both eyes, and what a depth teacher would see. {outcome[0].upper()}{outcome[1:]}."
    return _write(folder, f"figures/sees-{file_name(name)}.png", drawn(partial(contact_sheet, film), "png"), told)


def _write(folder: Path, file: str, content: bytes, caption: str) -> Picture:
    write(folder / file, content)
    return Picture(file, caption)


def _moments(
    comparison: Comparison,
    load: Callable[[PolicyResult], LoadedPolicy | None],
    folder: Path,
    count: int,
    device: str,
) -> tuple[Picture, ...]:
    """Moments of the headline's first pair of students."""
    losses = comparison.extra_losses()
    policies = [comparison.policy(name) for name in losses[0].pairs[0]] if losses else []
    loaded = [one for policy in policies if (one := load(policy)) is not None]
    if len(loaded) != 2:
        return ()
    failing, succeeding = ((p.name, one.policy, p.evaluation) for p, one in zip(policies, loaded, strict=True))
    colours, pictures = [colour(comparison, policy.kind) for policy in policies], []
    for scenes in film_moments(failing, succeeding, loaded[0].env_config, count, device):
        content = drawn(partial(moments_figure, scenes.films, colours), "png")
        pictures.append(_write(folder, f"gallery/reset-{scenes.reset}.png", content, scenes.caption(failing[2])))
    return tuple(pictures)
