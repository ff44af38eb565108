"""What remote simulators cost and survive: `python benchmarks/disaggregated.py overhead overlap kills`.

overhead   a step of 3 simulators x 64 worlds with 64 x 64 depth beside the same worlds in this process, in turns
overlap    an iteration of the depth teacher in turns and with `lag`, beside the longer one of its two halves
kills      simulators killed, stopped and made to raise in turn, while every row is checked against its actions

Each part writes its figures into benchmarks/results/disaggregated.json as soon as it has them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from handsight import sims
from handsight.distill.runs.provenance import provenance
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.sims.env_config import RemoteConfig
from handsight.sims.remote import spares
from handsight.sims.remote.remote_vec_env import RemoteVecEnv

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "disaggregated.json"
TOYS = HERE.parent / "tests" / "sims" / "remote"
"""The worlds of the tests, whose observations prove which actions led to them."""


def env_config(pixels: int) -> sims.EnvConfig:
    """The task with square images."""
    base = sims.EnvConfig()
    rig = replace(base.scene.rig, height=pixels, width=pixels)
    return replace(base, scene=replace(base.scene, rig=rig))


def overhead(args: argparse.Namespace) -> dict[str, Any]:
    """Median step of the same worlds here and there, measured in turns so that other load falls on both."""
    config, worlds = env_config(args.pixels), args.simulators * args.worlds
    groups = ("state", "proprio", "depth")
    near = sims.make(config, groups, worlds)
    far = sims.make_remote(config, groups, worlds, f"cpu*{args.simulators}", RemoteConfig(spares=0, step_timeout=60.0))
    generator = torch.Generator().manual_seed(0)
    for env in (near, far):
        env.reset(0)
        env.stagger()
    seconds: dict[str, list[float]] = {"in_process": [], "remote": []}
    figures = []
    for count in range(args.rounds + 1):
        actions = torch.rand(args.steps, worlds, near.action_dim, generator=generator) * 2 - 1
        for name, env in (("in_process", near), ("remote", far)):
            start = time.perf_counter()
            for action in actions:
                env.step(action)
            if count:  # the first round warms up
                seconds[name].append((time.perf_counter() - start) / args.steps)
        figures.append(far.statistics())
    near.close()
    far.close()
    median = {name: statistics.median(times) for name, times in seconds.items()}
    parts = {name: statistics.median(row[name] for row in figures[1:]) for name in figures[0]}
    return {
        "simulators": args.simulators, "worlds_each": args.worlds, "pixels": args.pixels, "seconds_per_step": median,
        "overhead": median["remote"] / median["in_process"] - 1, "rounds": seconds, "traffic": parts,
    }  # fmt: skip


def overlap(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an iteration of the depth teacher, in turns and with one update of lag: with all the simulators, and
    with one simulator of one thread beside a learner of one thread, which two cores can run at the same time."""
    everywhere = overlap_of(args, f"cpu*{args.simulators}", None, args.simulators * args.worlds)
    torch.set_num_threads(1)
    return everywhere | {"one_core_each": overlap_of(args, "cpu", 1, 2 * args.worlds)}


def overlap_of(args: argparse.Namespace, placement: str, threads: int | None, worlds: int) -> dict[str, Any]:
    """Both modes by turns, an iteration each, so that other load falls on both."""
    base = TeacherConfig.depth()
    config = replace(
        base, sims=placement, env=replace(env_config(args.pixels), threads=threads), num_envs=worlds,
        ppo=replace(base.ppo, aux_warmup_iterations=0), remote=RemoteConfig(spares=0, step_timeout=60.0),
    )  # fmt: skip
    trainings = {name: TeacherTraining.start(replace(config, lag=name == "lag")) for name in ("in_turns", "lag")}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in trainings}
    for count in range(args.iterations + 1):
        for name, training in trainings.items():
            start = time.perf_counter()
            metrics = training.iterate()
            row = {"iteration": time.perf_counter() - start, "policy_lag": metrics["policy_lag"]}
            if count:  # the first one warms up
                rows[name].append(row | {part: metrics[f"seconds/{part}"] for part in ("collect", "update")})
    for training in trainings.values():
        training.close()
    found = {name: {key: statistics.median(row[key] for row in many) for key in many[0]} for name, many in rows.items()}
    longer = max(found["in_turns"]["collect"], found["in_turns"]["update"])
    beside = max(found["lag"]["collect"], found["lag"]["update"])
    return found | {
        "placement": placement, "threads": threads, "worlds": worlds, "pixels": args.pixels, "rows": rows,
        "of_the_longer_half_alone": found["lag"]["iteration"] / longer,
        "of_the_longer_half_beside_the_other": found["lag"]["iteration"] / beside,
    }  # fmt: skip


def toys() -> Any:
    """The tests' module of worlds, which the simulators must find by its name, too."""
    sys.path.insert(0, str(TOYS))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TOYS), os.environ.get("PYTHONPATH", "")])
    import chained_env

    return chained_env


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Failures one after the other; the ledger raises at the first row that is not what its action led to."""
    chained_env = toys()
    env = RemoteVecEnv(chained_env.ChainedEnv, "cpu*2", 32, RemoteConfig(step_timeout=args.step_timeout))
    ledger, generator = chained_env.Ledger(env.reset(0)), torch.Generator().manual_seed(0)

    def step(raising: int | None = None) -> bool:
        action = torch.rand(32, env.action_dim, generator=generator) * 2 - 1
        if raising is not None:
            action[raising, 0] = chained_env.RAISE
        after = env.step(action)
        ledger.check(action, after)
        return bool(after.log["lost"].any())

    took: dict[str, list[float]] = {"killed": [], "stopped": [], "raised": []}
    for number in range(args.kills):
        kind, worker = list(took)[number % 3], env.workers[number % 2]
        for _ in range(10 + number % 7):
            step()
        spares.wait_until_ready(120)  # failures one after the other: each finds the spare that the last one used up
        start = time.perf_counter()
        if kind != "raised":
            os.kill(worker.describe().pid, signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
        lost = step(worker.worlds.start if kind == "raised" else None)
        while not lost:
            lost = step()
        while step():
            time.sleep(0.005)
        took[kind].append(time.perf_counter() - start)
    env.close()
    longest = {kind: max(times) for kind, times in took.items() if times}
    return {
        "kills": args.kills, "step_timeout": args.step_timeout, "seconds_until_whole_again": took, "longest": longest,
        "valid_rows_checked": ledger.valid, "lost_rows": ledger.lost,
    }  # fmt: skip


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "overhead": overhead, "overlap": overlap, "kills": kills,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    whole = partial(parser.add_argument, type=int)
    whole("--simulators", default=3)
    whole("--worlds", default=64, help="of each simulator")
    whole("--pixels", default=64)
    whole("--steps", default=20, help="of a round")
    whole("--rounds", default=7)
    whole("--iterations", default=5)
    whole("--kills", default=50)
    parser.add_argument("--step-timeout", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    for part in args.parts:
        found = PARTS[part](args) | {"provenance": provenance()}
        results = json.loads(args.out.read_text()) if args.out.exists() else {}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results | {part: found}, indent=2, default=str) + "\n")
        print(part, json.dumps({name: value for name, value in found.items() if name != "provenance"}, indent=2))


if __name__ == "__main__":
    main()
