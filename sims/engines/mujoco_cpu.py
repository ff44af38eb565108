"""The CPU engine: MuJoCo physics on all cores (`mujoco.batch`), ray-traced cameras beside it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from ..scene import Scene
from ..world_params import WorldParams
from .engine import TOO_FAST, BodyState, Engine, body_state
from .ray_cameras import POSES, OverviewCamera, batch_cameras
from .world_fields import LOOKS, PHYSICS, WorldFields

EXPANDED = (*PHYSICS, "geom_aabb")
"""Model fields with a value per world; `set_const` must follow every write, or inertia-derived constants go stale and
spinning objects gain energy."""


class MujocoEngine(Engine):
    """`mujoco.batch.Batch` under the engine's contract; bit-reproducible whatever the number of threads."""

    def __init__(self, scene: Scene, num_worlds: int, groups: Collection[str], threads: int | None = None) -> None:
        """groups: image groups to render, any of "depth", "stereo"; threads: None = all cores."""
        self.num_worlds, self.device = num_worlds, torch.device("cpu")
        self.scene, self.model, self._config = scene, scene.build(), scene.config
        self._ids = scene.ids(self.model)
        self._drawn = WorldFields(self.model, scene, self.device)
        mujoco.set_mju_user_warning(_ignore)
        threads = threads or len(os.sched_getaffinity(0))
        self._batch = mujoco.batch.Batch(self.model, num_worlds, nthread=threads, persistent=True)
        self._fields = {name: self._batch.expand(name) for name in EXPANDED}
        self._bind()
        self._looks = _initial_looks(self.model, num_worlds)
        self._cameras = None
        if groups:
            self._cameras = batch_cameras(self.model, self._ids, scene.config.rig, num_worlds, groups, threads)
        self._overview: tuple[tuple[int, int], OverviewCamera] | None = None

    def _bind(self) -> None:
        names = {
            "qpos", "qvel", "ctrl", "time", "qacc_warmstart", "xpos", "xmat", "site_xpos", "xanchor", "xaxis",
            "sensordata", *POSES,
        }  # fmt: skip
        self._data = {name: self._batch.bind(name) for name in sorted(names)}

    def step(self, ctrl: Tensor, active: Tensor) -> Tensor:
        d, ids = self._data, np.flatnonzero(active.numpy())
        d["ctrl"][:] = ctrl.numpy()
        expected = d["time"] + self.model.opt.timestep * (self._config.substeps - 0.5)
        with suppress(mujoco.batch.SimulationError):  # which worlds failed is read off their state below
            self._batch.step(ids, nstep=self._config.substeps, stage=mujoco.mjtStage.mjSTAGE_ACC)
        with np.errstate(invalid="ignore"):
            sane = (np.abs(d["qvel"]) < TOO_FAST).all(1) & np.isfinite(d["qpos"]).all(1) & (d["time"] >= expected)
        return torch.from_numpy(~sane) & active

    def reset(
        self, mask: Tensor, joint_pos: Tensor, object_pos: Tensor, object_quat: Tensor, params: WorldParams
    ) -> None:
        ids = np.flatnonzero(mask.numpy())
        if not len(ids):
            return
        self._write_params(ids, params)
        self._batch.set_const(ids)
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        d, i = self._data, self._ids
        d["qpos"][ids, : i.robot_dofs] = joint_pos.numpy()[ids]
        d["qpos"][ids, i.object_qpos : i.object_qpos + 3] = object_pos.numpy()[ids]
        d["qpos"][ids, i.object_qpos + 3 : i.object_qpos + 7] = object_quat.numpy()[ids]
        d["ctrl"][ids] = self.scene.robot.ctrl(joint_pos).numpy()[ids]
        self._batch.forward(ids)

    def _write_params(self, ids: np.ndarray, params: WorldParams) -> None:
        rows = WorldParams(**{name: value[torch.from_numpy(ids)] for name, value in vars(params).items()})
        for name, place, values in self._drawn.of(rows):
            for store in (self._fields, self._looks):
                if name in store:
                    store[name][(ids, *place)] = values.numpy()
        geoms, boxes = list(self._ids.object_geoms), self.scene.objects.bounding_boxes(rows.geom_size.numpy())
        aabb = self._fields["geom_aabb"]
        aabb[ids[:, None], geoms] = boxes.reshape(len(ids), len(geoms), *aabb.shape[2:])
        self._show(ids)

    def _show(self, ids: np.ndarray) -> None:
        if self._cameras:
            looks = {name: values[ids] for name, values in self._looks.items() if name != "light_dir"}
            self._cameras.set_looks(ids, looks)

    def read(self) -> BodyState:
        return body_state(lambda name, at: _float(self._data[name][:, at]), self._ids)

    def physics_state(self) -> Tensor:
        d = self._data
        return torch.from_numpy(np.concatenate([d["time"].reshape(-1, 1), d["qpos"], d["qvel"]], axis=1))

    def render(self, groups: Collection[str]) -> dict[str, Tensor]:
        if self._cameras is None:
            raise RuntimeError(f"this engine was made without cameras; asked to render {sorted(groups)}")
        poses = {name: self._data[name] for name in POSES if name != "light_xdir"}
        return self._cameras.render({**poses, "light_xdir": self._looks["light_dir"]}, groups)

    def render_overview(self, world: int, height: int = 240, width: int = 320) -> np.ndarray:
        """(height, width, 3) uint8: one world from the outside, the upper arm included."""
        if self._overview is None or self._overview[0] != (height, width):
            self._overview = (height, width), OverviewCamera(self.model, height, width)
        poses = {name: self._data[name][world] for name in POSES if name != "light_xdir"}
        looks = {name: values[world] for name, values in self._looks.items() if name != "light_dir"}
        poses["light_xdir"] = self._looks["light_dir"][world]
        return self._overview[1].render(poses, looks)

    def state_dict(self) -> dict[str, Any]:
        state = {name: self._data[name].copy() for name in ("qpos", "qvel", "ctrl", "time", "qacc_warmstart")}
        fields = {name: values.copy() for name, values in self._fields.items()}
        return {"state": state, "fields": fields, "looks": {name: v.copy() for name, v in self._looks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, values in state["fields"].items():
            self._fields[name][:] = values
        self._batch.set_const()
        self._batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        for name, values in state["state"].items():
            self._data[name][:] = values
        self._batch.forward()
        self._data["qacc_warmstart"][:] = state["state"]["qacc_warmstart"]
        for name, values in state["looks"].items():
            self._looks[name][:] = values
        self._show(np.arange(self.num_worlds))

    def close(self) -> None:
        if self._cameras:
            self._cameras.close()


def _ignore(message: str) -> None:
    """MuJoCo's warnings about unstable worlds: the worlds are found, counted and reset by the task."""


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _initial_looks(model: mujoco.MjModel, n: int) -> dict[str, np.ndarray]:
    return {name: np.repeat(getattr(model, name)[None], n, 0) for name in LOOKS}
