"""`EpisodeTracker`: completed episodes, counted when they end and never in the last frame of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..sims.vec_env import Step

COUNTED = ("diverged", "nonfinite")
"""What is counted of a step's log, over all rows."""


class EpisodeTracker:
    """Adds up each world's present episode, and keeps what ended since the last `summary`."""

    def __init__(self, num_envs: int, reset_kinds: tuple[str, ...] = (), device: torch.device | str = "cpu") -> None:
        self.reset_kinds = reset_kinds
        self.total, self.length = (torch.zeros(num_envs, device=device) for _ in range(2))
        self.once = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self._clear()

    def _clear(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        """Of each step all worlds, and which of them ended: choosing those would wait for a GPU."""
        self.means: dict[str, Tensor] = {}
        self.rows = torch.zeros((), device=self.total.device)
        self.counts = {name: torch.zeros((), device=self.total.device) for name in COUNTED}

    def add(self, step: Step, worlds: slice = slice(None)) -> None:
        """Take in one step of every world, or of some."""
        valid = step.valid
        total, length, once = self.total[worlds], self.length[worlds], self.once[worlds]
        total += torch.where(valid, step.reward, 0.0)
        length += valid
        success = step.log.get("success", torch.zeros_like(valid))
        once |= success & valid
        self._add_means(step)
        over = (step.terminated | step.truncated) & valid
        columns = {"over": over, "return": total, "length": length, "success_once": once, "success_at_end": success}
        columns |= {name: step.log[name] for name in ("reset_kind", "edge") if name in step.log}
        self.steps.append({name: column.clone() for name, column in columns.items()})
        for running in (total, length, once):
            running.masked_fill_(step.first, 0)

    def _add_means(self, step: Step) -> None:
        self.rows += step.valid.sum()
        for name in COUNTED:
            if name in step.log:
                self.counts[name] += step.log[name].sum()
        for name, values in step.log.items():
            if name.startswith("reward/") or name == "visible":
                part = torch.where(step.valid, values, 0.0).sum()
                self.means[name] = self.means.get(name, torch.zeros_like(part)) + part

    def summary(self) -> tuple[dict[str, float], dict[str, tuple[int, int]]]:
        """What ended since the last call; forgets it.

        Returns:
            metrics by name ("return", "length", "success_once", "success_at_end", "episodes", "success/<reset kind>",
            "success/edge": of those at the present level of randomisation, "reward/<term>", ...; without a completed
            episode none of its names), and by kind of reset, and "edge", the number of successes at the end and of
            completed episodes.
        """
        rows = float(self.rows.clamp(min=1))
        metrics = {name: float(total) / rows for name, total in self.means.items()}
        table = {name: torch.cat([step[name] for step in self.steps]) for name in (self.steps or [{}])[0]}
        over = table.pop("over", None)
        table = {name: column[over] for name, column in table.items()}
        ended = len(table["return"]) if table else 0
        metrics |= {name: float(count) for name, count in self.counts.items()} | {"episodes": float(ended)}
        by_kind: dict[str, tuple[int, int]] = {}
        if ended:
            kinds, edge = table.pop("reset_kind", None), table.pop("edge", None)
            metrics |= {name: float(column.float().mean()) for name, column in table.items()}
            if kinds is not None:
                by_kind = self._by_kind(kinds, table["success_at_end"])
            if edge is not None and edge.any():
                by_kind["edge"] = int(table["success_at_end"][edge].sum()), int(edge.sum())
        metrics |= {f"success/{kind}": wins / count for kind, (wins, count) in by_kind.items()}
        self._clear()
        return metrics, by_kind

    def _by_kind(self, kinds: Tensor, success: Tensor) -> dict[str, tuple[int, int]]:
        counted = {name: success[kinds == i] for i, name in enumerate(self.reset_kinds)}
        return {name: (int(wins.sum()), len(wins)) for name, wins in counted.items() if len(wins)}

    def state_dict(self) -> dict[str, Any]:
        """The episodes under way. What ended must have been taken by `summary`."""
        return {name: getattr(self, name).clone() for name in ("total", "length", "once")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with episodes under way."""
        for name in ("total", "length", "once"):
            getattr(self, name).copy_(state[name])
        self._clear()
