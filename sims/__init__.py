"""Where observations come from."""

from .cameras import CameraRig
from .make import EnvConfig, action_dim, describe, make, make_remote, worlds_device
from .tasks.grasp import GraspConfig
from .vec_env import ArraySpec, Step, VecEnv

__all__ = [
    "ArraySpec", "CameraRig", "EnvConfig", "GraspConfig", "Step", "VecEnv", "action_dim", "describe", "make",
    "make_remote", "worlds_device",
]  # fmt: skip
