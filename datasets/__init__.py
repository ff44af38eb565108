"""Rollouts that last: shards of episodes, their writer and reader, and the aggregated buffer of sequences."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reader import SeededBatches, Windows, collate, survey, whole_shards
    from .schema import DatasetError, Episode, Facts
    from .sequences import SequenceBuffer, SequenceBufferError
    from .shard import Shard
    from .writer import write_shard

if __name__ == "datasets":  # the root of our checkout is on the path, and Hugging Face's package is meant
    _root = Path(__file__).resolve().parents[1]
    _others = [place for place in sys.path if Path(place).resolve() != _root]
    _spec = importlib.machinery.PathFinder.find_spec("datasets", _others)
    if _spec is None or _spec.loader is None:
        raise ModuleNotFoundError(f"No module named 'datasets'; {_root / 'datasets'} is handsight.datasets")
    sys.modules["datasets"] = _theirs = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_theirs)
else:
    from .. import lazy

    lazy.attach(__name__)
