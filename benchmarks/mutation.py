"""What the tests would notice: bugs planted by mutmut, one at a time, and the tests that reach them run.

    uv run --group mutation python benchmarks/mutation.py --sample 400      # a tenth of the bugs, drawn by --seed
    uv run --group mutation python benchmarks/mutation.py teachers.ppo sims.draws      # all of some modules

Works in a copy of what is committed, in runs/mutation, and writes benchmarks/results/mutation.json: for each file how
many bugs were tried and how many survived, with the survivors' differences and, where it is known, why no test can see
one (EQUIVALENT). A file that is tried again replaces its entry.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from handsight.distill.runs.provenance import provenance

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "mutation.json"
PLACE = ROOT / "runs" / "mutation"
MODULES = (
    "teachers.*", "students.*", "datasets.*", "distill.evaluation.*", "sims.tasks.*", "sims.draws", "sims.cameras"
)  # fmt: skip
TESTS = ("teachers", "students", "datasets", "distill/evaluation", "sims/tasks", "sims/test_cameras.py")
UNSEEN = ("raise \\w+", "_log\\.\\w+", '^\\s*f?"', "assert ")
"""Lines whose words no test reads: messages are matched by their tests in part."""
CONFIG = """
[tool.pytest.ini_options]
addopts = "--import-mode=importlib -m 'not slow' -q -p no:cacheprovider"
markers = ["slow: learns or measures for minutes"]
filterwarnings = ["ignore"]

[tool.mutmut]
source_paths = ["handsight"]
only_mutate = {files}
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"
do_not_mutate_patterns = {unseen}
"""
EQUIVALENT = {
    r"\.to\(None\)": "torch multiplies a boolean by a float as it does a float",
    r"generator=None": "another stream of random numbers, which is as good",
}
"""Reason by what the changed line holds."""
KILLED, SURVIVED = (1, 3, 24, 36, -24, 152, 255, -9, -11), (0,)
"""Exit codes: a test failed, no memory or time was left; no test noticed."""


def prepare(modules: list[str]) -> None:
    """Lay out the copy: mutmut knows a module by its path, so ours lie in a folder of the package's name."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    (PLACE / "handsight").mkdir()
    subprocess.run(["tar", "-x", "-C", PLACE / "handsight"], input=archive, check=True)
    for folder in ("notebooks", "benchmarks"):
        shutil.rmtree(PLACE / "handsight" / folder)
    files = [f"handsight/{module.replace('.', '/')}{'' if module.endswith('*') else '.py'}" for module in modules]
    tests = [f"handsight/tests/{name}" for name in TESTS]
    text = CONFIG.format(files=json.dumps(files), tests=json.dumps(tests), unseen=json.dumps(UNSEEN))
    (PLACE / "pyproject.toml").write_text(text)


def mutmut(*words: str) -> str:
    """Run it in the copy, on one thread a process; what it prints. Exits where tests fail before a bug is planted."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "mutmut", *words]
    told = subprocess.run(command, cwd=PLACE, env=environment, capture_output=True, text=True, check=False).stdout
    if "failed to collect stats" in told:
        sys.exit(f"the tests fail before any bug is planted: run pytest in {PLACE / 'mutants'}")
    return told


def outcomes() -> dict[str, int | None]:
    """Exit code of the tests by mutant; None: not tried."""
    found: dict[str, int | None] = {}
    for path in sorted((PLACE / "mutants").rglob("*.meta")):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def describe(name: str) -> dict[str, str]:
    """A survivor: its difference, and why it is none if that is known."""
    lines = [line for line in mutmut("show", name).splitlines() if re.match(r"[-+](?![-+])", line)]
    told = {"mutant": name, "difference": "\n".join(lines)}
    why = [reason for pattern, reason in EQUIVALENT.items() if re.search(pattern, told["difference"])]
    return told | ({"equivalent": why[0]} if why else {})


def main() -> None:
    """Plant, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=MODULES, help="dotted, without the package's name; * matches all")
    parser.add_argument("--sample", type=int, help="so many mutants of all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    prepare(list(args.modules))
    mutmut("run", "--max-children", str(args.jobs), "handsight.none_of_them")  # makes all, times the tests, tries none
    names = sorted(outcomes())
    chosen = sorted(random.Random(args.seed).sample(names, min(args.sample or len(names), len(names))))
    print(f"{len(chosen):,} of {len(names):,} bugs", flush=True)
    mutmut("run", "--max-children", str(args.jobs), *chosen)
    tried = {name: code for name, code in outcomes().items() if name in set(chosen) and code is not None}
    files: dict[str, Any] = json.loads(RESULTS.read_text())["files"] if RESULTS.exists() else {}
    for file in sorted({name.rpartition(".")[0] for name in tried}):
        mine = {name: code for name, code in tried.items() if name.rpartition(".")[0] == file}
        survivors = [describe(name) for name, code in mine.items() if code not in KILLED]
        files[file] = {"tried": len(mine), "survived": len(survivors), "survivors": survivors}
    real = sum("equivalent" not in one for entry in files.values() for one in entry["survivors"])
    total = sum(entry["tried"] for entry in files.values())
    facts = provenance()
    summary = {"tried": total, "survived": real, "killed_share": round(1 - real / max(1, total), 4)}
    machine = {"git": facts["git"], "hardware": facts["hardware"]}
    RESULTS.write_text(json.dumps({"summary": summary, **machine, "files": files}, indent=2) + "\n")
    print(summary)


if __name__ == "__main__":
    main()
