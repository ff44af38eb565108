"""Pictures and films for a report, made where the checkpoints are and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ...files import explained, inside, read_json, write, write_json
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ...sims.objects.choose import object_set
from ..evaluation.evaluation import FEW, Evaluation
from ..evaluation.observability import check_paired
from ..runs.policy_io import LoadedPolicy, load_policy
from ..runs.progress import stage
from .comparison import Comparison
from .contrasts import unmatched
from .figures import objects_figure
from .film import Film, beside, contact_sheet, file_name, make_film, write_video
from .portraits import portraits
from .results import PolicyResult
from .study_results import Study
from .style import colour, drawn

FILE = "illustrations.json"
FILMED, SMALL, MOMENTS = 4, 246, 4
"""Resets in each film; height of their view from outside, pixels; resets on which two policies differ most."""
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
    """Resets on which two policies differ most, mp4; until version 0.2 stills, png."""
    films: tuple[Picture, ...] = ()
    """One mp4 for each kind of policy."""
    sheets: tuple[Picture, ...] = ()
    """The students and their teachers in the first reset of their films, png."""
    objects: tuple[Picture, ...] = ()
    """The hardest objects of a set of many, png."""
    chosen: str = "Below are the first resets of the first kind, not chosen by eye."
    """How the moments were chosen; what is older than this did not say."""

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
        for picture in (*found.moments, *found.films, *found.sheets, *found.objects):
            inside(folder, picture.file)
        return found


def illustrate_study(
    study: Study, folder: Path, runs: Path, moments: int = MOMENTS, device: str = "cpu"
) -> dict[str, Illustrations]:
    """Film the first policy of each kind of each scene, and the resets on which two of them differ most.

    Scenes of which no checkpoint is at hand are passed over, and what was made of them before is kept.

    Args:
        study: its policies name their checkpoints.
        folder: of the study's results.
        runs: the folder from which the policies' checkpoints are told.
        moments: resets in the grid of a scene.
        device: where policies and environments run.
    """

    def load(policy: PolicyResult) -> LoadedPolicy | None:
        path = runs / policy.origin.checkpoint
        at_hand = path.is_dir() and path.resolve().is_relative_to(runs.resolve())
        return load_policy(path, device=device) if at_hand else None

    made = {s: illustrate(c, load, folder / s, f"Film {s}", moments, device) for s, c in study.comparisons.items()}
    return {scene: illustrations for scene, illustrations in made.items() if illustrations is not None}


def illustrate(
    comparison: Comparison, load: Load, folder: Path, title: str = "Film", moments: int = MOMENTS, device: str = "cpu"
) -> Illustrations | None:
    """Film the first policy of each kind, and the resets on which two of them differ most (`set_apart`).

    Args:
        comparison: who is filmed.
        load: brings the policies.
        folder: where the files go, and the list of them.
        title: of the progress bar.
        moments: resets in the grid.
        device: where policies and environments run.

    Returns:
        what was made; None if no checkpoint is at hand.
    """
    firsts = [comparison.of_kind(kind)[0] for kind in comparison.kinds]
    at_hand = [(one, loaded) for one in firsts if (loaded := load(one)) is not None]
    if not at_hand:
        return None
    made, films, sheets, settings = dict[str, Film](), [], [], comparison.settings
    postures, level = settings.get("postures", "training"), settings.get("level")  # until version 0.2 nothing was said
    env_config = at_hand[0][1].env_config.with_postures(postures).at_level(level)  # where all were evaluated
    with stage(title, len(at_hand) + bool(moments), unit="policies") as progress:
        for one, loaded in at_hand:
            how = (FILMED, settings["seed"], settings.get("reset_kind"), device, SMALL)
            film = made[one.name] = make_film(loaded.policy, env_config, *how)
            file = f"videos/{file_name(one.kind.label)}.mp4"
            write_video(folder / file, film, title=one.name, speed=SPEED, tile=112)
            films.append(Picture(file, film_caption(one.name, film)))
            progress.advance(1)
        for student in (one for one, _ in at_hand if one.kind.is_student):
            shown = {name: made[name] for name in (student.teacher, student.name) if name in made}
            colours = [colour(comparison, comparison.policy(name).kind) for name in shown]
            told = (
                f"{' and '.join(shown)} in the same reset, {made[student.name].kinds[0] or 'object'}: from outside, and"
            )
            file = f"figures/sees-{file_name(student.name)}.png"
            sheet = drawn(partial(contact_sheet, shown, colours), "png")
            sheets.append(_written(folder, file, sheet, told + " what each one sees, if it has eyes."))
        apart, chosen = _moments(comparison, load, env_config, folder, moments, device)
        progress.advance(bool(moments))
    objects = _objects(comparison, env_config, folder) if len(comparison.hardest) > FEW else ()
    found = Illustrations(apart, tuple(films), tuple(sheets), objects, chosen)
    found.save(folder)
    return found


def film_caption(name: str, film: Film) -> str:
    """What is said below a film."""
    good, count = int((film.success[-1] & ~film.lost).sum()), film.success.shape[1]
    return f"{name}: resets 0 to {count - 1}, {good} of {count} end in success; played at {SPEED:g}x."


def _written(folder: Path, file: str, content: bytes, caption: str) -> Picture:
    write(folder / file, content)
    return Picture(file, caption)


def _objects(comparison: Comparison, env_config: EnvConfig, folder: Path) -> tuple[Picture, ...]:
    """A picture of the hardest objects of a set of meshes."""
    objects, names = object_set(env_config.scene.objects), [*comparison.hardest][:FEW]
    if objects.meshes is None:
        return ()
    pictures = dict(zip(names, portraits(objects, names), strict=True))
    content = drawn(partial(objects_figure, comparison, pictures), "png")
    told = f"The {len(names)} objects with which all policies together succeed least, with each one's success."
    return (_written(folder, "figures/objects.png", content, told),)


def set_apart(comparison: Comparison) -> tuple[PolicyResult, ...]:
    """The two policies that are set against each other: the headline's first two students, else the first student
    and its teacher, else the first two; fewer where there are no two."""
    found = [tuple(student for _, student in loss.pairs[0]) for loss in unmatched(comparison)]
    found += [pair for kind in comparison.kinds for pair in comparison.pairs(kind)]
    return (*found, comparison.policies[:2])[0]


def _moments(
    comparison: Comparison, load: Load, env_config: EnvConfig, folder: Path, count: int, device: str
) -> tuple[tuple[Picture, ...], str]:
    """Films of the resets on which two policies differ most, and how these were chosen."""
    policies = set_apart(comparison)
    loaded = [one for policy in policies if (one := load(policy)) is not None] if count else []
    if len(loaded) != 2:
        return (), ""
    one, other = ((p.name, it.policy, p.evaluation) for p, it in zip(policies, loaded, strict=True))
    pictures = []
    for reset, films in film_moments(one, other, env_config, count, device):
        file = f"gallery/reset-{reset}.mp4"
        write_video(folder / file, beside(films), title=f"reset {reset}", speed=SPEED)
        pictures.append(Picture(file, moment_caption(reset, films, policies[0].evaluation)))
    return tuple(pictures), (
        f"Below are the {len(pictures)} in which they differ most: in success first, then in return. So they are no "
        "sample of what usually happens."
    )


def moment_caption(reset: int, films: dict[str, Film], evaluation: Evaluation) -> str:
    """Which reset was lived through by both, and how it ended. evaluation: of the first."""
    kind = next(iter(films.values())).kinds[0] or "object"
    view = (" in view" if evaluation.in_view_at_reset[reset] else " out of view") if evaluation.seen else ""
    ends = "; ".join(f"{name}: {film.caption(len(film.success) - 1, 0).split()[-1]}" for name, film in films.items())
    return f"Reset {reset}, {kind}{view} at the beginning. {ends}."


def most_apart(one: Evaluation, other: Evaluation) -> NDArray[np.int64]:
    """Numbers of the resets that neither lost, those on which the two differ most first: in success at the end, and of
    equals in return."""
    check_paired(one, other)
    success = one.success_at_end != other.success_at_end
    order = np.lexsort((-np.abs(one.episode_return - other.episode_return), ~success))
    return order[~(one.aborted | other.aborted)[order]]


def told_apart(failing: Evaluation, succeeding: Evaluation) -> int:
    """In how many resets the first fails and the second ends in success."""
    check_paired(failing, succeeding)
    return int((~failing.success_at_end & ~failing.aborted & succeeding.success_at_end).sum())


def film_moments(
    one: tuple[str, Policy, Evaluation],
    other: tuple[str, Policy, Evaluation],
    env_config: EnvConfig,
    count: int = MOMENTS,
    device: str = "cpu",
) -> Iterator[tuple[int, dict[str, Film]]]:
    """Film the `count` resets on which two policies differ most: rows of their evaluations, and films by name.

    A reset is lived through again in a world of its own. A network rounds otherwise in a smaller batch, and now and
    then an episode ends otherwise than it was evaluated: such a reset is passed over for the next.

    Args:
        one: name, policy and evaluation.
        other: of the one that it is set against.
        env_config: in which both were evaluated, with the postures and the level of that.
        count: resets.
        device: where policies and environment run.
    """
    settings = one[2].settings
    for reset in most_apart(one[2], other[2]).tolist()[: 3 * count]:
        turn, world = divmod(reset, settings["num_envs"])
        how = (1, settings["seed"] + turn, settings.get("reset_kind"), device)
        films = {name: make_film(policy, env_config, *how, world_offset=world) for name, policy, _ in (one, other)}
        if all(films[name].success[-1, 0] == found.success_at_end[reset] for name, _, found in (one, other)):
            yield reset, films
            count -= 1
        if not count:
            return
