"""What an evaluation found: a table of episodes, and its summary with intervals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...files import explained, read_arrays, write, write_arrays, write_json
from .phases import PHASES, UNKNOWN, last_phase, looking, phase_summary
from .statistics import bootstrap_mean, plain, wilson

Eyes = Literal["left", "either"]


@dataclass(frozen=True)
class Metric:
    """What a plugin measures of each episode, beside the figures here."""

    name: str
    """As tables and files call it."""
    logged: tuple[str, ...]
    """Entries of `Step.log` that it looks at; where a task does not log one, the metric is left out."""
    measure: Callable[[Mapping[str, NDArray[Any]], NDArray[np.bool_]], NDArray[Any]]
    """(these entries (T, E), (T, E) bool: steps of the episode) -> (E,) one figure of each episode."""


@dataclass(frozen=True)
class Evaluation:
    """What happened in E episodes, numbered by the reset that they started from: row i is the same reset for every
    policy that was evaluated with the same seed, `num_envs` and environment."""

    success_once: NDArray[np.bool_]
    """(E,) the object was lifted and held at some step."""
    success_at_end: NDArray[np.bool_]
    """(E,) the object was lifted and held at the episode's last step."""
    aborted: NDArray[np.bool_]
    """(E,) the episode was lost (the simulation diverged, or it never ended): a failure, whatever happened before."""
    episode_return: NDArray[np.float32]
    """(E,) undiscounted sum of rewards."""
    length: NDArray[np.int64]
    """(E,) steps of the episode."""
    kind: NDArray[np.int64]
    """(E,) object kind, an index into `object_kinds`."""
    reset_kind: NDArray[np.int64]
    """(E,) kind of reset, an index into `reset_kinds`."""
    visible: NDArray[np.float32]
    """(E, T+1) share of the left eye's pixels that show the object, at the first observation and after each step;
    NaN after the episode's end, and everywhere if no camera was rendered."""
    visible_right: NDArray[np.float32]
    """(E, T+1) the same of the right eye; NaN everywhere if it was not rendered, as before version 0.2."""
    phase: NDArray[np.int8]
    """(E, T+1) what the hand was about at the same moments, an index into `phases.PHASES`; -1 after the episode's end,
    and everywhere if the environment does not tell."""
    eyes: Eyes = "left"
    """Whose view "in view" means: of the left eye, or of either eye of the pair."""
    object_kinds: tuple[str, ...] = ()
    reset_kinds: tuple[str, ...] = ()
    seconds: float = 0.0
    """Wall time of the rollouts, without building the environment."""
    env_steps: int = 0
    """Steps of all environments in that time, those whose episode was over included."""
    measured: dict[str, list[float]] = field(default_factory=dict)
    """By plugin's metric, E figures."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What has to be equal for two evaluations to be comparable row by row: seed, num_envs, environment, ..."""

    @property
    def pixels(self) -> NDArray[np.float32]:
        """(E, T+1) share of the pixels of the policy's eyes that show the object, NaN where `visible` is."""
        return self.visible if self.eyes == "left" else ((self.visible + self.visible_right) / 2).astype(np.float32)

    @property
    def in_view_at_reset(self) -> NDArray[np.bool_]:
        """(E,) the policy's eyes saw the object in the episode's first observation."""
        return self.pixels[:, 0] > 0

    @property
    def seen(self) -> bool:
        """Whether a camera was rendered, so that visibility is known."""
        return bool(np.isfinite(self.visible[:, 0]).any())

    @property
    def both_known(self) -> bool:
        """Whether the right eye was rendered, too; it never was before version 0.2."""
        return bool(np.isfinite(self.visible_right[:, 0]).any())

    @property
    def phased(self) -> bool:
        """Whether the environment told what phases are made of."""
        return bool((self.phase != UNKNOWN).any())

    @property
    def in_view(self) -> NDArray[np.float32]:
        """(E, T+1) 1 where the policy's eyes see the object, 0 where they do not, NaN where `visible` is."""
        return np.where(np.isnan(self.pixels), self.pixels, self.pixels > 0).astype(np.float32)

    def summary(self) -> dict[str, Any]:
        """Figures with 95 % intervals, JSON-able: Wilson for shares of episodes, bootstrap over episodes for means."""
        result: dict[str, Any] = {
            **self.outcome(np.ones(len(self.length), dtype=bool)),
            "return": asdict(bootstrap_mean(self.episode_return)),
            "length": asdict(bootstrap_mean(self.length)),
            "aborted": int(self.aborted.sum()),
            "seconds": self.seconds,
            "steps_per_second": self.env_steps / self.seconds if self.seconds else float("nan"),
            "by_object_kind": self.by_name(self.kind, self.object_kinds, "kind"),
            "by_reset_kind": self.by_name(self.reset_kind, self.reset_kinds, "reset"),
        }
        if self.seen:
            result["by_view_at_reset"] = {view: self.outcome(chosen) for view, chosen in at_reset(self).items()}
            result["visibility"] = self.visibility()
        if self.phased:
            result["phases"] = phase_summary(self.phase, self.success_at_end, self.aborted)
        if self.measured:
            result["metrics"] = {name: asdict(bootstrap_mean(np.array(one))) for name, one in self.measured.items()}
        return result

    def outcome(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Number of episodes and both success rates among the chosen ones. chosen (E,) bool."""
        return {
            "episodes": int(chosen.sum()),
            "success_at_end": asdict(wilson(self.success_at_end[chosen])),
            "success_once": asdict(wilson(self.success_once[chosen])),
        }

    def by_name(self, column: NDArray[np.int64], names: tuple[str, ...], otherwise: str) -> dict[str, Any]:
        """The outcome for each value of a column (E,) that occurs, under its name."""
        return {
            names[value] if value < len(names) else f"{otherwise} {value}": self.outcome(column == value)
            for value in np.unique(column).tolist()
        }

    def visibility(self) -> dict[str, Any]:
        """Share of steps with the object in view and mean pixel share (each first averaged within its episode), the
        share of running episodes with the object in view at each step, how soon it is found where it was not in view
        at the reset, and, of both eyes, in which share of the resets each is blind, and both are."""
        in_view, known = self.in_view, ~np.isnan(self.visible).all(axis=0)
        left, right = self.visible[:, 0] == 0, self.visible_right[:, 0] == 0
        blind = {"left": left, "right": right, "both": left & right} if self.both_known else {"left": left}
        return {
            "steps_in_view": asdict(bootstrap_mean(row_means(in_view), (0, 1))),
            "pixel_share": asdict(bootstrap_mean(row_means(self.pixels), (0, 1))),
            "in_view_by_step": np.nanmean(in_view[:, known], axis=0).tolist(),
            "looking": looking(self.pixels),
            "eyes": self.eyes,
            "blind_at_reset": {eye: asdict(wilson(rows)) for eye, rows in blind.items()},
        }

    def save(self, folder: Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Write evaluation.json (summary, settings and `provenance`, JSON-able: checkpoint, commit, versions),
        episodes.csv (one row per reset) and episodes.npz (all)."""
        found = {"settings": self.settings, "summary": self.summary(), "provenance": provenance or {}}
        write_json(folder / "evaluation.json", plain(found))
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(["reset", *(name for name, _ in self.columns())])
        writer.writerows(zip(range(len(self.length)), *(column for _, column in self.columns()), strict=True))
        write(folder / "episodes.csv", text.getvalue())
        self.save_episodes(folder)

    def save_episodes(self, folder: Path) -> None:
        """Write episodes.npz alone: all that `load` needs."""
        meta = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ARRAYS}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        write_arrays(folder / "episodes.npz", {"meta": np.array(json.dumps(meta)), **arrays})

    @staticmethod
    def load(folder: Path) -> Evaluation:
        """What `save` wrote. Raises FileNotFoundError if the folder holds none, FileError if it is damaged."""
        path = folder / "episodes.npz"
        stored = read_arrays(path)
        with explained(path):
            meta = json.loads(str(stored["meta"]))
            meta |= {name: tuple(meta[name]) for name in ("object_kinds", "reset_kinds")}
            arrays = {name: stored[name] for name in ARRAYS if name in stored}
            shape = arrays["visible"].shape  # what is older than the phases, or than both eyes, knows nothing of them
            arrays.setdefault("phase", np.full(shape, UNKNOWN, np.int8))
            arrays.setdefault("visible_right", np.full(shape, np.nan, np.float32))
            return Evaluation(**arrays, **meta)

    def columns(self) -> list[tuple[str, list[Any]]]:
        """The table of episodes: (name, E entries)."""
        names = [name for name in ARRAYS if name not in ("visible", "visible_right", "phase")]
        table = [(name, getattr(self, name).tolist()) for name in names]
        if self.seen:
            table.append(("in_view_at_reset", self.in_view_at_reset.tolist()))
            table.append(("steps_in_view", row_means(self.in_view).tolist()))
            table.append(("pixel_share", row_means(self.pixels).tolist()))
        if self.phased:
            names = [*PHASES, ""]  # UNKNOWN is the last one
            table.append(("last_phase", [names[i] for i in last_phase(self.phase)]))
        return [*table, *self.measured.items()]


ARRAYS = tuple(f.name for f in fields(Evaluation) if str(f.type).startswith("NDArray"))


FEW = 10
"""Objects that a table or figure shows one by one."""


def worst(by_name: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Outcomes by name, those with the least success at the end first; of more than `FEW` only so many."""
    order = sorted(by_name, key=lambda name: (by_name[name]["success_at_end"]["value"], name))
    return {name: by_name[name] for name in order[:FEW]}


def row_means(values: NDArray) -> NDArray:
    """Mean of each row (E,) over its entries that are not NaN; NaN where a row has none. values (E, T)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)


Masks = dict[str, NDArray[np.bool_]]
IN_VIEW, OUT_OF_VIEW = "in view", "out of view"


def by_view(evaluation: Evaluation, steps: int) -> Masks:
    """The object is in view of the policy's eyes, or is not; nothing if no camera was rendered. steps: T."""
    if not evaluation.seen:
        return {}
    seen = evaluation.in_view[:, :steps].T > 0
    return {IN_VIEW: seen, OUT_OF_VIEW: ~seen}


def by_phase(evaluation: Evaluation, steps: int) -> Masks:
    """Reach, close, lift; nothing if the environment does not tell. steps: T."""
    if not evaluation.phased:
        return {}
    phase = evaluation.phase[:, :steps].T
    return {name: phase == i for i, name in enumerate(PHASES)}


def at_reset(evaluation: Evaluation) -> Masks:
    """(E,) bool: episodes that began with the object in view, and without; nothing if no camera was rendered."""
    if not evaluation.seen:
        return {}
    return {IN_VIEW: evaluation.in_view_at_reset, OUT_OF_VIEW: ~evaluation.in_view_at_reset}
