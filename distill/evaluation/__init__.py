"""Policies on held-out resets, and the statistics of what came out."""

HELD_OUT_SEED = 1_000_000
"""Evaluation seeds start here; training seeds are small numbers, so that no reset is met in both."""
