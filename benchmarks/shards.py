"""How fast rollouts are written and read: `python benchmarks/shards.py [--folder DIR] [--episodes N]`.

Real rollouts (a random policy in the grasping task) are written as shards, beside a plain write of as many bytes to the
same disk; then sequences are read back beside the gradient steps of a ResNet-18 student that learns from them.
Writes benchmarks/results/shards.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch.utils.data import DataLoader

from handsight import sims
from handsight.datasets import Episode, SeededBatches, Windows, collate, survey, write_shard
from handsight.datasets.schema import episodes_of
from handsight.distill.commands.record import EpisodeRecorder, RecordArgs
from handsight.distill.runs.policy_io import facts_of
from handsight.distill.runs.provenance import provenance
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.distiller import Distiller
from handsight.sims import EnvConfig
from handsight.students import BackboneConfig, StereoStudent, StudentConfig

RESULTS = Path(__file__).parent / "results" / "shards.json"
GROUPS = ("stereo", "depth", "proprio", "state")
SHARD = 256 * 2**20


IMAGES = {"32px": (32, 32, 3.0), "64px": (64, 64, 1.0), "160x120px": (160, 120, 0.2)}
"""Width, height, and how many episodes are written in units of those that are asked for: about 1 GiB each. The last one
is the size of the preset `gpu`."""


def worlds(width: int, height: int) -> EnvConfig:
    """The default task with larger images."""
    config = EnvConfig()
    rig = replace(config.scene.rig, height=height, width=width)
    return replace(config, scene=replace(config.scene, rig=rig))


def rollout(env: sims.VecEnv) -> list[Episode]:
    """One whole episode of each world under random actions, with every column that `record` writes."""
    recorder, rows = EpisodeRecorder(RecordArgs(Path(), groups=GROUPS)), []
    obs, first = env.reset(0), torch.ones(env.num_envs, dtype=torch.bool)
    draws = torch.Generator().manual_seed(0)
    for _ in range(env.episode_steps):
        action = torch.rand(env.num_envs, env.action_dim, generator=draws) * 2 - 1
        noted = recorder.before(env, obs)
        step = env.step(action)
        label = {"mean": action, "std": 0.1 * torch.ones_like(action), "action": action, "reward": step.reward}
        flags = {"first": first, "valid": step.valid, "done": step.terminated | step.truncated}
        rows.append(noted | label | flags | {"by_teacher": first, "object": obs["state"][:, :3]})
        obs, first = step.obs, step.first
    columns = {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0]}
    drawn = {name: values.tolist() for name, values in recorder.drawn.items()}
    return list(
        episodes_of(columns, {"seed": 0}, lambda world: {"randomization": {k: v[world] for k, v in drawn.items()}})
    )


def repeated(episodes: list[Episode], count: int) -> Iterator[Episode]:
    """As many as asked for, each with images of its own, as a compressor must not see one twice in a row."""
    for number in range(count):
        yield episodes[number % len(episodes)]


def raw_disk(folder: Path, nbytes: int) -> float:
    """Bytes per second of a plain write and fsync."""
    block = np.random.default_rng(0).integers(0, 256, 1 << 24, dtype=np.uint8).tobytes()
    start, left = time.perf_counter(), nbytes
    with (folder / "raw").open("wb") as file:
        while left > 0:
            left -= file.write(block[: min(left, len(block))])
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    (folder / "raw").unlink()
    return nbytes / seconds


def recording(folder: Path, episodes: list[Episode], count: int, facts: Any) -> dict[str, float]:
    """Write shards, before and after a plain write of as many bytes."""
    nbytes = sum(episode.nbytes for episode in repeated(episodes, count))
    raw = [raw_disk(folder, nbytes)]
    start, busy, made = time.perf_counter(), time.process_time(), repeated(episodes, count)
    size = -(-SHARD // episodes[0].nbytes)
    for number in range(-(-count // size)):
        write_shard(folder / f"shard_{number:06d}.hdf5", facts, islice(made, size), {})
    speed, busy = nbytes / (time.perf_counter() - start), time.process_time() - busy
    raw.append(raw_disk(folder, nbytes))
    stored = sum(path.stat().st_size for path in folder.glob("*.hdf5"))
    return {
        "mib": nbytes / 2**20,
        "stored_share": stored / nbytes,
        "record_mib_per_s": speed / 2**20,
        "record_mib_per_cpu_s": nbytes / busy / 2**20,
        "raw_disk_mib_per_s": [value / 2**20 for value in raw],
        "share_of_raw_disk": speed / np.mean(raw),
        "episodes_per_s": count / (nbytes / speed),
    }


def reading(folder: Path, pixels: int, steps: int, workers: int) -> dict[str, float]:
    """Seconds that a ResNet-18 student's gradient steps take, and that they wait for their sequences."""
    shards = survey(folder).whole
    windows = Windows(shards, ("mean", "std", "object", "stereo", "proprio"), 36)
    env = sims.make(worlds(pixels, pixels), ("proprio", "stereo"), 1)
    config = StudentConfig(backbone=BackboneConfig("resnet18"))
    student = StereoStudent(config, env.obs_spec, env.action_dim)
    env.close()
    module = Distiller(student.train(), DaggerConfig(batch_sequences=8), 1)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4)
    size = module.config.batch_sequences
    batches = SeededBatches(len(windows), size, steps + 1, seed=0)
    loader = iter(DataLoader(windows, batch_sampler=batches, collate_fn=collate, num_workers=workers))
    waited = learnt = 0.0
    for number in range(steps + 1):
        start = time.perf_counter()
        batch = next(loader)
        got = time.perf_counter()
        optimizer.zero_grad()
        torch.stack(list(module.losses(batch).values())).sum().backward()
        optimizer.step()
        if number:  # the first one warms up
            waited, learnt = waited + got - start, learnt + time.perf_counter() - got
    images = 2 * 36 * size * steps
    return {
        "pixels": pixels, "workers": workers, "wait_s_per_step": waited / steps, "learn_s_per_step": learnt / steps,
        "wait_share": waited / (waited + learnt), "student_images_per_s": images / (waited + learnt),
        "reader_images_per_s": images / waited,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    parser.add_argument("--episodes", type=int, default=1000, help="episodes of 64 x 64 px to write")
    parser.add_argument("--steps", type=int, default=4, help="gradient steps")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="handsight-bench-", dir=args.folder))
    rows: dict[str, Any] = {"provenance": provenance(), "recording": {}, "reading": []}
    try:
        for name, (width, height, share) in IMAGES.items():
            place, config = folder / name, worlds(width, height)
            place.mkdir()
            env = sims.make(config, GROUPS, 32)
            episodes = rollout(env)
            facts = facts_of(env, config, {})
            env.close()
            rows["recording"][name] = found = recording(place, episodes, int(share * args.episodes), facts)
            print(f"{name}:", {key: np.round(value, 2).tolist() for key, value in found.items()}, flush=True)
        for workers in (0, 1):
            rows["reading"].append(reading(folder / "64px", 64, args.steps, workers))
            print(rows["reading"][-1], flush=True)
    finally:
        shutil.rmtree(folder)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"written: {RESULTS}")


if __name__ == "__main__":
    main()
