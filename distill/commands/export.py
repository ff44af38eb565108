"""Write a trained policy as one ONNX file, and compare it with the original while it drives the simulator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ... import sims
from ...errors import HandsightError
from ...files import check_writable, write, written
from ...policies.policy import zero_where_first
from ...students.export import OPSET, ExportError, preprocessing, to_onnx
from ..evaluation import HELD_OUT_SEED
from ..runs import stored_config
from ..runs.policy_io import LoadedPolicy, load_policy, obs_spec, origin_of
from ..runs.progress import tell
from ..runs.provenance import provenance
from .arguments import ExportArgs

TOLERANCE = 1e-4
"""Greatest difference of an action, in units of the action range, that counts as the same."""


def export(args: ExportArgs) -> Path:
    """What `handsight export` does: write, compare, say where.

    Raises:
        ExportError: no format was named, a package is missing, or the two differ; then nothing is written.
    """
    if not args.onnx:
        raise HandsightError("expected a format; available: --onnx")
    loaded = load_policy(args.policy)
    out = args.out or loaded.results / "policy.onnx"
    check_writable(out)
    with written(out) as draft:
        write_onnx(loaded, draft)
        if args.check_steps:
            loaded.check_scene(loaded.env_config)
            apart = closed_loop_difference(loaded, draft, args.check_steps)
            if not apart <= TOLERANCE:
                raise ExportError(f"{out}: actions differ from torch by {apart:.2e}; expected at most {TOLERANCE}")
            tell(f"Largest difference from torch over {args.check_steps} closed-loop steps: {apart:.1e}")
    tell(f"Saved {out}, opset {OPSET}, {out.stat().st_size / 2**20:.2f} MiB")
    return out


def write_onnx(loaded: LoadedPolicy, out: Path) -> None:
    """Export and write, whole or not at all."""
    facts: dict[str, Any] = {
        "signature": loaded.signature,
        "action_dim": loaded.policy.head.mean.out_features,  # type: ignore[union-attr]
        "env_config": stored_config.dump(loaded.env_config),
        "preprocessing": preprocessing(loaded.policy),
        "origin": {**origin_of(loaded), "git": provenance()["git"]},
    }
    with quiet_exporter():
        model = to_onnx(loaded.policy, obs_spec(loaded.signature), facts)
    write(out, model.SerializeToString())


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """The exporter's remarks on its own progress are not the user's business."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)


@torch.no_grad()
def closed_loop_difference(loaded: LoadedPolicy, path: Path, steps: int, worlds: int = 2) -> float:
    """Greatest difference of mean and standard deviation while the exported policy drives, each with its own memory;
    NaN where one of them is."""
    from ..runs.onnx_policy import OnnxPolicy  # an extra

    exported = OnnxPolicy(path)
    task = replace(loaded.env_config.task, episode_steps=steps)
    env = sims.make(replace(loaded.env_config, task=task), observe=set(loaded.policy.obs_keys), num_envs=worlds)
    try:
        obs, apart = env.reset(HELD_OUT_SEED), torch.zeros(())
        hidden = loaded.policy.initial_hidden(worlds)
        for _ in range(steps):
            groups = obs.select(*loaded.policy.obs_keys)
            mean, std, hidden = loaded.policy(groups, hidden)
            own = [
                torch.from_numpy(part)
                for part in exported.act({key: groups[key].numpy() for key in loaded.policy.obs_keys})
            ]
            apart = torch.stack([apart, *((a - b).abs().max() for a, b in zip((mean, std), own, strict=True))]).max()
            step = env.step(own[0])
            obs, hidden = step.obs, zero_where_first(hidden, step.first)
            if exported.hidden is not None:
                exported.hidden[step.first.numpy()] = 0.0
        return float(apart)
    finally:
        env.close()
