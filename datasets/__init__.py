"""Rollouts that last: shards of episodes, their writer and reader, and the aggregated buffer of sequences."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .reader import SeededBatches, Windows, collate, survey, whole_shards
    from .schema import DatasetError, Episode, Facts
    from .sequences import SequenceBuffer, SequenceBufferError
    from .shard import Shard
    from .writer import write_shard

lazy.attach(__name__)
