"""Data-parallel PPO: ranks that average their gradients. Where each simulates its own share of the worlds, it is
the baseline to disaggregation; where each has simulators of its own, several learners of one disaggregated training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from ...teachers.episodes import COUNTED

START_METHOD: Any = "spawn"
"""How ranks begin: anew, as CUDA demands."""
SUMS = ("episodes", *COUNTED)
"""Metrics of a rollout that count; the others are means."""


def make_fabric(device_name: str, precision: Any = "32-true", ranks: int = 1) -> Fabric:
    """One process on a device, e.g. "cpu" or "cuda:0", or `ranks` of them from it on that average their gradients."""
    device = torch.device(device_name)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    if ranks == 1:
        devices: Any = 1 if device.index is None else [device.index]
        return Fabric(accelerator=device.type, devices=devices, precision=precision)
    first = device.index or 0
    devices = ranks if device.type == "cpu" else list(range(first, first + ranks))
    strategy = DDPStrategy(start_method=START_METHOD, broadcast_buffers=False)  # normalisers are merged, not copied
    return Fabric(accelerator=device.type, devices=devices, strategy=strategy, precision=precision)


def gather(one: Any) -> list[Any]:
    """What every rank has, in their order."""
    if not torch.distributed.is_initialized():
        return [one]
    everywhere: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everywhere, one)
    return everywhere


def merge(summaries: Sequence[tuple[dict[str, float], dict[str, tuple[int, int]]]]) -> Any:
    """One `EpisodeTracker.summary` of those of all ranks: an episode weighs the same wherever it was lived."""
    metrics: dict[str, float] = {}
    weights: dict[str, float] = {}
    by_kind: dict[str, tuple[int, int]] = {}
    for figures, kinds in summaries:
        for name, (wins, count) in kinds.items():
            before = by_kind.get(name, (0, 0))
            by_kind[name] = before[0] + wins, before[1] + count
        for name, value in figures.items():
            weight = _weight(name, figures)
            metrics[name] = metrics.get(name, 0.0) + weight * value
            weights[name] = weights.get(name, 0.0) + weight
    means = {name: total if name in SUMS else total / max(weights[name], 1e-9) for name, total in metrics.items()}
    return means | {f"success/{name}": wins / count for name, (wins, count) in by_kind.items()}, by_kind


def _weight(name: str, figures: Mapping[str, float]) -> float:
    """Means over steps weigh a rank like another, as all have as many worlds; means over episodes by these."""
    per_step = name in SUMS or name.startswith("reward/") or name == "visible"
    return 1.0 if per_step else figures["episodes"]
