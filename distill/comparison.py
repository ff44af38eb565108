"""What a comparison of policies found: one entry per policy, one gap per student, and what several seeds say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ablation import AblationEffect, ablation_effects
from .chains import Decomposition, Gap, decomposition_of, gap_of
from .comparison_tables import describe, flat_row, markdown, table_of
from .entry import Entry
from .gap_matrix import Cell, by_seed, chains_of, controls_of, gap_matrix
from .intervals import Interval, plain
from .observability import gap_differences, retentions, success_gaps
from .over_seeds import Seeded, mean_of
from .roles import TEACHERS, role_of_cell


@dataclass(frozen=True)
class ExtraLoss:
    """How much more success the state teacher's stereo students lose than a depth teacher's: the claim of the study."""

    depth_role: str
    """Role of the depth teacher's students, e.g. "depth → stereo, warm start"."""
    chains: tuple[tuple[str, str], ...]
    """Names of the students that are set against each other: the same training seed."""
    figure: Seeded
    """success_gap(state chain) - success_gap(depth chain), paired by training seed and by reset."""


@dataclass(frozen=True)
class Comparison:
    """Policies evaluated on the same resets."""

    entries: tuple[Entry, ...]
    settings: dict[str, Any]
    """Episodes, seed, worlds, kind of reset, environment, and the provenance of the comparison itself."""
    notes: tuple[str, ...] = ()
    """What a reader has to know beside the figures: unlike training environments, teachers that were not found, ..."""

    def entry(self, name: str) -> Entry:
        """The entry of that name."""
        return next(entry for entry in self.entries if entry.name == name)

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """One for each student whose teacher is compared too."""
        return tuple(gap_of(entry, self.entry(entry.teacher)) for entry in self.entries if entry.teacher)

    @cached_property
    def decompositions(self) -> tuple[Decomposition, ...]:
        """One for each student that is no control itself and whose teacher has a control student."""
        chains = [chain for role in self.roles for chain in chains_of(role, self.entries)]
        pairs = controls_of(chains, self.entries)
        parts = (decomposition_of(s, self.entry(str(s.teacher)), c) for s, c in pairs if s.role != c.role)
        return tuple(part for part in parts if part is not None)

    @cached_property
    def matrix(self) -> dict[str, dict[str, Cell | None]]:
        """Cells of the gap matrix by teacher (`roles.TEACHERS`) and student (`roles.STUDENTS`)."""
        return gap_matrix(self.entries)

    @cached_property
    def ablations(self) -> tuple[AblationEffect, ...]:
        """What tampering with its images does to each policy with which that was tried."""
        return tuple(effect for entry in self.entries for effect in ablation_effects(entry))

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """Roles in the order of their first entry."""
        return tuple(dict.fromkeys(entry.role for entry in self.entries))

    def of_role(self, role: str) -> list[Entry]:
        """The entries that share a role: one per training seed."""
        return [entry for entry in self.entries if entry.role == role]

    @cached_property
    def over_seeds(self) -> dict[str, dict[str, Any]]:
        """By role: `success_at_end` and, for students, `success_gap` and `retention`, each with Student's t over
        training seeds, and under `<figure>_bootstrap` with the bootstrap over seeds and resets."""
        result: dict[str, dict[str, Any]] = {}
        for role in self.roles:
            entries, chains = self.of_role(role), chains_of(role, self.entries)
            pairs = [(t.evaluation, s.evaluation) for t, s in chains]
            success = np.stack([entry.evaluation.success_at_end.astype(float) for entry in entries])
            figures = {"success_at_end": mean_of(success)}
            if pairs:
                figures |= {"success_gap": success_gaps(pairs), "retention": retentions(pairs)}
            result[role] = {"seeds": len(entries)}
            for name, figure in figures.items():
                result[role] |= {name: figure.seeds, f"{name}_bootstrap": figure.both}
        return result

    def extra_losses(self, chosen: NDArray[np.bool_] | None = None) -> tuple[ExtraLoss, ...]:
        """One for each kind of depth teacher whose chains have a counterpart among the state teacher's, over all seeds
        that both have; the first is the headline: most seeds, and from scratch where these are equal.

        chosen (E,) bool: resets to look at.
        """
        of_state, found = chains_of(role_of_cell("state", "stereo"), self.entries), []
        for teacher in reversed(TEACHERS[1:]):
            role = role_of_cell(teacher, "stereo")
            pairs = by_seed(of_state, chains_of(role, self.entries))
            if pairs:
                sides = zip(*pairs, strict=True)
                first, second = ([(t.evaluation, s.evaluation) for t, s in side] for side in sides)
                names = tuple((one[1].name, other[1].name) for one, other in pairs)
                found.append(ExtraLoss(role, names, gap_differences(first, second, chosen)))
        return tuple(sorted(found, key=lambda loss: -len(loss.chains)))

    def extra_loss(self, chosen: NDArray[np.bool_] | None = None) -> Interval | None:
        """The headline: the first of `extra_losses` with its bootstrap interval over seeds and resets; None if one of
        the chains is not compared."""
        found = self.extra_losses(chosen)
        return found[0].figure.both if found else None

    def save(self, folder: Path) -> None:
        """Write comparison.json, comparison.csv and comparison.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comparison.json").write_text(json.dumps(plain(self.as_dict()), indent=2) + "\n")
        (folder / "comparison.csv").write_text(self.as_csv())
        (folder / "comparison.md").write_text(self.as_markdown())

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON; curves stay in the runs' own metrics.csv."""
        return {
            "settings": self.settings,
            "policies": [describe(entry) for entry in self.entries],
            "gaps": self.gaps,
            "decompositions": self.decompositions,
            "gap_matrix": self.matrix,
            "ablations": self.ablations,
            "over_seeds": self.over_seeds,
            "extra_loss_of_the_state_chain": self.extra_losses(),
            "notes": self.notes,
        }

    def as_csv(self) -> str:
        """One row per policy; each figure with its bounds in columns of their own."""
        gaps = {gap.student: gap for gap in self.gaps}
        parts = {part.student: part for part in self.decompositions}
        return table_of([flat_row(entry, gaps.get(entry.name), parts.get(entry.name)) for entry in self.entries])

    def as_markdown(self) -> str:
        """The tables of a README: a row per policy, the gap matrix, the extra loss, the ablations."""
        return markdown(self)
