"""Where observations come from."""

from .cameras import CameraRig
from .grasp import GraspConfig
from .make import EnvConfig, make, make_remote, worlds_device
from .vec_env import ArraySpec, Step, VecEnv

__all__ = [
    "ArraySpec",
    "CameraRig",
    "EnvConfig",
    "GraspConfig",
    "Step",
    "VecEnv",
    "make",
    "make_remote",
    "worlds_device",
]
