"""Does the real lerobot read what `handsight export-lerobot` wrote? Runs in an environment of its own:

    uv venv lerobot-env && uv pip install --python lerobot-env/bin/python lerobot h5py
    cd /tmp && lerobot-env/bin/python CHECKOUT/benchmarks/lerobot_reads.py OUT --shards DATA

Every frame of every episode is loaded by `LeRobotDataset` and compared with the shards that it came from: actions,
rewards, states and depth must be equal, images within what H.264 leaves of them. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import h5py
import lerobot
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shards", type=Path, required=True)
    args = parser.parse_args()
    data = LeRobotDataset("local/handsight", root=args.out, video_backend="pyav")
    frame, apart, worst = 0, [], 0.0
    for path in sorted(args.shards.glob("*.hdf5")):
        with h5py.File(path, "r") as file:
            for name in sorted(file["data"], key=lambda demo: int(demo.removeprefix("demo_"))):
                demo = file["data"][name]
                for t in range(demo.attrs["num_samples"]):
                    row = data[frame]
                    assert np.array_equal(row["action"].numpy(), demo["actions"][t]), (name, t)
                    assert float(row["next.reward"]) == demo["rewards"][t]
                    for key, stored in (("observation.state", "proprio"), ("observation.environment_state", "state")):
                        if key in row:
                            assert np.array_equal(row[key].numpy(), demo[f"obs/{stored}"][t]), (key, name, t)
                    if "observation.depth.left" in row:
                        assert np.array_equal(np.asarray(row["observation.depth.left"]), demo["obs/depth"][t])
                    for eye in ("left", "right"):
                        key = f"observation.images.{eye}"
                        if key in row:
                            seen = row[key].numpy().transpose(1, 2, 0) * 255
                            difference = np.abs(seen - demo[f"obs/{eye}"][t])
                            apart.append(float(difference.mean()))
                            worst = max(worst, apart[-1])
                    assert row["task"] and int(row["frame_index"]) == t
                    frame += 1
    assert frame == len(data) == data.meta.total_frames
    print(json.dumps({
        "lerobot": lerobot.__version__, "episodes": data.meta.total_episodes, "frames": frame,
        "image_difference_mean": float(np.mean(apart)) if apart else None, "image_difference_worst": worst,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
