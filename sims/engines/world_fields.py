"""Which model fields the drawn parameters of a world set, for every engine that simulates the MuJoCo model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from ..cameras import eye_poses
from ..scene import Scene
from ..world_params import WorldParams

PHYSICS = (
    "body_mass", "body_inertia", "body_ipos", "geom_size", "geom_pos", "geom_friction", "actuator_gainprm",
    "actuator_biasprm", "cam_pos", "cam_quat", "body_gravcomp", "dof_frictionloss",
)  # fmt: skip
"""Fields with a value per world that physics and kinematics read."""
LOOKS = ("geom_size", "geom_rgba", "geom_matid", "light_diffuse", "light_dir")
"""Fields with a value per world that rendering reads."""
MESHES = ("geom_dataid", "geom_quat", "geom_aabb", "geom_rbound")
"""Fields that have, besides, a value per world where objects are made of meshes: `set_const` does not follow these."""
Place = tuple[Any, ...]
"""Where in a field, behind its axis of worlds: `field[:, *place]`."""


class WorldFields:
    """The model's own values, and what the draws make of them."""

    def __init__(
        self, model: mujoco.MjModel, scene: Scene, device: torch.device, dtype: torch.dtype = torch.float64
    ) -> None:
        """dtype: of the fields that hold numbers; MuJoCo's float64, or a GPU engine's float32."""
        self._ids = ids = scene.ids(model)
        self._servos = scene.robot.arm_actuators, len(scene.robot.actuators) - scene.robot.arm_actuators
        tensor = lambda values: torch.as_tensor(values, dtype=dtype, device=device)  # noqa: E731
        self._gain, self._bias = tensor(model.actuator_gainprm[:, 0]), tensor(model.actuator_biasprm[:, 1:3])
        limit = np.zeros(model.nv)
        driven = model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT
        limit[model.jnt_dofadr[model.actuator_trnid[driven, 0]]] = model.actuator_forcerange[driven, 1]
        self._torque_limit = tensor(limit)
        """(nv,) N m or N: what the servo of each joint can give; 0 where none moves it alone."""
        self._rig, self._cameras = scene.config.rig, slice(ids.cameras[0], ids.cameras[-1] + 1)
        meshes = scene.objects.meshes
        self._pieces = meshes.pieces(device, dtype) if meshes else None
        self._first_mesh = meshes.first(model) if meshes else 0
        self._materials = torch.tensor(ids.table_materials, dtype=torch.int32, device=device)

    def of(self, params: WorldParams) -> Iterator[tuple[str, Place, Tensor]]:
        """(field, place, values (N, ...) in MuJoCo's layout) for everything that parameters (N, ...) decide."""
        i, p = self._ids, params
        geoms = slice(i.object_geoms[0], i.object_geoms[-1] + 1)
        yield "body_mass", (i.object,), p.mass
        yield "body_inertia", (i.object,), p.inertia
        yield "body_ipos", (i.object,), p.com
        yield "geom_size", (geoms,), p.geom_size
        yield "geom_pos", (geoms,), p.geom_pos
        if self._pieces is not None:
            yield "geom_dataid", (geoms,), self._pieces.dataid[p.kind] + self._first_mesh
            yield "geom_quat", (geoms,), self._pieces.quat[p.kind]
            yield "geom_aabb", (geoms,), self._pieces.aabb[p.kind].unflatten(-1, (2, 3))
            yield "geom_rbound", (geoms,), self._pieces.rbound[p.kind]
        yield "geom_friction", (geoms, 0), p.friction[:, None]
        gains = zip((p.arm_gain, p.hand_gain), self._servos, strict=True)
        gain = torch.cat([factor[:, None].expand(-1, count) for factor, count in gains], 1)
        yield "actuator_gainprm", (slice(None), 0), self._gain * gain
        yield "actuator_biasprm", (slice(None), slice(1, 3)), self._bias * gain[..., None]
        places, quats = eye_poses(self._rig, p, self._gain.dtype)
        yield "cam_pos", (self._cameras,), places
        yield "cam_quat", (self._cameras,), quats
        yield "geom_rgba", (geoms, slice(0, 3)), p.object_rgb[:, None]
        yield "geom_rgba", (i.table_geom, slice(0, 3)), p.table_rgb
        yield "geom_matid", (i.table_geom,), self._materials[p.table_texture]
        yield "light_diffuse", (i.light,), p.light_diffuse[:, None]
        yield "light_dir", (i.light,), p.light_dir
        if p.distractors is not None:
            about = slice(i.distractors[0], i.distractors[-1] + 1)
            place, size, rgb = p.distractors.to(self._gain.dtype).split(3, dim=2)
            yield "geom_pos", (about,), place
            yield "geom_size", (about,), size
            yield "geom_rgba", (about, slice(0, 3)), rgb
        if p.gravity is not None:
            yield "body_gravcomp", (i.object,), 1 - p.gravity
        if p.joint_friction is not None:
            yield "dof_frictionloss", (slice(None),), self._torque_limit * p.joint_friction[:, None]


DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "geom_aabb", "geom_rbound")
"""Constants that follow from the fields of `PHYSICS`; physics is wrong where they do not."""
EXPANDED = tuple(sorted({*PHYSICS, *LOOKS, *DERIVED}))
"""Model fields with a value per world."""


def expanded(scene: Scene, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the fields and, where the scene's objects are made of meshes, `MESHES`."""
    return fields if scene.objects.meshes is None else tuple(sorted({*fields, *MESHES}))
