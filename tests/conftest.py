"""One thread: the tests' networks are tiny, and threads that wait for each other are what would take the time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; subprocesses inherit it
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
