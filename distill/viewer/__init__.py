"""Policies watched live in a web browser: side by side on one reset, with one clock."""
