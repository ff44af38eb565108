"""The robots: what a robot is, and those that are ours."""
