"""Put a teacher into the zoo that comes with the package, after an evaluation on held-out resets.

    python benchmarks/to_zoo.py RUN NAME --about "preset cpu, scene wrist, seed 0"

writes teachers/zoo/NAME/: policy, configuration, thinned metrics, evaluation, commit and hardware.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handsight.distill import zoo
from handsight.errors import HandsightError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a teacher")
    parser.add_argument("name", help="under which it is found: zoo:NAME")
    parser.add_argument("--about", required=True, help="how it was trained, in a few words")
    parser.add_argument("--episodes", type=int, default=512, help="held-out resets")
    parser.add_argument("--num-envs", type=int, default=256, help="worlds of the evaluation")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--into", type=Path, help="folder of entries; the package's if not given")
    args = parser.parse_args()
    try:
        folder = zoo.add(args.run, args.name, args.about, args.episodes, args.num_envs, args.device, args.into)
    except HandsightError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"zoo:{args.name}: {size / 2**20:.2f} MiB in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
