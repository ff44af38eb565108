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

from ..objects.solids import LARGEST
from ..scene import Scene
from ..world_params import WorldParams
from .engine import READ, STATE, TOO_FAST, BodyState, Engine, body_state
from .ray_cameras import POSES, batch_cameras, one_camera
from .world_fields import LOOKS, PHYSICS, WorldFields, expanded

EXPANDED = (*PHYSICS, "geom_aabb")
"""Model fields with a value per world; `set_const` must follow every write, or inertia-derived constants go stale and
spinning objects gain energy."""


SOLVER = mujoco.mjtSolver.mjSOL_PGS, 12
"""Solver of contacts and its most iterations. Newton's method, mujoco_warp's, takes a quarter more time: with it the
engines agree step by step, with this one in how often and how high policies lift (benchmarks/contacts.py)."""


class MujocoEngine(Engine):
    """`mujoco.batch.Batch` under the engine's contract; bit-reproducible whatever the number of threads."""

    def __init__(self, scene: Scene, num_worlds: int, groups: Collection[str], threads: int | None = None) -> None:
        """groups: image groups to render, any of "depth", "stereo"; threads: None = all cores."""
        self.num_worlds, self.device = num_worlds, torch.device("cpu")
        self.scene, self.model, self._config = scene, scene.build(), scene.config
        self.model.opt.solver, self.model.opt.iterations = SOLVER
        self._ids = scene.ids(self.model)
        if scene.objects.meshes:
            _reach_all(self.model, self._ids.object)
        self._drawn = WorldFields(self.model, scene, self.device)
        mujoco.set_mju_user_warning(lambda message: None)  # unstable worlds are found, counted and reset by the task
        threads = threads or len(os.sched_getaffinity(0))
        self._batch = mujoco.batch.Batch(self.model, num_worlds, nthread=threads, persistent=True)
        self._fields = {name: self._batch.expand(name) for name in expanded(scene, EXPANDED)}
        self._data = {name: self._batch.bind(name) for name in sorted({*STATE, *READ, *POSES})}
        looks = (*LOOKS, "geom_dataid") if scene.objects.meshes else LOOKS
        self._looks = {name: np.repeat(getattr(self.model, name)[None], num_worlds, 0) for name in looks}
        self._cameras = None
        further = scene.config.camera_groups
        own = {camera.name: camera for group in groups if group in further for camera in further[group][:1]}
        self._others = {
            name: one_camera(self.model, self._ids, camera, num_worlds, threads) for name, camera in own.items()
        }
        groups = [group for group in groups if group not in further]
        if groups:
            self._cameras = batch_cameras(self.model, self._ids, scene.config.rig, num_worlds, groups, threads)

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
        self._set_const(ids)
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._data["time"][ids] = self.scene.config.control_dt  # MuJoCo puts worlds that fail back to 0: it is seen
        self._data["qpos"][ids] = torch.cat([joint_pos, object_pos, object_quat], 1).numpy()[ids]
        self._data["ctrl"][ids] = self.scene.robot.ctrl(joint_pos).numpy()[ids]
        self._batch.forward(ids)

    def _write_params(self, ids: np.ndarray, params: WorldParams) -> None:
        which = torch.from_numpy(ids)
        rows = params.each(lambda value: value.index_select(0, which))
        for name, place, values in self._drawn.of(rows):
            for store in (self._fields, self._looks):
                if name in store:
                    values = values.flatten(2) if name == "geom_aabb" else values  # MuJoCo has it in one row
                    store[name][(ids, *place)] = values.numpy()
        if self.scene.objects.meshes is None:
            geoms, boxes = list(self._ids.object_geoms), self.scene.objects.bounding_boxes(rows.geom_size.numpy())
            aabb = self._fields["geom_aabb"]
            aabb[ids[:, None], geoms] = boxes.reshape(len(ids), len(geoms), *aabb.shape[2:])
        self._show(ids)

    def _set_const(self, ids: np.ndarray) -> None:
        """Let what follows from the fields follow; but MuJoCo has the bounds of a geom follow from the mesh that it was
        compiled with, so these are written again."""
        bounds = self._fields["geom_rbound"][ids] if "geom_rbound" in self._fields else None
        self._batch.set_const(ids)
        if bounds is not None:
            self._fields["geom_rbound"][ids] = bounds

    def _show(self, ids: np.ndarray) -> None:
        for cameras in filter(None, (self._cameras, *self._others.values())):
            cameras.set_looks(ids, {name: values[ids] for name, values in self._looks.items()})

    def _poses(self) -> dict[str, np.ndarray]:
        """The lamp shines as drawn: its direction is a look that physics does not know."""
        return {name: self._data[name] for name in POSES} | {"light_xdir": self._looks["light_dir"]}

    def read(self) -> BodyState:
        return body_state(lambda name, at: torch.from_numpy(self._data[name][:, at].astype(np.float32)), self._ids)

    def push(self, velocity: Tensor) -> None:
        first = self._ids.object_qvel
        self._data["qvel"][:, first : first + 3] += velocity.numpy()

    def physics_state(self) -> Tensor:
        d = self._data
        return torch.from_numpy(np.concatenate([d["time"].reshape(-1, 1), d["qpos"], d["qvel"]], axis=1))

    def render(self, groups: Collection[str]) -> dict[str, Tensor]:
        if self._cameras is None:
            raise RuntimeError(f"this engine was made without cameras; asked to render {sorted(groups)}")
        return self._cameras.render(self._poses(), groups)

    def look(self, camera: str) -> dict[str, Tensor]:
        seen = self._others[camera].render(self._poses(), ("depth", "stereo"))
        mask = seen["object_mask"][:, None].byte()
        return {"depth": seen["depth"], "rgb": seen["stereo"][:, 0], "segmentation": mask}

    def shown(self, world: int) -> dict[str, np.ndarray]:
        return {name: values[world] for name, values in {**self._poses(), **self._looks}.items()}

    def state_dict(self) -> dict[str, Any]:
        state = {name: self._data[name].copy() for name in STATE}
        fields = {name: values.copy() for name, values in self._fields.items()}
        return {"state": state, "fields": fields, "looks": {name: v.copy() for name, v in self._looks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, values in state["fields"].items():
            self._fields[name][:] = values
        self._set_const(np.arange(self.num_worlds))
        self._batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
        for name, values in state["state"].items():
            self._data[name][:] = values
        self._batch.forward()
        self._data["qacc_warmstart"][:] = state["state"]["qacc_warmstart"]
        for name, values in state["looks"].items():
            self._looks[name][:] = values
        self._show(np.arange(self.num_worlds))

    def close(self) -> None:
        for cameras in filter(None, (self._cameras, *self._others.values())):
            cameras.close()


def _reach_all(model: mujoco.MjModel, body: int) -> None:
    """Let the tree of bounding boxes over a body's geoms hold whatever these may be: it is the same in all worlds."""
    first = model.body_bvhadr[body]
    model.bvh_aabb[first : first + model.body_bvhnum[body]] = [0, 0, 0, LARGEST, LARGEST, LARGEST]
