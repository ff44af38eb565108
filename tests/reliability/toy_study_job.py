"""A piece of a study's work in the toy environment: what the tests' runners start instead of `distill.study_job`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_training import use_toy

from handsight.distill.study import job as study_job

if __name__ == "__main__":
    use_toy(pause=float(os.environ.get("TOY_PAUSE", "0")))
    sys.exit(study_job.main())
