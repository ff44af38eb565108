"""Our command line in the toy environment: what the tests' studies start instead of `handsight`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_training import use_toy

from handsight.distill.commands.cli import main

if __name__ == "__main__":
    use_toy(pause=float(os.environ.get("TOY_PAUSE", "0")))
    sys.exit(main())
