"""Simulators in processes of their own, as one VecEnv."""
