"""One training: a teacher by PPO, a student by DAgger or from recorded rollouts."""
