"""The GPU engine: mujoco_warp's physics and its ray-traced cameras on one device, thousands of worlds side by side.

State, actions and images are torch tensors in Warp's own memory. A control step is one CUDA graph; resets are masked
writes over all worlds; nothing waits for the device. The same code runs on Warp's CPU back end (`device="cpu"`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import mujoco_warp as mjw
import numpy as np
import torch
from torch import Tensor

from ..env_config import WarpConfig
from ..scene import Scene
from ..world_params import WorldParams
from .contact_buffers import ContactBuffers
from .engine import READ, STATE, TOO_FAST, BodyState, Engine, body_state
from .quiet_warp import warp as wp
from .ray_cameras import POSES, RenderedImages, camera_context
from .world_fields import EXPANDED, LOOKS, WorldFields, expanded


class WarpEngine(Engine):
    """mujoco_warp under the engine's contract. What `read` and `render` return are views that the next step or
    rendering overwrites."""

    def __init__(
        self,
        scene: Scene,
        num_worlds: int,
        groups: Collection[str],
        warp: WarpConfig | None = None,
        device: str = "cpu",
    ) -> None:
        """groups: image groups to render, any of "depth", "stereo"; device: where everything lives."""
        self.scene, self.model, self._config = scene, scene.build(), scene.config
        self._warp = warp or WarpConfig()
        self.num_worlds, self.device = num_worlds, torch.device(device)
        self._ids = scene.ids(self.model)
        self._drawn = WorldFields(self.model, scene, self.device, torch.float32)
        with wp.ScopedDevice(wp.device_from_torch(self.device)):
            self._put(groups)
        self._record()
        self._stale = True

    def _put(self, groups: Collection[str]) -> None:
        """Allocate everything on the current Warp device."""
        n = self.num_worlds
        names = expanded(self.scene, EXPANDED)
        self._m = mjw.put_model(self.model, batch_sizes=dict.fromkeys(names, n))
        self._m.opt.warn_overflow = 0  # the buffers are watched below
        if self.device.type == "cuda":
            self._m.opt.graph_conditional = wp.is_conditional_graph_supported()
            self._m.opt.deterministic = self._warp.deterministic
        self._d = mjw.make_data(self.model, nworld=n, nconmax=self._warp.nconmax, njmax=self._warp.njmax)
        self.buffers = ContactBuffers(self._d, self._warp.nconmax, self._warp.njmax)
        self._context = camera_context(self.model, self._config.rig, "stereo" in groups, n) if groups else None
        if self._context:
            self._images = RenderedImages(self._context, self._config.rig, self._ids, groups)
        self._fields = {name: wp.to_torch(getattr(self._m, name)) for name in names}
        self._data = {name: wp.to_torch(getattr(self._d, name)) for name in (*STATE, *READ)}
        several = (self._ids.touch, self._ids.force, self._ids.tip_sites)
        self._index = {columns: torch.tensor(columns, device=self.device) for columns in several}

    def _record(self) -> None:
        begin = {name: self._data[name].clone() for name in STATE}
        record = lambda launch: Recorded(launch, self.device, self._warp.graphs)  # noqa: E731
        self._substeps, self._derive = record(self._launch_substeps), record(self._launch_derive)
        self._set_const = record(lambda: mjw.set_const(self._m, self._d, groups=mjw.SetConstGroup.FIXED, restore=False))
        self._draw = record(self._launch_render) if self._context else None
        for name, values in begin.items():  # recording moved the worlds
            self._data[name].copy_(values)
        self.buffers.forget()

    def _launch_substeps(self) -> None:
        for _ in range(self._config.substeps):
            mjw.step(self._m, self._d)
            self.buffers.keep_peaks()

    def _launch_derive(self) -> None:
        """Poses and touch of the present state: what of `mjw.forward` an observation needs."""
        if self.scene.forces:  # they are known only once accelerations are
            return mjw.forward(self._m, self._d)
        mjw.fwd_kinematics(self._m, self._d)
        mjw.collision(self._m, self._d)
        self._d.sensordata.zero_()
        mjw.sensor_pos(self._m, self._d)

    def _launch_render(self) -> None:
        mjw.refit_bvh(self._m, self._d, self._context)
        mjw.render(self._m, self._d, self._context)

    def step(self, ctrl: Tensor, active: Tensor) -> Tensor:
        """As `Engine.step`; worlds that wait for their reset are moved with the others, and lose it in their reset."""
        self._data["ctrl"].copy_(ctrl)
        self._substeps()
        self._stale = True
        self.buffers.check()
        sane = (self._data["qvel"].abs() < TOO_FAST).all(1) & self._data["qpos"].isfinite().all(1)
        return active & ~sane

    def reset(
        self, mask: Tensor, joint_pos: Tensor, object_pos: Tensor, object_quat: Tensor, params: WorldParams
    ) -> None:
        for name, place, values in self._drawn.of(params):
            _write(self._fields[name][(slice(None), *place)], values, mask)
        self._follow(mask, params)
        rest = torch.zeros_like(self._data["qvel"])
        state = {
            "qpos": torch.cat([joint_pos, object_pos, object_quat], 1), "qvel": rest,
            "ctrl": self.scene.robot.ctrl(joint_pos), "time": rest[:, 0], "qacc_warmstart": rest,
        }  # fmt: skip
        for name, values in state.items():
            _write(self._data[name], values, mask)
        self._stale = True

    def _follow(self, mask: Tensor, params: WorldParams) -> None:
        """Bring `DERIVED` up to date, as `mjw.set_const` would at two hundred times the number of launches: only the
        object's inertia differs between worlds, and it moves freely, so that its inverse inertia has a closed form.

        MuJoCo defines both inverse weights as the mean of the diagonal of J M^-1 J^T at qpos0 (mjModel.body_invweight0,
        dof_invweight0). With J at the centre of mass that is 1 / m and 1 / I; at the body's origin, c away from it,
        the translational block is 1 / m - [c] I^-1 [c].
        """
        i, f = self._ids, self._fields
        light, turn = 1.0 / params.mass, 1.0 / params.inertia
        square = params.com**2
        lever = (turn * (square.sum(1, keepdim=True) - square)).sum(1)
        move, spin = light + lever / 3.0, turn.mean(1)
        _write(f["body_invweight0"][:, i.object], torch.stack([light, spin], 1), mask)
        _write(f["dof_invweight0"][:, i.object_qvel : i.object_qvel + 3], move[:, None], mask)
        _write(f["dof_invweight0"][:, i.object_qvel + 3 : i.object_qvel + 6], spin[:, None], mask)
        self._set_const()

    def _refresh(self) -> None:
        if self._stale:
            self._derive()
            self._stale = False

    def read(self) -> BodyState:
        self._refresh()
        column = lambda at: self._index[at] if isinstance(at, tuple) else at  # noqa: E731
        return body_state(lambda name, at: self._data[name][:, column(at)], self._ids)

    def physics_state(self) -> Tensor:
        d = self._data
        return torch.cat([d["time"][:, None], d["qpos"], d["qvel"]], 1).double()

    def render(self, groups: Collection[str]) -> dict[str, Tensor]:
        if self._draw is None:
            raise RuntimeError(f"this engine was made without cameras; asked to render {sorted(groups)}")
        self._refresh()
        self._draw()
        return self._images.read(groups)

    def shown(self, world: int) -> dict[str, np.ndarray]:
        self._refresh()
        poses = {name: wp.to_torch(getattr(self._d, name)) for name in POSES}
        looks = {name: self._fields[name] for name in (*LOOKS, "geom_dataid") if name in self._fields}
        return {name: values[world].cpu().numpy() for name, values in {**poses, **looks}.items()}

    def state_dict(self) -> dict[str, Any]:
        self.buffers.check(wait=True)
        return {
            "state": {name: self._data[name].clone() for name in STATE},
            "fields": {name: values.clone() for name, values in self._fields.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for kept, saved in ((self._fields, state["fields"]), (self._data, state["state"])):
            for name, values in saved.items():
                kept[name].copy_(values)
        self._stale = True

    def close(self) -> None:
        """Nothing to stop; the memory goes with the engine."""


def _write(old: Tensor, new: Tensor, mask: Tensor) -> None:
    """Put the masked rows of `new` (N, ...), broadcast, into the view `old` (N, ...)."""
    old.copy_(torch.where(mask.reshape(-1, *(1,) * (old.ndim - 1)), new, old))


class Recorded:
    """Launches of Warp kernels on one device, repeated by calling it.

    On a GPU it is a CUDA graph on torch's current stream, so that neither side waits for the other: what torch wrote
    before is seen, and what torch reads after is there. On a CPU Warp repeats the calls in a loop of its own. Addresses
    are fixed at the recording, so the launches must work in arrays that stay where they are; memory that they ask for
    in between belongs to the graph.
    """

    def __init__(self, launch: Callable[[], None], device: torch.device, graph: bool = True) -> None:
        """launch: all of the work; it runs once here, which loads its kernels. graph: record it, or launch anew."""
        self._torch, self._device = device, wp.device_from_torch(device)
        self._streams: dict[int, wp.Stream] = {}
        self._launch = None if graph else launch
        self._graph: wp.Graph | None = None
        with wp.ScopedDevice(self._device):
            launch()
            wp.synchronize_device(self._device)
            if graph:
                with wp.ScopedCapture(device=self._device) as capture:
                    launch()
                self._graph = capture.graph

    def __call__(self) -> None:
        on_gpu = self._device.is_cuda
        if self._graph is not None:
            wp.capture_launch(self._graph, stream=self._stream() if on_gpu else None)
            return
        assert self._launch is not None
        with wp.ScopedDevice(self._device), wp.ScopedStream(self._stream() if on_gpu else None, sync_enter=False):
            self._launch()

    def _stream(self) -> wp.Stream:
        """Torch's current stream, as Warp knows it."""
        stream = torch.cuda.current_stream(self._torch)
        if stream.cuda_stream not in self._streams:
            self._streams[stream.cuda_stream] = wp.stream_from_torch(stream)
        return self._streams[stream.cuda_stream]
