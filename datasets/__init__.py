"""Rollouts that last: the aggregated buffer of sequences."""

from .sequences import SequenceBuffer, SequenceBufferError

__all__ = ["SequenceBuffer", "SequenceBufferError"]
