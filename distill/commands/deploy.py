"""Run an exported policy at the control rate: the policy in a process of its own, the simulator in this one."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from ... import sims
from ...errors import HandsightError
from ...files import explained, write_json
from ...sims.env_config import EnvConfig
from ...students.export import check_installed
from ..evaluation.evaluate import set_reset_kind
from ..runs import stored_config
from ..runs.policy_io import check_signature
from ..runs.progress import Table, stage, tell
from ..runs.provenance import provenance
from .arguments import DeployArgs

PERCENTILES = (50, 95, 99)


class DeployError(HandsightError):
    """A policy process that does not start or does not answer."""


def deploy(args: DeployArgs) -> dict[str, Any]:
    """What `handsight deploy` does: drive, measure, print; returns the figures.

    Raises:
        DeployError: the policy process does not start.
        SignatureError: the simulator is not what the policy was trained in.
    """
    check_installed()
    with PolicyProcess(args.model, args.threads) as policy:
        facts = policy.facts
        config = stored_config.read(EnvConfig, facts.get("env_config"), args.model, DeployError)
        env = sims.make(config, observe=set(facts["inputs"]), num_envs=1)
        try:
            with explained(args.model, DeployError):
                check_signature(facts["signature"], env.signature, where=str(args.model))
            set_reset_kind(env, args.reset_kind)
            period = 1 / args.rate if args.rate else env.control_dt
            loop = ControlLoop(env, policy, period)
            with stage(f"Deploy {args.model}", args.episodes, "episodes") as progress:
                for episode in range(args.episodes):
                    loop.episode(args.seed + episode)
                    progress.advance(1, missed=loop.missed)
        finally:
            env.close()
        figures = loop.figures() | {"loaded": policy.ready["loaded"], "threads": args.threads}
    _show(args, figures)
    if args.out:
        write_json(args.out, figures | {"provenance": provenance()})
    return figures


class PolicyProcess:
    """The process that answers; inside the `with` it is ready."""

    def __init__(self, model: Path, threads: int) -> None:
        words = [sys.executable, "-m", f"{stored_config.__package__}.onnx_policy", str(model), str(threads)]
        quiet = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=quiet
        )
        assert self.process.stdin and self.process.stdout
        self.sink: Any = self.process.stdin
        self.source: Any = self.process.stdout
        line = self.source.readline()
        if not line.endswith(b"\n"):
            said = self.process.communicate()[1].decode(errors="replace").strip().splitlines()
            raise DeployError(f"{model}: the policy process did not start: {said[-1] if said else 'no word'}")
        self.ready: dict[str, Any] = json.loads(line)
        self.facts: dict[str, Any] = self.ready["facts"]
        self.busy = False
        with explained(model, DeployError):
            self._reply = struct.calcsize("<d") + 4 * self.actions

    @property
    def actions(self) -> int:
        """A: how many numbers an action has."""
        return int(self.facts["action_dim"])

    def reset(self) -> None:
        """Say that an episode opens: the hidden state is forgotten."""
        self.sink.write(b"r")

    def ask(self, obs: TensorDict) -> None:
        """Send the observation groups (1, ...) of one environment, in the dtypes that the model was exported with."""
        self.sink.write(b"s" + b"".join(obs[name][0].contiguous().numpy().tobytes() for name in self.facts["inputs"]))
        self.busy = True

    def answer(self, until: float) -> tuple[NDArray[np.float32], float] | None:
        """Action (A,) and the seconds that it took, or None if there is none by `until` (of `time.perf_counter`).

        Raises:
            DeployError: the process is gone.
        """
        patience = None if until == float("inf") else max(0.0, until - time.perf_counter())
        if not select.select([self.source], [], [], patience)[0]:
            return None
        raw = self.source.read(self._reply)  # a pipe hands over whole what was written at once, up to 4 KiB
        if len(raw) < self._reply:
            raise DeployError("the policy process is gone")
        self.busy = False
        return np.frombuffer(raw[:-8], np.float32), struct.unpack("<d", raw[-8:])[0]

    def __enter__(self) -> PolicyProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        self.sink.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ControlLoop:
    """A tick every `period` seconds: the simulator executes the latest action and shows what came of it; the answer to
    that must be there by the next tick, or the last action is held."""

    def __init__(self, env: sims.VecEnv, policy: PolicyProcess, period: float) -> None:
        self.env, self.policy, self.period = env, policy, period
        self.latency: list[float] = []
        """Seconds from sending an observation to having its action."""
        self.compute: list[float] = []
        """Seconds of that inside the policy."""
        self.ticks: list[float] = []
        """Seconds between two ticks."""
        self.steps = self.missed = self.slow = self.episodes = self.succeeded = 0
        """Ticks; those without an answer in time; those for which the simulator alone took longer than a period."""
        self._asked = 0.0
        self._held = np.zeros(policy.actions, np.float32)

    def episode(self, seed: int) -> None:
        """One episode in real time."""
        obs = self.env.reset(seed)
        while self.policy.busy:
            self._await(float("inf"))
        self.policy.reset()
        self._held = np.zeros(self.policy.actions, np.float32)
        due = began = time.perf_counter()
        for _ in range(self.env.episode_steps):
            if not self.policy.busy:
                self._asked = time.perf_counter()
                self.policy.ask(obs)
            due += self.period
            self.missed += not self._await(due)
            time.sleep(max(0.0, due - time.perf_counter()))
            self.ticks.append(time.perf_counter() - began)
            began = time.perf_counter()
            step = self.env.step(torch.from_numpy(self._held.copy())[None])
            obs, self.steps = step.obs, self.steps + 1
            if time.perf_counter() > due + self.period:
                self.slow, due = self.slow + 1, time.perf_counter()
            if bool((step.terminated | step.truncated | step.first)[0]):
                self.succeeded += bool(step.log["success"][0] & ~step.first[0]) if "success" in step.log else 0
                break
        self.episodes += 1

    def _await(self, until: float) -> bool:
        """Take the answer if there is one by then."""
        answer = self.policy.answer(until)
        if answer is None:
            return False
        self.latency.append(time.perf_counter() - self._asked)
        self._held, seconds = answer
        self.compute.append(seconds)
        return True

    def figures(self) -> dict[str, Any]:
        """Milliseconds, counts and shares."""
        return {
            "latency_ms": _spread(self.latency),
            "compute_ms": _spread(self.compute),
            "period_ms": self.period * 1e3,
            "tick_ms": float(np.mean(self.ticks) * 1e3),
            "steps": self.steps,
            "missed_deadlines": self.missed,
            "slow_simulator_ticks": self.slow,
            "episodes": self.episodes,
            "success": self.succeeded / max(1, self.episodes),
        }


def _spread(seconds: list[float]) -> dict[str, float]:
    """Percentiles and the greatest, milliseconds."""
    return {f"p{p}": float(np.percentile(seconds, p) * 1e3) for p in PERCENTILES} | {"max": max(seconds) * 1e3}


def _show(args: DeployArgs, figures: Mapping[str, Any]) -> None:
    table = Table("ms", *(f"p{p}" for p in PERCENTILES), "max", title=str(args.model))
    for name, title in (("latency_ms", "observation sent to action there"), ("compute_ms", "inside the policy")):
        table.add_row(title, *(f"{value:.2f}" for value in figures[name].values()))
    tell(
        table,
        f"{figures['steps']} steps at {1e3 / figures['period_ms']:.1f} Hz (a tick took {figures['tick_ms']:.1f} ms): "
        f"{figures['missed_deadlines']} missed deadlines; success {figures['success']:.2f} "
        f"of {figures['episodes']} episodes; {figures['threads']} thread",
    )
