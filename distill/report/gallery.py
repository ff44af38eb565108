"""Moments that tell: the same reset, in which a state teacher's student fails and a depth teacher's does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ..evaluation.evaluation import Evaluation
from ..evaluation.observability import check_paired
from .film import PANELS, Film, make_film, show

ROW_NAMES = {"overview": "from outside"}


@dataclass(frozen=True)
class Scenes:
    """One reset, lived through by both students."""

    reset: int
    """Row of their evaluations."""
    films: dict[str, Film]
    """By name of the student, the one that fails first; one episode each."""

    def caption(self, evaluation: Evaluation) -> str:
        """Which reset this is. evaluation: of either student."""
        kind = next(iter(self.films.values())).kinds[0]
        view = "in view" if evaluation.in_view_at_reset[self.reset] else "out of view"
        return f"Reset {self.reset}, {kind or 'object'} {view} at the beginning."


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
) -> list[Scenes]:
    """Film the first `count` resets that tell two students apart.

    A reset is lived through again in a world of its own. A network rounds otherwise in a smaller batch, and now and
    then an episode ends otherwise than it was evaluated: such a reset is passed over for the next.

    Args:
        failing: name, policy and evaluation of the student whose failures are looked for.
        succeeding: of the other one.
        env_config: in which both were evaluated.
        count: resets.
        device: where policies and environment run.
    """
    found: list[Scenes] = []
    for reset in told_apart(failing[2], succeeding[2]).tolist()[: 3 * count]:
        films = {name: _film(policy, e, env_config, reset, device) for name, policy, e in (failing, succeeding)}
        ends = [bool(film.success[-1, 0]) for film in films.values()]
        if ends == [False, True]:
            found.append(Scenes(reset, films))
        if len(found) == count:
            break
    return found


def _film(policy: Policy, evaluation: Evaluation, env_config: EnvConfig, reset: int, device: str) -> Film:
    settings = evaluation.settings
    turn, world = divmod(reset, settings["num_envs"])
    return make_film(
        policy, env_config, 1, settings["seed"] + turn, settings.get("reset_kind"), device, world_offset=world
    )


def moments_figure(films: Mapping[str, Film], colours: Sequence[str], moments: int = 4) -> Figure:
    """One reset as two blocks side by side, one per policy: a row per panel, a column per moment, the same in both.

    Args:
        films: by name of the policy, one episode each; the object is outlined where it is seen from the left eye.
        colours: of the names.
        moments: from the reset to the end of the longer episode.
    """
    last = max(film.step(len(film.success) - 1, 0) for film in films.values())
    times = np.unique(np.linspace(0, last, moments).round().astype(int))
    panels = [name for name in PANELS if all(name in film.images for film in films.values())]
    width = len(films) * len(times)
    figure = Figure(figsize=(9.6, 9.6 / (width + 0.35) * len(panels) + 0.55), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)  # type: ignore[union-attr]
    ratios = [1.025, *[1.0] * (len(films) - 1)]  # the first one has the names of the rows
    blocks = figure.subfigures(1, len(films), wspace=0.02, width_ratios=ratios, squeeze=False)[0]
    for block, (name, film), colour in zip(blocks, films.items(), colours, strict=True):
        end = film.caption(len(film.success) - 1, 0).split()[-1]
        block.suptitle(f"{name}: {end}", color=colour, fontsize=10, fontweight="bold", x=0.02, ha="left")
        grid = block.subplots(len(panels), len(times), squeeze=False)
        for row, panel in enumerate(panels):
            for column, step in enumerate(times):
                t = min(int(step), len(film.success) - 1)
                show(grid[row, column], film, panel, t, 0)
                if row == 0:
                    held = "  held" if film.success[t, 0] else ""
                    grid[row, column].set_title(f"step {film.step(t, 0)}{held}", fontsize=8, loc="center")
            if block is blocks[0]:
                grid[row, 0].set_ylabel(ROW_NAMES.get(panel, panel), fontsize=8)
    return figure
