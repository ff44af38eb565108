"""Rollouts that last: shards of episodes, their writer and reader, and the aggregated buffer of sequences."""

from .reader import SeededBatches, Windows, collate, survey, whole_shards
from .schema import DatasetError, Episode, Facts
from .sequences import SequenceBuffer, SequenceBufferError
from .shard import Shard
from .writer import write_shard

__all__ = [
    "DatasetError",
    "Episode",
    "Facts",
    "SeededBatches",
    "SequenceBuffer",
    "SequenceBufferError",
    "Shard",
    "Windows",
    "collate",
    "survey",
    "whole_shards",
    "write_shard",
]
