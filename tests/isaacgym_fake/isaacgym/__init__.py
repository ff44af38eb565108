"""A substitute for Isaac Gym's package, for tests: on the PYTHONPATH of the worker's interpreter it is what it imports.

It checks the order of calls and knows no physics; see `gymapi`. Beside it lies what the worker needs of torch.
"""

__version__ = "FAKE of the tests: no Isaac Gym, no PhysX and no GPU took part"
