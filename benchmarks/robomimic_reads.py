"""Does the real robomimic read our shards unchanged? Runs in an environment of its own:

    uv venv robomimic-env && uv pip install --python robomimic-env/bin/python robomimic h5py
    cd /tmp && robomimic-env/bin/python CHECKOUT/benchmarks/robomimic_reads.py DATA

Its `SequenceDataset` loads sequences of ten steps of every shard and split; each is compared with the file's arrays.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import robomimic.utils.obs_utils as obs_utils
from robomimic.utils.dataset import SequenceDataset

KINDS = {"left": "rgb", "right": "rgb", "depth": "depth"}
LENGTH = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    episodes = sequences = 0
    for path in sorted(args.data.glob("*.hdf5")):
        with h5py.File(path, "r") as file:
            keys = list(file["data/demo_0/obs"])
            splits = [split for split in file["mask"] if len(file[f"mask/{split}"])]
        modalities = {
            kind: [k for k in keys if KINDS.get(k, "low_dim") == kind] for kind in ("low_dim", "rgb", "depth")
        }
        obs_utils.initialize_obs_utils_with_obs_specs({"obs": modalities})
        for split in splits:
            data = SequenceDataset(
                str(path), obs_keys=keys, dataset_keys=("actions", "rewards", "dones"), seq_length=LENGTH,
                filter_by_attribute=split, load_next_obs=False, get_pad_mask=True,
            )  # fmt: skip
            episodes += data.n_demos
            for index in range(0, len(data), 7):
                compare(data, index, path, keys)
                sequences += 1
    print(json.dumps({"robomimic": version("robomimic"), "episodes": episodes, "sequences": sequences}))


def compare(data: SequenceDataset, index: int, path: Path, keys: list[str]) -> None:
    """One sequence with the rows that it should hold, the last one repeated where the episode is too short."""
    name = data._index_to_demo_id[index]
    start = index - data._demo_id_to_start_indices[name]
    item = data[index]
    with h5py.File(path, "r") as file:
        demo = file["data"][name]
        rows = np.minimum(start + np.arange(LENGTH), demo.attrs["num_samples"] - 1)
        assert np.array_equal(item["actions"], demo["actions"][:][rows]), (path, name, start)
        assert item["pad_mask"].sum() == min(LENGTH, demo.attrs["num_samples"] - start)
        for key in keys:
            assert np.array_equal(item["obs"][key], demo[f"obs/{key}"][:][rows]), (path, name, start, key)


if __name__ == "__main__":
    main()
