"""The worlds that a study knows by name."""

from __future__ import annotations

from ..errors import unknown
from ..sims.make import EnvConfig
from .study_cells import StudyError

SCENES = {"wrist": EnvConfig()}


def scene_env(name: str) -> EnvConfig:
    """The worlds of a scene.

    Raises:
        StudyError: there is none of that name.
    """
    if name not in SCENES:
        raise StudyError(unknown("scene", name, SCENES))
    return SCENES[name]
