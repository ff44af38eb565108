"""Runs and checkpoints on disk, and the policies in them."""
