"""Our environments for other libraries' algorithms: `sb3` and `rsl_rl`, each with the extra of its name."""
