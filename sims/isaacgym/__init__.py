"""The closed simulator Isaac Gym, behind its own interpreter."""
