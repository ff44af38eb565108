"""What it takes to start, in CPU seconds, beside a bare `import torch`: the help of every command, `import
handsight.sims`, and 480 gradient steps after torch or handsight was imported first, on as many threads as there are
cores. `python benchmarks/startup.py` runs all of them in turn, three times; writes benchmarks/results/startup.json."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from handsight.distill.commands.cli import COMMANDS
from handsight.distill.runs.provenance import provenance
from handsight.files import write_json

RESULTS = Path(__file__).parent / "results" / "startup.json"
ROUNDS = 3
PEER = "import torch"
STEPS = """
import os, time
from torch import nn
network = nn.Sequential(nn.Linear(117, 256), nn.ELU(), nn.Linear(256, 128), nn.ELU(), nn.Linear(128, 7))
adam, batch = torch.optim.Adam(network.parameters()), torch.randn(1024, 117)
before = os.times()
for _ in range(480):
    adam.zero_grad()
    network(batch).square().mean().backward()
    adam.step()
    time.sleep(0.002)  # as a simulator does in between, in threads of its own
after = os.times()
print(after.user + after.system - before.user - before.system)
"""


def program(words: list[str]) -> str:
    """A command line of ours, as the installed script runs it."""
    return f"import sys; from handsight.distill.commands.cli import main; sys.exit(main({words!r}))"


def cost(source: str) -> float:
    """CPU seconds of a Python process that runs a program; where the program prints a number last, that number."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return float(done.stdout) if source.endswith(STEPS) else spent


def main() -> None:
    """Measure everything in turn, so that what else the machine does falls on all of it alike."""
    sources = {PEER: PEER, "import handsight.sims": "import handsight.sims"}
    sources["from handsight.sims import *"] = "from handsight.sims import *"
    for name in COMMANDS:
        words = [name, *(["state"] if name == "train-teacher" else []), "--help"]
        sources[" ".join(["handsight", *words])] = program(words)
    sources |= {
        "480 gradient steps, torch imported first": f"import torch, handsight\n{STEPS}",
        "480 gradient steps, handsight imported first": f"import handsight, torch\n{STEPS}",
    }
    rounds = [{name: cost(source) for name, source in sources.items()} for _ in range(ROUNDS)]
    seconds = {name: round(statistics.median(one[name] for one in rounds), 2) for name in sources}
    for name, spent in seconds.items():
        print(f"{name:48} {spent:7.2f} CPU s  {spent / seconds[PEER]:6.2f} x {PEER}")
    facts = provenance()
    write_json(
        RESULTS,
        {
            "unit": f"CPU seconds, median of {ROUNDS} rounds, all in turn",
            "cpu_seconds": seconds,
            "provenance": {key: facts[key] for key in ("git", "hardware", "versions", "started")},
        },
    )


if __name__ == "__main__":
    main()
