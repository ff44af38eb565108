"""Where observations come from."""

from typing import TYPE_CHECKING

from .. import lazy
from .registration import announce

if TYPE_CHECKING:
    from .env_config import CameraRig, EnvConfig, GraspConfig
    from .make import action_dim, describe, make, make_remote, worlds_device
    from .vec_env import ArraySpec, Step, VecEnv

lazy.attach(__name__)
announce()
