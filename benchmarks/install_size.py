"""How much of the disk an installation takes, by distribution, and how much of it serves NVIDIA's GPUs alone.

    uv run python benchmarks/install_size.py --out benchmarks/results/install_size.json

Counts the files that each installed distribution names in its RECORD.
"""

import argparse
import json
import platform
from importlib.metadata import distributions
from pathlib import Path

GPU = ("nvidia-", "triton", "cuda-")
"""Beginnings of names of distributions that a machine without such a GPU has no use for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sizes = {}
    for one in distributions():
        paths = [Path(str(one.locate_file(file))) for file in one.files or ()]
        sizes[one.metadata["Name"]] = sum(path.stat().st_size for path in paths if path.is_file()) / 1e9
    gpu = sum(size for name, size in sizes.items() if name.lower().startswith(GPU))
    largest = dict(sorted(sizes.items(), key=lambda pair: -pair[1])[:12])
    found = {
        "python": platform.python_version(), "machine": platform.platform(), "distributions": len(sizes),
        "gigabytes": round(sum(sizes.values()), 2), "gpu_gigabytes": round(gpu, 2),
        "largest_gigabytes": {name: round(size, 2) for name, size in largest.items()},
    }  # fmt: skip
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
