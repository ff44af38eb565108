"""Pictures and films for a report, made where the checkpoints are and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ...files import explained, inside, read_json, write, write_json
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ..evaluation.evaluation import Evaluation
from ..evaluation.observability import check_paired
from ..runs.policy_io import LoadedPolicy, load_policy
from ..runs.progress import stage
from .comparison import Comparison
from .contrasts import unmatched
from .film import Film, contact_sheet, file_name, make_film, side_by_side, write_video
from .results import PolicyResult
from .study_results import Study
from .style import colour, drawn

FILE = "illustrations.json"
FILMED = 4
"""Resets in each film."""
SPEED = 0.5
"""Playing speed of the films."""
Load = Callable[[PolicyResult], LoadedPolicy | None]
"""A policy from its checkpoint; None if that is not at hand."""


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
        at_hand = path.is_dir() and path.resolve().is_relative_to(runs.resolve())
        return load_policy(path, device=device) if at_hand else None

    made = {s: illustrate(c, load, folder / s, f"Film {s}", moments, device) for s, c in study.comparisons.items()}
    return {scene: illustrations for scene, illustrations in made.items() if illustrations is not None}


def illustrate(
    comparison: Comparison, load: Load, folder: Path, title: str = "Film", moments: int = 0, device: str = "cpu"
) -> Illustrations | None:
    """Film the first policy of each kind, and the moments that tell the headline's students apart.

    Args:
        comparison: who is filmed.
        load: brings the policies.
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
    films, sheets, settings = [], [], comparison.settings
    with stage(title, len(at_hand) + bool(moments), unit="policies") as progress:
        for one, loaded in at_hand:
            how = (FILMED, settings["seed"], settings.get("reset_kind"), device)
            film = make_film(loaded.policy, _as_evaluated(loaded.env_config, settings), *how)
            file = f"videos/{file_name(one.kind.label)}.mp4"
            write_video(folder / file, film, title=one.name, speed=SPEED, tile=112)
            films.append(Picture(file, film_caption(one.name, film)))
            if one.kind.is_student:
                outcome = film.caption(len(film.success) - 1, 0).replace("   ", ", ")
                told = f"{one.name}: both eyes, and what a depth teacher would see. {outcome[0].upper()}{outcome[1:]}."
                sheet = drawn(partial(contact_sheet, film), "png")
                sheets.append(_written(folder, f"figures/sees-{file_name(one.name)}.png", sheet, told))
            progress.advance(1)
        told_apart = _moments(comparison, load, folder, moments, device) if moments else ()
        progress.advance(bool(moments))
    made = Illustrations(told_apart, tuple(films), tuple(sheets))
    made.save(folder)
    return made


def _as_evaluated(env_config: EnvConfig, settings: Mapping[str, Any]) -> EnvConfig:
    """The environment with the arm postures (until version 0.2 the trainings') and the level of an evaluation."""
    return env_config.with_postures(settings.get("postures", "training")).at_level(settings.get("level"))


def film_caption(name: str, film: Film) -> str:
    """What is said below a film."""
    good, count = int((film.success[-1] & ~film.lost).sum()), film.success.shape[1]
    return f"{name}: resets 0 to {count - 1}, {good} of {count} end in success; played at {SPEED:g}x."


def _written(folder: Path, file: str, content: bytes, caption: str) -> Picture:
    write(folder / file, content)
    return Picture(file, caption)


def _moments(comparison: Comparison, load: Load, folder: Path, count: int, device: str) -> tuple[Picture, ...]:
    """Moments of the headline's first pair of students."""
    losses = unmatched(comparison)
    policies = [student for _, student in losses[0].pairs[0]] if losses else []
    loaded = [one for policy in policies if (one := load(policy)) is not None]
    if len(loaded) != 2:
        return ()
    failing, succeeding = ((p.name, one.policy, p.evaluation) for p, one in zip(policies, loaded, strict=True))
    colours, pictures = [colour(comparison, policy.kind) for policy in policies], []
    for reset, films in film_moments(failing, succeeding, loaded[0].env_config, count, device):
        content = drawn(partial(side_by_side, films, colours), "png")
        caption = moment_caption(reset, films, policies[0].evaluation)
        pictures.append(_written(folder, f"gallery/reset-{reset}.png", content, caption))
    return tuple(pictures)


def moment_caption(reset: int, films: dict[str, Film], evaluation: Evaluation) -> str:
    """Which reset was lived through by both students. evaluation: of either."""
    kind = next(iter(films.values())).kinds[0]
    view = "in view" if evaluation.in_view_at_reset[reset] else "out of view"
    return f"Reset {reset}, {kind or 'object'} {view} at the beginning."


def told_apart(failing: Evaluation, succeeding: Evaluation) -> NDArray[np.int64]:
    """Numbers of the resets in which the first fails and the second ends in success, in their order."""
    check_paired(failing, succeeding)
    lost = ~failing.success_at_end & ~failing.aborted
    return np.flatnonzero(lost & succeeding.success_at_end)


def film_moments(
    failing: tuple[str, Policy, Evaluation],
    succeeding: tuple[str, Policy, Evaluation],
    env_config: EnvConfig,
    count: int = 3,
    device: str = "cpu",
) -> Iterator[tuple[int, dict[str, Film]]]:
    """Film the first `count` resets that tell two students apart: rows of their evaluations, and films by name.

    A reset is lived through again in a world of its own. A network rounds otherwise in a smaller batch, and now and
    then an episode ends otherwise than it was evaluated: such a reset is passed over for the next.

    Args:
        failing: name, policy and evaluation of the student whose failures are looked for.
        succeeding: of the other one.
        env_config: in which both were evaluated.
        count: resets.
        device: where policies and environment run.
    """
    settings = failing[2].settings
    for reset in told_apart(failing[2], succeeding[2]).tolist()[: 3 * count]:
        turn, world = divmod(reset, settings["num_envs"])
        how = (1, settings["seed"] + turn, settings.get("reset_kind"), device)
        films = {
            name: make_film(policy, _as_evaluated(env_config, settings), *how, world_offset=world)
            for name, policy, _ in (failing, succeeding)
        }
        if [bool(film.success[-1, 0]) for film in films.values()] == [False, True]:
            yield reset, films
            count -= 1
        if not count:
            return
