"""One device's share of a training, run for real in a process of its own, and the memory that it took.

    python -m handsight.distill.commands.footprint '{"mode": "split", "num_envs": 64, ...}'

prints one line of JSON. With `cap` it may not take more than so many bytes, and exits with 1 if that is too little.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ...errors import HandsightError
from ...ranges import Count, Pixels, Within
from ..evaluation.chosen import Chosen

Mode = Literal["together", "split"]
MODULE = f"{__package__}.footprint"
"""This file, as the process that is measured runs it."""
SAMPLE_EVERY = 0.01
"""s between two looks at the memory of the processes."""


ROLLOUT_STEPS, MINIBATCHES = 4, 4
"""Steps of a measured rollout, and gradient steps per pass of its update."""


@dataclass(frozen=True)
class Measured(Chosen):
    """What the memory of a training depends on, besides its size."""

    sight: Literal["state", "depth"] = "depth"
    """What the teacher sees."""
    height: Pixels = 120
    """Height of an image, pixels."""
    width: Pixels = 160
    """Width of an image, pixels."""
    device: str = "cpu"
    """What is measured: "cpu" or, with nothing else on it, "cuda:0", where the worlds are mujoco_warp's."""


@dataclass(frozen=True)
class FootprintConfig(Measured):
    """The training of which the memory is measured."""

    mode: Mode = "split"
    """"together": simulate and learn in one process, as each rank of data parallelism does; "split": in two."""
    num_envs: Count = 1
    """Environments of the one simulator, which are also those of the one learner."""
    cap: Annotated[int | None, Within(1, 2**60)] = None
    """Bytes that each process may take: RLIMIT_DATA on a CPU, a share of the device's memory on a GPU."""


@dataclass(frozen=True)
class Footprint:
    """Highest memory of the two, bytes: writable memory of their own (VmData) on a CPU, of the device on a GPU."""

    learner: int
    """The process that learns, and that also simulates if it does both."""
    simulator: int
    """The process that simulates; 0 if the learner does."""


def measure(config: FootprintConfig, timeout: float = 900.0) -> Footprint | None:
    """Run it in a new process; None if it did not fit under its cap.

    Raises:
        HandsightError: it failed for another reason.
    """
    words = [sys.executable, "-m", MODULE, json.dumps(asdict(config))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, env=environment)
    if done.returncode == 0:
        return Footprint(**json.loads(done.stdout.splitlines()[-1]))
    if config.cap is not None:
        return None  # whatever a process says when it is refused memory, and some say nothing
    raise HandsightError(f"footprint of {config}: the run failed\n{done.stderr[-3000:]}")


class Watcher:
    """Samples the memory of this process and of its simulators until `stop`."""

    def __init__(self, device: str) -> None:
        self.device, self.pids, self.peak = device, {os.getpid()}, {}
        self.before = self._now(os.getpid())
        """Bytes that were taken already."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY):
            for pid in list(self.pids):
                self.peak[pid] = max(self.peak.get(pid, 0), self._now(pid))

    def _now(self, pid: int) -> int:
        if self.device != "cpu":
            import torch

            free, total = torch.cuda.mem_get_info(self.device)
            return total - free
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData")), 0)

    def stop(self) -> dict[int, int]:
        """Highest bytes by process."""
        self._stopped.set()
        self._thread.join()
        return self.peak


def run(config: FootprintConfig) -> Footprint:
    """Two rollouts and an update, in this process.

    Raises:
        HandsightError: a simulator was lost, or more was taken than the cap allows.
    """
    if config.cap is not None:
        _limit(config)
    watcher = Watcher(config.device)
    from ...sims import memory
    from ...sims.remote.remote_vec_env import RemoteVecEnv
    from ..training.teacher_training import TeacherTraining

    memory.USABLE_HOST = 1e6  # what fits is tried here, not predicted
    training = TeacherTraining.start(teacher(config))
    simulators = training.env.workers if isinstance(training.env, RemoteVecEnv) else []
    pids = {worker.describe().pid for worker in simulators}
    watcher.pids |= pids
    training.iterate()
    time.sleep(5 * SAMPLE_EVERY)
    peak = watcher.stop()
    _keep_to(config, peak[os.getpid()] - watcher.before)
    lost = training.env.statistics().get("remote/lost_rows", 0.0)
    training.close()
    if lost:
        raise HandsightError("a simulator was lost on the way")
    return Footprint(peak[os.getpid()], max((peak[pid] for pid in pids), default=0))


def teacher(config: FootprintConfig) -> Any:
    """The training that is run: a teacher as it comes, but for the size of its images and rollouts."""
    from ...sims.env_config import RemoteConfig
    from ..training.teacher_config import TeacherConfig

    base = getattr(TeacherConfig, config.sight)()
    base = base.with_worlds(config.change(base.env)) if config.chosen else base
    engine = base.env.engine if config.device == "cpu" else "mujoco_warp"
    rig = replace(base.env.scene.rig, height=config.height, width=config.width)
    return replace(
        base,
        env=replace(base.env, engine=engine, scene=replace(base.env.scene, rig=rig), threads=1),
        ppo=replace(base.ppo, epochs=1, minibatches=MINIBATCHES, aux_warmup_iterations=0),
        num_envs=config.num_envs,
        rollout_steps=ROLLOUT_STEPS,
        device=config.device,
        sims=config.device if config.mode == "split" else "",
        remote=RemoteConfig(spares=0, max_failures=1, step_timeout=300.0, build_timeout=600.0),
        memory_budget_gib=1024.0,
    )


def _limit(config: FootprintConfig) -> None:
    """Before Ray is started, so that the simulators inherit it."""
    assert config.cap is not None
    if config.device == "cpu":
        resource.setrlimit(resource.RLIMIT_DATA, (config.cap, config.cap))
    else:
        import torch

        total = torch.cuda.get_device_properties(config.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, config.cap / total), config.device)


def _keep_to(config: FootprintConfig, taken: int) -> None:
    """On a GPU the cap binds torch only; what Warp took besides is counted when it is over.

    Raises:
        HandsightError: simulator and learner took more of the device than they may.
    """
    processes = 1 if config.mode == "together" else 2
    if config.cap is not None and config.device != "cpu" and taken > processes * config.cap:
        raise HandsightError(f"{taken:,} bytes of {config.device} were taken, of {processes * config.cap:,}")


if __name__ == "__main__":
    measured = run(FootprintConfig(**json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # under a cap an orderly end may need memory that is not there
