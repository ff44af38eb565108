"""The simulators that run in this process, and their cameras."""
