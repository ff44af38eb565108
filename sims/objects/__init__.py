"""What is grasped: what a set of objects is, and those that are ours."""
