"""Does the real Isaac Lab read our shards unchanged? With the readers from its wheel, which need no simulator:

    pip download isaaclab==2.3.2.post1 --no-deps
    python benchmarks/isaac_lab_reads.py DATA isaaclab-*.whl

Its `HDF5DatasetFileHandler` loads every episode of every shard, and its `EpisodeData` plays actions and states back;
each is compared with the file's arrays. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

UTILS = "isaaclab/source/isaaclab/isaaclab/utils"
"""In the wheel, from which Python imports without unpacking it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of shards")
    parser.add_argument("wheel", type=Path)
    args = parser.parse_args()
    sys.path.append(str(args.wheel.resolve() / UTILS))  # at the end: there is an array.py, too
    datasets = importlib.import_module("datasets")
    episodes = steps = 0
    for path in sorted(args.data.glob("*.hdf5")):
        handler = datasets.HDF5DatasetFileHandler()
        handler.open(str(path))
        with h5py.File(path, "r") as file:
            names = list(handler.get_episode_names())
            assert sorted(names) == sorted(file["data"]) and handler.get_num_episodes() == len(names), path
            assert handler.get_env_name() == json.loads(file["data"].attrs["env_args"])["env_name"], path
            for name in names:
                steps += compare(handler.load_episode(name, "cpu"), file["data"][name], f"{path} {name}")
        handler.close()
        episodes += len(names)
    print(json.dumps({"isaaclab": args.wheel.name.split("-")[1], "episodes": episodes, "steps": steps}))


def compare(episode: Any, demo: Any, where: str) -> int:
    """One episode with the arrays that it should hold; returns its steps."""
    assert episode.seed == demo.attrs["seed"] and episode.success == demo.attrs["success"], where
    for step in range(demo.attrs["num_samples"]):
        assert np.array_equal(episode.get_next_action().numpy(), demo["actions"][step]), (where, step)
        assert np.array_equal(episode.get_state(step)[0].numpy(), demo["states"][step]), (where, step)
    assert episode.get_next_action() is None, where
    for key in demo["obs"]:
        assert np.array_equal(episode.data["obs"][key].numpy(), demo[f"obs/{key}"][:]), (where, key)
    assert np.array_equal(episode.data["rewards"].numpy(), demo["rewards"][:]), where
    return int(demo.attrs["num_samples"])


if __name__ == "__main__":
    main()
