"""What a comparison of policies found: one entry per policy, one gap per student, and what several seeds say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.observability import gap_differences, retentions, success_gap, success_gaps
from ..evaluation.statistics import Interval, Seeded, mean_of, wilson
from .gaps import Cell, Decomposition, Gap, by_seed, chains_of, controls_of, decomposition_of, gap_matrix, gap_of
from .policies import TEACHERS, role_of_cell
from .results import Entry


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


@dataclass(frozen=True)
class AblationEffect:
    """What one way to tamper with its images does to a policy, on the same resets."""

    policy: str
    """Name of its entry."""
    kind: str
    """One of `KINDS`."""
    success: Interval
    """success_at_end with the images tampered with; Wilson."""
    lost: Interval
    """success_at_end with its eyes minus that, paired by reset; near 0 = the policy does not use what was taken."""
    unexplained: Interval | None
    """Unexplained action variance on the states that the ablated policy visits; None for a teacher."""


def ablation_effects(entry: Entry) -> list[AblationEffect]:
    """One for each ablation of the entry that was run."""
    effects = []
    for kind, evaluation in entry.ablations.items():
        both = entry.ablated_disagreements.get(kind)
        effects.append(
            AblationEffect(
                policy=entry.name,
                kind=kind,
                success=wilson(evaluation.success_at_end),
                lost=success_gap(entry.evaluation, evaluation),
                unexplained=both.unexplained() if both is not None else None,
            )
        )
    return effects
