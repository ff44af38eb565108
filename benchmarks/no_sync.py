"""Does a rollout wait for its GPU? A profile of one, and every call in it by which the host waits for the device.

    python benchmarks/no_sync.py --device cuda:0 --out results.json

Exits with 1 if there is one. On a CPU there is nothing to wait for: it runs, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.profiler import ProfilerActivity, profile

from handsight.distill.commands import options, presets
from handsight.distill.runs.provenance import provenance
from handsight.distill.training.teacher_training import TeacherTraining

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cuStreamSynchronize",
         "cuCtxSynchronize", "cuEventSynchronize", "Memcpy DtoH (Device -> Pageable)")  # fmt: skip
"""Of the CUDA runtime and driver; a copy to pageable memory waits, too."""
READS = ("aten::_local_scalar_dense", "aten::nonzero")
"""Torch's operations that read a tensor on the host."""


def waits(names: Counter[str]) -> dict[str, int]:
    """Of the events of a profile, those that make the host wait."""
    return {name: count for name, count in names.items() if name.startswith(WAITS)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--sight", choices=["state", "depth"], default="depth")
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--image", default="64x64")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    config = presets.teacher(args.sight, "gpu", options.Worlds(image=args.image))
    config = replace(config, num_envs=args.worlds, device=args.device, validate_every=0)
    training = TeacherTraining.start(config)
    training._collect(training.policy, training.buffer)  # allocators and kernels are warm
    cuda = args.device != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    if cuda:
        torch.cuda.synchronize(args.device)
    with profile(activities=activities) as found:
        training._collect(training.policy, training.buffer)
        # no synchronisation here: leaving the profiler waits by itself, outside of what it lists
    names = Counter(event.name for event in found.events())
    training.close()
    result = {
        "device": args.device, "sight": args.sight, "worlds": args.worlds, "steps": config.rollout_steps,
        "waits": waits(names), "reads": {name: names[name] for name in READS if names[name]},
        "events": sum(names.values()), "proves": cuda, "provenance": provenance(),
    }  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2, default=str) + "\n")
    told = f"{len(result['waits'])} kinds of waiting: {result['waits']}" if cuda else "a CPU: there is nothing to prove"
    print(f"{args.worlds} worlds, {config.rollout_steps} steps, {result['events']} events; {told}")
    return int(bool(cuda and result["waits"]))


if __name__ == "__main__":
    sys.exit(main())
