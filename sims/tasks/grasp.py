"""Grasp and lift: resets, observations, rewards and success, written once over (N, ...) tensors for every engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ..cameras import CameraRig, depth_to_millimetres
from ..draws import Draws
from ..engines.engine import BodyState, Engine
from ..objects.primitives import KINDS, build_objects, mass_properties
from ..scene import TABLE_TEXTURES
from ..vec_env import Step, VecEnv
from ..world_params import WorldParams
from .control import ActionSpaceName, Controller, action_space
from .observations import Observer, group_spec
from .randomization import Randomization
from .resets import CENTRE, RESETS, PostureBank
from .rewards import GraspSituation, RewardWeights, grasp_reward, is_held, is_success

IMAGE_GROUPS = ("depth", "stereo")
GROUPS = ("state", "proprio", "calibration", *IMAGE_GROUPS)
TABLE_GREY, LAMP_DIRECTION = 0.75, (0.15, 0.1, -1.0)
PARAM_DRAWS = {
    "kind": 1, "radius": 1, "half_height": 1, "mass": 1, "friction": 1, "arm_gain": 1, "hand_gain": 1,
    "object_rgb": 3, "table_rgb": 3, "table_texture": 1, "light": 2, "light_strength": 1, "camera_shift": 3,
    "camera_turn": 3, "baseline": 1, "eye_turn": 6,
}  # fmt: skip
"""How many random numbers each of a world's parameters takes."""
OFF_TABLE = 0.4
"""m from the middle of the table, or below its top: the object is lost and the episode terminates."""


@dataclass(frozen=True)
class GraspConfig:
    """The task itself."""

    action_space: ActionSpaceName = "palm4+closure2"
    """What the numbers of an action mean."""
    episode_steps: int = 36
    """Control steps in an episode (12.5 a second)."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of object, drawn uniformly."""
    reset_mix: Mapping[str, float] = field(default_factory=lambda: {kind: float(kind == "wide") for kind in RESETS})
    """Probability of each kind of reset."""
    rewards: RewardWeights = field(default_factory=RewardWeights)
    """Weights of the reward terms."""
    randomization: Randomization = field(default_factory=Randomization)
    """What differs between worlds and episodes."""

    def __post_init__(self) -> None:
        action_space(self.action_space)
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise HandsightError(f"unknown kinds of object {unknown}; available: {', '.join(KINDS)}")
        if self.episode_steps < 1:
            raise HandsightError(f"episode_steps must be at least 1, not {self.episode_steps}")


class GraspTask(VecEnv):
    """The grasping task on any engine."""

    reset_kinds = tuple(RESETS)
    """What `log["reset_kind"]` counts."""
    kinds = KINDS
    """What `log["kind"]` counts."""

    def __init__(
        self, config: GraspConfig, engine: Engine, rig: CameraRig, control_dt: float, observe: Collection[str],
        world_offset: int = 0,
    ) -> None:  # fmt: skip
        """observe: observation groups to compute, any of `GROUPS`; world_offset: global index of this task's first
        world, so that the same worlds draw the same numbers in whatever worker they live.

        Raises:
            HandsightError: unknown observation group or kind of reset.
        """
        unknown = sorted(set(observe) - set(GROUPS))
        if unknown or not observe:
            raise HandsightError(f"unknown observation groups {unknown}; available: {', '.join(GROUPS)}")
        self._config, self._rig = config, rig
        self.engine = engine
        self.num_envs, self.device = engine.num_worlds, engine.device
        self.control_dt, self.episode_steps = control_dt, config.episode_steps
        space = action_space(config.action_space)
        self.action_dim = space.dim
        joint_range = torch.tensor(engine.model.jnt_range[:23], dtype=torch.float32, device=self.device)
        self._controller = Controller(space, joint_range, self.num_envs, control_dt)
        self._observer = Observer(self._controller, joint_range, rig)
        self._groups = tuple(group for group in GROUPS if group in observe)
        self._image_groups = tuple(group for group in IMAGE_GROUPS if group in observe)
        self.obs_spec = {group: group_spec(group, space, rig) for group in self._groups}
        self.signature = self._sign()
        self._bank = PostureBank(engine.model, self.device)
        self._world = torch.arange(world_offset, world_offset + self.num_envs, device=self.device)
        self._kinds = torch.tensor([KINDS.index(kind) for kind in config.kinds], device=self.device)
        self._lamp, self._centre = (torch.tensor(point, device=self.device) for point in (LAMP_DIRECTION, CENTRE))
        self._sides = rig.sides(self.device)
        self.set_reset_mix(config.reset_mix)
        self._seed = 0
        self._clear()

    def _clear(self) -> None:
        n, device = self.num_envs, self.device
        self._episode = torch.full((n,), -1, dtype=torch.int64, device=device)
        self._time = torch.zeros(n, dtype=torch.int64, device=device)
        self._ended = torch.ones(n, dtype=torch.bool, device=device)
        self._reset_kind = torch.zeros(n, dtype=torch.int64, device=device)
        self._action = torch.zeros(n, self.action_dim, device=device)
        self._params: WorldParams = self._draw_params(Draws(0, self._world, self._episode))
        self._visible: Tensor | None = None
        self._object_mask: Tensor | None = None

    def _sign(self) -> dict[str, Any]:
        obs = {
            group: {
                "shape": list(spec.shape),
                "dtype": str(spec.dtype).removeprefix("torch."),
                "parts": dict(spec.parts),
            }
            for group, spec in self.obs_spec.items()
        }
        return {
            "task": "grasp", "action_space": self._config.action_space, "control_dt": self.control_dt, "obs": obs,
            "rig": self._rig.describe(),
        }  # fmt: skip

    def set_reset_mix(self, mix: Mapping[str, float]) -> None:
        unknown = sorted(set(mix) - set(RESETS))
        total = sum(mix.values())
        if unknown or total <= 0 or min(mix.values()) < 0:
            raise HandsightError(f"reset mix {dict(mix)} needs probabilities >= 0 of: {', '.join(RESETS)}")
        self._mix = torch.tensor([mix.get(kind, 0.0) / total for kind in RESETS], device=self.device)

    # -- the episode ---------------------------------------------------------------------------------------------

    def reset(self, seed: int) -> TensorDict:
        self._seed = seed
        self._clear()
        self._begin(self._ended)
        self._ended = torch.zeros_like(self._ended)
        return self._observe(self.engine.read())

    def stagger(self) -> None:
        draws = Draws(self._seed, self._world, self._episode)
        self._time = draws.integer("stagger", self.episode_steps)

    def step(self, action: Tensor) -> Step:
        if action.shape != (self.num_envs, self.action_dim):
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {(self.num_envs, self.action_dim)}")
        resetting = self._ended
        self._action = torch.where(resetting[:, None], 0.0, action.clamp(-1.0, 1.0).nan_to_num(0.0))
        target = self._controller.joint_target(self._action, self._body)
        diverged = self.engine.step(target, ~resetting)
        self._time += 1
        first = resetting | diverged
        self._begin(first)
        body = self.engine.read()
        situation = self._situation(body)
        reward, terms = grasp_reward(situation, self._config.rewards)
        terminated = self._lost(body) & ~first
        truncated = (self._time >= self.episode_steps) & ~terminated & ~first
        self._ended = terminated | truncated
        obs = self._observe(body)
        log = self.measure() | {f"reward/{name}": term * ~first for name, term in terms.items()}
        log |= {"diverged": diverged}
        return Step(obs, reward * ~first, terminated, truncated, first, ~first, log)

    def _begin(self, mask: Tensor) -> None:
        """Open a new episode in the masked worlds."""
        rows = self._rows(mask)
        if not len(rows):
            return
        write = partial(_write, rows=rows, mask=mask[rows])
        self._episode += mask
        draws = Draws(self._seed, self._world[rows], self._episode[rows])
        params = self.engine.admit(self._draw_params(draws), rows)
        for f in fields(WorldParams):
            setattr(self._params, f.name, write(getattr(self._params, f.name), getattr(params, f.name)))
        kind = draws.choice("reset_kind", self._mix)
        self._reset_kind = write(self._reset_kind, kind)
        joint_pos, object_pos, object_quat = (
            write(new.new_zeros(self.num_envs, new.shape[1]), new)
            for new in self._bank.draw(draws, kind, params.size[:, 2])
        )
        self.engine.reset(mask, joint_pos, object_pos, object_quat, self._params)
        self._controller.reset(mask, self.engine.read())
        self._time = torch.where(mask, 0, self._time)

    def _rows(self, mask: Tensor) -> Tensor:
        """(K,) the worlds to draw for: the masked ones; all of them on a GPU, which must not be waited for."""
        return mask.nonzero()[:, 0] if mask.device.type == "cpu" else torch.arange(len(mask), device=mask.device)

    def _draw_params(self, draws: Draws) -> WorldParams:
        r, config = self._config.randomization, self._config
        unit = draws.unit(**PARAM_DRAWS)
        between = lambda name, low, high: low + (high - low) * unit[name]  # noqa: E731
        one = lambda name, low_high: between(name, *low_high)[:, 0]  # noqa: E731
        pick = lambda name, count: (unit[name][:, 0] * count).long().clamp_(max=count - 1)  # noqa: E731
        kind = self._kinds[pick("kind", len(config.kinds))]
        geom_size, geom_pos, size = build_objects(kind, one("radius", r.radius), one("half_height", r.half_height))
        mass = one("mass", r.mass)
        com, inertia = mass_properties(mass, geom_size, geom_pos)
        lean = self._lamp.repeat(len(kind), 1)
        lean[:, :2] += between("light", -r.light_tilt, r.light_tilt)
        grey = torch.full((len(kind), 3), TABLE_GREY, device=self.device)
        texture = pick("table_texture", TABLE_TEXTURES)
        return WorldParams(
            kind=kind, size=size, geom_size=geom_size, geom_pos=geom_pos, mass=mass, com=com, inertia=inertia,
            friction=one("friction", r.friction), arm_gain=one("arm_gain", r.arm_gain),
            hand_gain=one("hand_gain", r.hand_gain), object_rgb=between("object_rgb", 0.05, 0.95),
            table_rgb=between("table_rgb", 0.45, 0.95) if r.textures else grey,
            table_texture=texture if r.textures else torch.zeros_like(texture),
            light_dir=lean / lean.norm(dim=1, keepdim=True), light_diffuse=one("light_strength", r.light_strength),
            camera_shift=between("camera_shift", -r.camera_shift, r.camera_shift),
            camera_turn=between("camera_turn", -r.camera_turn, r.camera_turn),
            eye_shift=between("baseline", -r.baseline, r.baseline)[:, :, None] * self._sides,
            eye_turn=between("eye_turn", -r.eye_turn, r.eye_turn).unflatten(1, (2, 3)),
        )  # fmt: skip

    def _situation(self, body: BodyState) -> GraspSituation:
        return GraspSituation(
            tip_distance=(body.tip_pos - body.object_pos[:, None]).norm(dim=-1).mean(1),
            grasp_distance=(body.grasp_pos - body.object_pos).norm(dim=-1),
            palm_height=body.palm_pos[:, 2],
            lift=body.object_pos[:, 2] - self._params.size[:, 2],
            closure=self._controller.synergy[:, :2].clamp_min(0.0).mean(1),
            held=is_held(body.touch),
            action=self._action,
        )

    def _lost(self, body: BodyState) -> Tensor:
        away = body.object_pos[:, :2] - self._centre
        return (away.abs() > OFF_TABLE).any(1) | (body.object_pos[:, 2] < -0.05)

    # -- what is seen --------------------------------------------------------------------------------------------

    def _observe(self, body: BodyState) -> TensorDict:
        self._body = body
        obs = {}
        if "state" in self._groups:
            obs["state"] = self._observer.state(body, self._params)
        if "proprio" in self._groups:
            obs["proprio"] = self._observer.proprio(body, self._action)
        if "calibration" in self._groups:
            obs["calibration"] = self._observer.calibration(self._params)
        if self._image_groups:
            images = self.engine.render(self._image_groups)
            self._visible = images["object_pixels"].float() / (self._rig.height * self._rig.width)
            self._object_mask = images.get("object_mask")
            obs |= self._noisy(images)
        return TensorDict(obs, batch_size=[self.num_envs], device=self.device)

    def _noisy(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the sensors make of the rendered images; their noise is drawn per world, episode and step."""
        r, obs = self._config.randomization, {}
        draws = Draws(self._seed, self._world, self._episode * (1 << 20) + self._time)
        if "depth" in images:
            depth = images["depth"]
            shape = depth.shape
            noise = None
            if r.depth_noise > 0:
                noise = draws.gaussian("depth_noise", depth[0].numel()).reshape(shape) * (r.depth_noise * depth**2)
            obs["depth"] = depth_to_millimetres(depth, self._rig, noise)
        if "stereo" in images:
            obs["stereo"] = images["stereo"]
            if r.pixel_noise > 0:
                grain = draws.gaussian("pixel_noise", images["stereo"][0].numel()).reshape(images["stereo"].shape)
                obs["stereo"] = grain.mul_(r.pixel_noise).add_(images["stereo"]).round_().clamp_(0, 255).to(torch.uint8)
        return obs

    def render_overview(self, world: int, height: int = 240, width: int = 320) -> np.ndarray:
        """(height, width, 3) uint8: one world from the outside."""
        return self.engine.render_overview(world, height, width)

    def object_mask(self) -> Tensor | None:
        """(N, H, W) bool: pixels of the left eye that show the object; None without a camera, or if the engine does
        not tell."""
        return self._object_mask

    def measure(self) -> dict[str, Tensor]:
        situation = self._situation(self._body)
        seen = {} if self._visible is None else {"visible": self._visible}
        return seen | {
            "success": is_success(situation), "held": situation.held, "lift": situation.lift,
            "grasp_distance": situation.grasp_distance, "touching": self._body.touch.any(1),
            "palm_height": situation.palm_height, "kind": self._params.kind, "reset_kind": self._reset_kind,
        }  # fmt: skip

    def physics_state(self) -> Tensor:
        return self.engine.physics_state()

    def drawn(self) -> dict[str, Tensor]:
        """Every `WorldParams`, `reset_kind`, `episode`, and `mount_from_eye` (N, 2, 4, 4): poses of the eyes."""
        params = self._params
        eyes = self._rig.extrinsics(params)
        return {**vars(params), "reset_kind": self._reset_kind, "episode": self._episode, "mount_from_eye": eyes}

    # -- saving --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        names = ("_seed", "_episode", "_time", "_ended", "_reset_kind", "_action", "_mix")
        task = {name: getattr(self, name) for name in names}
        return {
            "task": {name: v.clone() if isinstance(v, Tensor) else v for name, v in task.items()},
            "params": {name: value.clone() for name, value in vars(self._params).items()},
            "controller": self._controller.state_dict(),
            "engine": self.engine.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> TensorDict:
        for name, value in state["task"].items():
            setattr(self, name, self._own(value) if isinstance(value, Tensor) else value)
        self._params = WorldParams(**{name: self._own(value) for name, value in state["params"].items()})
        self._controller.load_state_dict(state["controller"])
        self.engine.load_state_dict(state["engine"])
        return self._observe(self.engine.read())

    def _own(self, saved: Tensor) -> Tensor:
        """A copy on this task's device: checkpoints come back on the CPU."""
        return saved.to(self.device, copy=True)

    def close(self) -> None:
        self.engine.close()


def _write(old: Tensor, new: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
    """`old` (N, ...) with `new` (K, ...) in those `rows` (K,) whose `mask` (K,) is set."""
    mask = mask.reshape(-1, *(1,) * (new.ndim - 1))
    return old.index_copy(0, rows, torch.where(mask, new, old[rows]))
