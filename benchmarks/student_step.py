"""What a student's gradient step costs in CPU time on one thread, with and without `keep_freed_memory`:
`python benchmarks/student_step.py`. Writes benchmarks/results/student_step.json."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from handsight.distill.runs.provenance import provenance
from handsight.distill.training.allocator import keep_freed_memory
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.distiller import Distiller
from handsight.sims.vec_env import ArraySpec
from handsight.students import StereoStudent, StudentConfig

RESULTS = Path(__file__).parent / "results" / "student_step.json"
STEPS, SEQUENCES, REPEATS = 36, 32, 8


def measure() -> dict[str, float]:
    """Of the default student's step: seconds of CPU time, of which in the kernel."""
    torch.set_num_threads(1)
    spec = {"stereo": ArraySpec((2, 3, 32, 32), torch.uint8), "proprio": ArraySpec((94,), torch.float32)}
    student = StereoStudent(StudentConfig(), spec, 6).train()
    module, rows = Distiller(student, DaggerConfig(), 1), (STEPS, SEQUENCES)
    batch = {
        "stereo": torch.randint(0, 256, (*rows, 2, 3, 32, 32), dtype=torch.uint8),
        "proprio": torch.randn(*rows, 94), "object": torch.randn(*rows, 3),
        "mean": torch.randn(*rows, 6), "std": torch.ones(*rows, 6),
        "first": torch.zeros(rows, dtype=torch.bool), "valid": torch.ones(rows, dtype=torch.bool),
    }  # fmt: skip
    optimizer, spent = torch.optim.AdamW(student.parameters(), 1e-4), []
    for _ in range(REPEATS + 2):
        before = os.times()
        optimizer.zero_grad()
        torch.stack(list(module.losses(batch).values())).sum().backward()
        optimizer.step()
        after = os.times()
        spent.append((after.user - before.user, after.system - before.system))
    totals = [user + system for user, system in spent[2:]]
    return {
        "cpu_seconds": statistics.median(totals), "kernel_seconds": statistics.median(s for _, s in spent[2:]),
        "images_per_cpu_second": 2 * STEPS * SEQUENCES / statistics.median(totals),
    }  # fmt: skip


def main() -> None:
    if len(sys.argv) > 1:  # in a process of its own
        if sys.argv[1] == "kept":
            keep_freed_memory()
        print(json.dumps(measure()))
        return
    rows = {}
    for name in ("plain", "kept", "plain again", "kept again"):
        words = [sys.executable, __file__, name.split()[0]]
        rows[name] = json.loads(subprocess.check_output(words, text=True))
        print(name, rows[name], flush=True)
    facts = provenance()
    rows["provenance"] = {key: facts[key] for key in ("git", "hardware", "started")}
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
