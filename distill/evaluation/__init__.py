"""Policies on held-out resets, and the statistics of what came out."""
