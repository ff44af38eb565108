"""Every measurement that needs a GPU, step by step; a second call skips what is done and goes on with what is not.

Results lie in benchmarks/results/gpu/ (`--out`): one JSON per step with hardware and commit, logs/, and steps.json,
which says what each step came to. Trainings lie in its runs/ and go on where they stopped. Exit code: 0 all done, 75
some need another call, 1 some failed (they are tried again by the next call).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handsight.distill.runs.provenance import provenance
from handsight.distill.runs.run import runs_under

ROOT = Path(__file__).resolve().parents[1]
"""Where everything is run, so that results name no path outside of it."""
HERE, RESULTS = Path("benchmarks"), Path("benchmarks/results/gpu")
UNFINISHED = 75
"""What benchmarks/train_for.py exits with when its minutes were up."""
STEP_MINUTES = 9.0
"""Most that one step takes in one call."""
LEAST_MINUTES = 0.5
"""Less than this is not worth beginning a step for."""


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    device: str
    worlds: tuple[int, ...]
    """Numbers of worlds: of the table, and of the depth teachers of equal samples."""
    images: tuple[str, ...]
    """WIDTHxHEIGHT; the first one is the depth teacher's."""
    bench: tuple[str, ...] = ()
    """More options of the table."""
    training: tuple[str, ...] = ()
    """More options of every training."""
    samples: int = 10_000_000
    """World-steps of each of the depth teachers of equal samples."""
    rollout_steps: int = 16
    episodes: int = 512
    capacity: tuple[str, ...] = ("--memory-gib", "20", "--check", "--check-cap-gib", "8")
    tests: tuple[str, ...] = ("tests/sims/test_mujoco_gpu.py", "tests/distill/test_no_waiting.py")
    """What pytest runs; those that need a GPU are skipped without one."""


GPU = Size("cuda:0", (256, 1024, 4096), ("64x64", "160x120"))
TOY = Size(
    "cpu", (2, 4), ("16x16",),
    bench=("--steps", "2", "--warm-up", "2"),
    training=("--rollout-steps", "4", "--iterations", "2", "--validation-episodes", "4", "--checkpoint-every", "1"),
    samples=32, rollout_steps=4, episodes=4,
    capacity=("--memory-gib", "4", "--height", "16", "--width", "16", "--samples", "2", "4"),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    words: tuple[str, ...]
    """`handsight ...`, `python ...`; `@NAME` stands for the newest run in runs/NAME."""
    needs: tuple[str, ...] = ()
    """Steps that must be done before."""


def steps(size: Size, out: Path) -> list[Step]:
    """What is done, in this order: proofs first, then speed, then learning, which takes several calls."""
    device, engine = ("--device", size.device), ("--engine", "mujoco_warp")
    few = str(min(size.worlds))
    middle = str(size.worlds[len(size.worlds) // 2])
    image = ("--image", size.images[0])

    def script(name: str, *words: str) -> tuple[str, ...]:
        return ("python", str(HERE / name), *words)

    def result(name: str) -> tuple[str, str]:
        return ("--out", str(out / f"{name}.json"))

    def training(name: str, *words: str) -> Step:
        return Step(name, (*script("train_for.py"), str(out / "runs" / name), "{minutes}", *words))

    proofs = [
        Step("contract", ("handsight", "check-env", *engine, *device, "--num-envs", few, *_rig(size.images[0]))),
        Step("tests", ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *size.tests)),
        Step("agreement", script("agreement.py", *device, "--worlds", middle, *image, "--episodes", str(size.episodes),
                                 *result("agreement"))),
        Step("no_sync", script("no_sync.py", *device, "--worlds", middle, *image, *result("no_sync"))),
    ]  # fmt: skip
    speed = [
        Step(
            f"bench_{worlds}",
            script("engine_table.py", *engine, *device, "--worlds", str(worlds), "--images", *size.images, *size.bench,
                   *result(f"bench_{worlds}")),
        )
        for worlds in size.worlds
    ]  # fmt: skip
    speed += [
        Step(
            f"placements_{sight}",
            script("placements.py", *device, "--sight", sight, "--worlds", middle, *image, "--iterations", "3",
                   *result(f"placements_{sight}")),
        )
        for sight in ("state", "depth")
    ]  # fmt: skip
    speed.append(Step("capacity", ("handsight", "capacity", *device, *size.capacity, *result("capacity"))))
    preset = ("--preset", "gpu", *device)
    small = ("--num-envs", middle) if size is not GPU else ()
    learning = [training("state", "train-teacher", "state", *preset, *small, *size.training)]
    learning.append(training("depth", "train-teacher", "depth", *preset, *image, *small, *size.training))
    for worlds in size.worlds:
        rollouts = str(max(1, size.samples // (worlds * size.rollout_steps)))
        own = ("--num-envs", str(worlds), *size.training, "--iterations", rollouts, "--validate-every", "10")
        learning.append(training(f"batch_{worlds}", "train-teacher", "depth", *preset, *image, *own))
    batches = tuple(f"batch_{worlds}" for worlds in size.worlds)
    folders = [str(out / "runs" / name) for name in batches]
    after = [Step("batch_sizes", script("batch_sizes.py", *folders, "--out", str(out)), batches)]
    for sight in ("state", "depth"):
        words = ("--about", f"preset gpu, {sight}", "--episodes", str(size.episodes), "--num-envs",
                 str(min(size.episodes, 256)), "--into", str(out / "zoo"), *device)  # fmt: skip
        after.append(Step(f"zoo_{sight}", script("to_zoo.py", f"@{sight}", f"gpu-{sight}", *words), (sight,)))
    return [*proofs, *speed, *learning, *after]


def _rig(image: str) -> tuple[str, ...]:
    width, height = image.split("x")
    return ("--env.scene.rig.width", width, "--env.scene.rig.height", height)


def command(step: Step, out: Path, minutes: float) -> list[str]:
    """What is run, for at most so many minutes."""
    found = []
    for word in step.words:
        if word.startswith("@"):
            word = str(runs_under(out / "runs" / word[1:])[-1])
        found.append(f"{minutes:.2f}" if word == "{minutes}" else word)
    match found[0]:
        case "handsight":
            return [sys.executable, "-m", "handsight.distill.commands.cli", *found[1:]]
        case _:
            return [sys.executable, *found[1:]]


def run(step: Step, out: Path, minutes: float) -> dict[str, Any]:
    """Run one step; what it came to."""
    start, log = time.monotonic(), out / "logs" / f"{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = command(step, out, minutes)
    with log.open("ab") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
        try:
            code = process.wait(60 * minutes + 5)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            code = 124
    state = {0: "done", UNFINISHED: "unfinished"}.get(code, "failed")
    return {"state": state, "code": code, "seconds": round(time.monotonic() - start, 1), "command": step.words}


class Ledger:
    """steps.json: what each step came to, written after each."""

    def __init__(self, out: Path) -> None:
        self.path = out / "steps.json"
        self.steps: dict[str, Any] = json.loads(self.path.read_text())["steps"] if self.path.is_file() else {}

    def done(self, name: str) -> bool:
        """Whether it need not be run again."""
        return self.steps.get(name, {}).get("state") == "done"

    def note(self, name: str, outcome: dict[str, Any]) -> None:
        """Write down what a step came to; the seconds of its earlier calls are added."""
        before = self.steps.get(name, {}).get("seconds", 0.0)
        outcome = outcome | {"seconds": round(before + outcome["seconds"], 1), "git": provenance()["git"]}
        self.steps[name] = outcome
        fresh = self.path.with_suffix(".new")
        facts = {"steps": self.steps, "provenance": {**provenance(), "command": None}}
        fresh.write_text(json.dumps(facts, indent=1, default=str).replace(f"{self.path.parent}/", "") + "\n")
        fresh.replace(self.path)


def run_all(chosen: Sequence[Step], out: Path, minutes: float | None) -> int:
    """Run what is not done, while there is time; the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(out)
    deadline = time.monotonic() + 60 * minutes if minutes else None
    for step in chosen:
        left = STEP_MINUTES if deadline is None else min(STEP_MINUTES, (deadline - time.monotonic()) / 60)
        missing = [name for name in step.needs if not ledger.done(name)]
        if ledger.done(step.name):
            print(f"{step.name}: done before", flush=True)
        elif missing:
            print(f"{step.name}: waits for {', '.join(missing)}", flush=True)
        elif left < LEAST_MINUTES:
            print(f"{step.name}: no time left", flush=True)
        else:
            outcome = run(step, out, left)
            ledger.note(step.name, outcome)
            said = f"{outcome['state']} after {outcome['seconds']:.0f} s (logs/{step.name}.log)"
            print(f"{step.name}: {said}", flush=True)
    states = [ledger.steps.get(step.name, {}).get("state", "not begun") for step in chosen]
    print(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    return 1 if "failed" in states else 0 if set(states) == {"done"} else UNFINISHED


def from_root(path: Path) -> Path:
    """A path as it is called in `ROOT`, if it lies there."""
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="names of steps; all if none is named")
    parser.add_argument("--minutes", type=float, help="leave after so many")
    parser.add_argument("--rehearse", action="store_true", help="at toy size on the CPU")
    parser.add_argument("--list", action="store_true", help="print the steps and their commands")
    parser.add_argument("--out", type=Path, help="folder of the results; benchmarks/results/gpu if not given")
    args = parser.parse_args()
    size, usual = (TOY, Path("runs/gpu-rehearsal")) if args.rehearse else (GPU, RESULTS)
    out = from_root(args.out) if args.out else usual
    os.chdir(ROOT)
    known = steps(size, out)
    unknown = sorted(set(args.only) - {step.name for step in known})
    if unknown:
        parser.error(f"unknown steps {', '.join(unknown)}; available: {', '.join(step.name for step in known)}")
    chosen = [step for step in known if not args.only or step.name in args.only]
    if args.list:
        print("\n".join(f"{step.name}: {' '.join(step.words)}" for step in chosen))
        return 0
    if not args.rehearse:
        import torch

        if not torch.cuda.is_available():
            sys.stderr.write("gpu.sh: no CUDA device here; --rehearse runs everything at toy size on the CPU\n")
            return 2
    return run_all(chosen, out, args.minutes)


if __name__ == "__main__":
    sys.exit(main())
