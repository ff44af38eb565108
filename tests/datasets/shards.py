"""Made-up episodes in real shards."""

from pathlib import Path

import numpy as np

from handsight.datasets import Episode, Facts, write_shard

FACTS = Facts("grasp", {"obs": {}, "control_dt": 0.08, "rig": {}}, {"engine": "mujoco"}, {"policy": {"path": "x"}})


def episode(number: int, steps: int = 5, size: int = 8, **facts) -> Episode:
    """Every array is drawn from its number."""
    draws = np.random.default_rng(number)
    columns = {
        "action": draws.uniform(-1, 1, (steps, 3)).astype(np.float32),
        "reward": draws.normal(size=steps).astype(np.float32),
        "done": np.arange(steps) == steps - 1,
        "mean": draws.normal(size=(steps, 3)).astype(np.float32),
        "std": draws.uniform(0.1, 1, (steps, 3)).astype(np.float32),
        "physics": draws.normal(size=(steps, 9)),
        "by_teacher": np.zeros(steps, dtype=bool),
        "object": draws.normal(size=(steps, 3)).astype(np.float32),
        "proprio": draws.normal(size=(steps, 4)).astype(np.float32),
        "stereo": draws.integers(0, 256, (steps, 2, 3, size, size + 2), dtype=np.uint8),
        "depth": draws.integers(0, 600, (steps, 1, size, size + 2)).astype(np.int16),
    }
    return Episode(columns, success=number % 2 == 0, seed=100 + number, facts={"world": number, **facts})


def write(folder: Path, shards: int = 2, episodes: int = 3, valid_share: float = 0.0, **options) -> list[Path]:
    """Shards whose episodes are numbered through."""
    paths = []
    for shard in range(shards):
        paths.append(folder / f"shard_{shard:06d}.hdf5")
        numbers = range(shard * episodes, (shard + 1) * episodes)
        write_shard(paths[-1], FACTS, (episode(number, **options) for number in numbers), {}, valid_share)
    return paths
