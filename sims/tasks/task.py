"""`Task`: what all tasks have in common on any engine: clock, autoreset, draws, sensors with their noise, saving."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ..backgrounds import background_images, behind
from ..cameras import blurred, depth_to_millimetres, extrinsics, sense_depth
from ..draws import Draws
from ..engines.engine import BodyState, Engine
from ..env_config import Randomization, TaskConfig
from ..vec_env import Step, VecEnv
from ..world_params import WorldParams
from .control import Controller
from .observations import GROUPS, POSITION_GROUPS, Observer, group_spec, rendered
from .randomization import ParamDrawer
from .signature import VERSION, named

VISIBLE = ("visible", "visible_right")
"""What a log calls the share of the left and of the right eye's pixels that show the object."""


class Task(VecEnv):
    """A task on any engine. A new one names itself and its kinds of reset, and writes what is abstract here."""

    name: str
    """What signatures call the task."""
    config_class: type[TaskConfig]
    """Configuration of the task, whose `name` is the same."""
    kinds: tuple[str, ...]
    """Names of what `log["kind"]` counts."""
    own_state: Mapping[str, int] = {}
    """Parts that the task adds to the group "state", and their widths."""
    kept: tuple[str, ...] = ()
    """Names of tensors (N, ...) of its own that the task keeps from one step to the next; zero as an episode opens."""

    def __init__(self, config: TaskConfig, engine: Engine, observe: Collection[str], world_offset: int = 0) -> None:
        """observe: observation groups to compute, any of `GROUPS` and of those that the task tells; world_offset:
        global index of the first environment, so that the same environments draw the same numbers in whatever worker
        they live.

        Raises:
            HandsightError: unknown observation group, action space, kind of object or kind of reset.
        """
        known = (*GROUPS, *config.told, *engine.scene.config.camera_groups)
        unknown = sorted(set(observe) - set(known))
        if unknown or not observe:
            raise HandsightError(f"unknown observation groups {unknown}; available: {', '.join(known)}")
        scene = engine.scene
        self.kinds = scene.objects.names
        drawn = scene.objects.drawn(config.kinds, config.split)
        scene.check_fit(engine.model, drawn)
        self._config, self._rig, self.engine = config, scene.config.rig, engine
        self.num_envs, self.device = engine.num_worlds, engine.device
        self.control_dt, self.episode_steps = scene.config.control_dt, config.episode_steps
        space = scene.robot.action_space(config.action_space)
        self.action_dim = space.dim
        nowhere = torch.zeros(self.num_envs, 3, device=self.device)
        self._controller = Controller(scene.robot, space, engine.model, self.control_dt, nowhere)
        self._observer = Observer(self._controller, scene, engine.model, self.device)
        self._drawn = drawn
        self._level = config.level
        self._moving = False
        self._draw_from(config.ranges(config.level))
        names = filter(None, (config.randomization.background, config.hardest.background))
        self._behind = {name: background_images(name).to(self.device) for name in names}
        self._groups = tuple(group for group in known if group in observe)
        self._image_groups = rendered(observe)
        given = scene.config.camera_groups
        self._others = list(dict.fromkeys(given[group][0] for group in self._groups if group in given))
        self.obs_spec = {group: group_spec(group, space, scene, self.own_state) for group in self._groups}
        self.signature = self._sign()
        self._world = torch.arange(world_offset, world_offset + self.num_envs, device=self.device)
        self.set_reset_mix(config.reset_mix)
        self._seed = 0
        self._clear()

    # -- what a task writes --------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self, draws: Draws, kind: Tensor, params: WorldParams) -> tuple[Tensor, Tensor, Tensor]:
        """Where K episodes begin.

        Args:
            draws: random numbers of these episodes.
            kind: (K,) int64, index into `reset_kinds`.
            params: what was drawn about these environments.

        Returns:
            joint_pos (K, J) rad, object_pos (K, 3) m and object_quat (K, 4) w x y z, world frame.
        """

    @abstractmethod
    def reward(self, body: BodyState) -> tuple[Tensor, dict[str, Tensor]]:
        """(N,) float32, and each of its weighted terms (N,) by name."""

    @abstractmethod
    def lost(self, body: BodyState) -> Tensor:
        """(N,) bool: the episode ends here, in a state without a future."""

    @abstractmethod
    def outcome(self, body: BodyState) -> dict[str, Tensor]:
        """Measurements of the present state by name, each (N,); `success` (N,) bool among them."""

    def state(self, body: BodyState) -> list[Tensor]:
        """The parts of `own_state`, each (N, width) float32."""
        return []

    def command(self, body: BodyState) -> Tensor:
        """(N, 3) m: what the group "command" says, of a task that tells it."""
        raise NotImplementedError(f"task {self.name!r} commands nothing")

    # -- the episode ---------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        n, device = self.num_envs, self.device
        self._episode = torch.full((n,), -1, dtype=torch.int64, device=device)
        self._time = torch.zeros(n, dtype=torch.int64, device=device)
        self._ended = torch.ones(n, dtype=torch.bool, device=device)
        self._reset_kind = torch.zeros(n, dtype=torch.int64, device=device)
        self._action = torch.zeros(n, self.action_dim, device=device)
        self._params: WorldParams = self._drawer.draw(Draws(0, self._world, self._episode))
        self._sent = torch.zeros(1 + self._config.longest_latency, n, self.action_dim, device=device)
        self._visible: Tensor | None = None
        self._object_mask: Tensor | None = None

    def _sign(self) -> dict[str, Any]:
        scene = self.engine.scene
        things = {"robot": scene.robot, "objects": scene.objects}
        return {
            **{what: named(thing) for what, thing in things.items()},
            "version": VERSION, "task": self.name, "action_space": self._config.action_space,
            "control_dt": self.control_dt, "obs": {group: spec.describe() for group, spec in self.obs_spec.items()},
            "rig": self._rig.describe(),
        }  # fmt: skip

    def set_reset_mix(self, mix: Mapping[str, float]) -> None:
        """As `VecEnv.set_reset_mix`.

        Raises:
            HandsightError: no such kind of reset, or no probabilities.
        """
        unknown = sorted(set(mix) - set(self.reset_kinds))
        total = sum(mix.values())
        if unknown or total <= 0 or min(mix.values()) < 0:
            raise HandsightError(f"reset mix {dict(mix)} needs probabilities >= 0 of: {', '.join(self.reset_kinds)}")
        self._mix = torch.tensor([mix.get(kind, 0.0) / total for kind in self.reset_kinds], device=self.device)

    def set_level(self, level: int) -> None:
        """As `VecEnv.set_level`.

        Raises:
            HandsightError: there is no such level.
        """
        ranges = self._config.ranges(level)
        if not self._moving:  # the episodes under way have nothing of what is drawn from now on
            self._moving, self._begun = True, torch.full_like(self._episode, self._level)
            self._draw_from(Randomization())
            self._params = replace(self._drawer.draw(self._episode_draws()), **self._params.known)
        self._level = level
        self._draw_from(ranges)

    def number_from(self, first: int) -> None:
        """Draw the coming episodes as environments that were made with `world_offset` = first do."""
        self._world = torch.arange(first, first + self.num_envs, device=self.device)

    def _draw_from(self, ranges: Randomization) -> None:
        self._ranges = ranges
        scene, kinds = self.engine.scene, self._drawn
        self._drawer = ParamDrawer(ranges, kinds, scene, self.device, moving=self._moving)

    def _episode_draws(self) -> Draws:
        return Draws(self._seed, self._world, self._episode)

    def reset(self, seed: int) -> TensorDict:
        self._seed = seed
        self._clear()
        body = self._begin(self._ended)
        self._ended = torch.zeros_like(self._ended)
        return self._observe(body)

    def stagger(self) -> None:
        draws = self._episode_draws()
        self._time = draws.integer("stagger", self.episode_steps)

    def step(self, action: Tensor) -> Step:
        if action.shape != (self.num_envs, self.action_dim):
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {(self.num_envs, self.action_dim)}")
        resetting = self._ended
        self._action = action.clamp(-1.0, 1.0).nan_to_num(0.0).masked_fill(resetting[:, None], 0.0)
        target = self._controller.joint_target(self._late(self._action), self._body)
        diverged = self.engine.step(self.engine.scene.robot.ctrl(target), ~resetting)
        self._time += 1
        first = resetting | diverged
        self._action = self._action.masked_fill(first[:, None], 0.0)
        body = self._begin(first)
        reward, terms = self.reward(body)
        terminated = self.lost(body) & ~first
        truncated = (self._time >= self.episode_steps) & ~terminated & ~first
        self._ended = terminated | truncated
        obs = self._observe(body)
        valid = ~first
        earned = (torch.stack([reward, *terms.values()]) * valid).unbind()
        log = self.measure() | {f"reward/{name}": term for name, term in zip(terms, earned[1:], strict=True)}
        return Step(obs, earned[0], terminated, truncated, first, valid, log | {"diverged": diverged})

    def renew(self) -> TensorDict:
        over = self._ended
        self._ended, self._action = torch.zeros_like(over), self._action.masked_fill(over[:, None], 0.0)
        for name in self.kept:
            values = getattr(self, name)
            setattr(self, name, values.masked_fill(over.reshape(-1, *(1,) * (values.ndim - 1)), 0))
        return self._observe(self._begin(over))

    def _late(self, action: Tensor) -> Tensor:
        """(N, A) what is carried out now: the action of `latency` steps ago, none before the first has arrived."""
        late = self._params.latency
        if late is None:
            return action
        now = self._sent.roll(1, 0)
        now[0] = action
        self._sent = now
        arrived = now[late.clamp(max=len(now) - 1), torch.arange(self.num_envs, device=self.device)]
        return arrived.masked_fill((self._time < late)[:, None], 0.0)

    def _begin(self, mask: Tensor) -> BodyState:
        """Open a new episode in the masked environments; returns where all bodies are then."""
        rows = self._rows(mask)
        if not len(rows):
            return self.engine.read()
        write = partial(_write, rows=rows, mask=mask)
        self._episode += mask
        draws = Draws(self._seed, self._world[rows], self._episode[rows])
        params = self.engine.admit(self._drawer.draw(draws), rows)
        self._params = WorldParams(
            **{name: write(old, getattr(params, name)) for name, old in self._params.known.items()}
        )
        if self._moving:
            self._begun = self._begun.masked_fill(mask, self._level)
        kind = draws.choice("reset_kind", self._mix)
        self._reset_kind = write(self._reset_kind, kind)
        joint_pos, object_pos, object_quat = (
            write(new.new_zeros(self.num_envs, new.shape[1]), new) for new in self.begin(draws, kind, params)
        )
        self.engine.reset(mask, joint_pos, object_pos, object_quat, self._params)
        body = self.engine.read()
        self._controller.reset(mask, body)
        self._time = self._time.masked_fill(mask, 0)
        return body

    def _rows(self, mask: Tensor) -> Tensor:
        """(K,) which to draw for: the masked ones; all of them on a GPU, which must not be waited for."""
        return mask.nonzero()[:, 0] if mask.device.type == "cpu" else torch.arange(len(mask), device=mask.device)

    # -- what is seen --------------------------------------------------------------------------------------------

    def _observe(self, body: BodyState) -> TensorDict:
        self._body = body
        obs = {}
        if "state" in self._groups:
            obs["state"] = torch.cat([self._observer.state(body, self._params), *self.state(body)], 1)
        if "proprio" in self._groups:
            obs["proprio"] = self._observer.proprio(body, self._action)
            if (sigma := self._ranges.proprio_noise) > 0:
                obs["proprio"] += sigma * self._step_draws().gaussian("proprio_noise", obs["proprio"].shape[1])
        if "calibration" in self._groups:
            obs["calibration"] = self._observer.calibration(self._params)
        if "touch" in self._groups:
            assert body.force is not None
            obs["touch"] = body.force
        if "command" in self._groups:
            obs["command"] = self.command(body)
        if self._image_groups:
            images = self.engine.render(self._image_groups)
            self._visible = images["object_pixels"].float() / (self._rig.height * self._rig.width)
            self._object_mask = images.get("object_mask")
            obs |= self._noisy({name: image for name, image in images.items() if name in self._groups})
        for camera in self._others:
            seen = self.engine.look(camera.name)
            seen["depth"] = depth_to_millimetres(seen["depth"], camera)
            given = {f"{camera.name}_{kind}": seen[kind] for kind in camera.gives}
            obs |= {group: image for group, image in given.items() if group in self._groups}
        obs |= {group: self._position(group, body) for group in POSITION_GROUPS if group in self._groups}
        return TensorDict(obs, batch_size=[self.num_envs], device=self.device)

    def _noisy(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the sensors make of the rendered images; their noise is drawn per environment, episode and step."""
        r, obs, draws = self._ranges, {}, self._step_draws()
        if "depth" in images:
            obs["depth"] = depth_to_millimetres(sense_depth(r.depth, images["depth"], self._rig, draws), self._rig)
        if "stereo" in images:
            obs["stereo"] = self._before(r.background, images["stereo"]) if r.background else images["stereo"]
            obs["stereo"] = blurred(obs["stereo"], r.blur) if r.blur > 0 else obs["stereo"]
            if r.pixel_noise > 0:
                grain = draws.gaussian("pixel_noise", images["stereo"][0].numel()).reshape(images["stereo"].shape)
                obs["stereo"] = grain.mul_(r.pixel_noise).add_(obs["stereo"]).round_().clamp_(0, 255).to(torch.uint8)
        return obs

    def _before(self, name: str, stereo: Tensor) -> Tensor:
        """The pair's images (N, 2, 3, H, W) before those of this name."""
        drawn, images = self._params.background, self._behind[name]
        assert drawn is not None
        turns = extrinsics(self._rig, self._params)[..., :3, :3]
        turns = self._body.palm_rot[:, None] @ turns if self._rig.mount == "palm" else turns
        return behind(stereo, images[(drawn * len(images)).long()], self._rig, turns)

    def _position(self, group: str, body: BodyState) -> Tensor:
        """(N, 4): where the object is, m in the palm frame, and whether that is known: 1, or 0 and zeros."""
        place = self._observer.object_from_palm(body)
        known = torch.ones_like(place[:, :1])
        if group == "noisy_position":
            sigma = self._ranges.position_noise
            place = place + sigma * self._step_draws().gaussian("position_noise", 3)
        if group == "seen_position" and self._visible is not None:
            known = (self._visible > 0).any(1, keepdim=True).to(place.dtype)
        return torch.cat([place * known, known], 1)

    def _step_draws(self) -> Draws:
        return Draws(self._seed, self._world, self._episode * (1 << 20) + self._time)

    def render_overview(self, world: int, height: int = 240, width: int = 240) -> np.ndarray:
        """(height, width, 3) uint8: one environment from the outside."""
        return self.engine.render_overview(world, height, width)

    def object_mask(self) -> Tensor | None:
        """(N, H, W) bool: pixels of the left eye that show the object; None without a camera, or if the engine does
        not tell."""
        return self._object_mask

    def measure(self) -> dict[str, Tensor]:
        seen = {} if self._visible is None else dict(zip(VISIBLE, self._visible.unbind(1), strict=False))
        which = {"kind": self._params.kind, "reset_kind": self._reset_kind}
        edge = {"edge": self._begun == self._level} if self._moving else {}
        return seen | self.outcome(self._body) | which | edge

    def physics_state(self) -> Tensor:
        return self.engine.physics_state()

    def drawn(self) -> dict[str, Tensor]:
        """Every `WorldParams`, `reset_kind`, `episode`, and `mount_from_eye` (N, 2, 4, 4): poses of the eyes."""
        params = self._params
        eyes = extrinsics(self._rig, params)
        return {**params.known, "reset_kind": self._reset_kind, "episode": self._episode, "mount_from_eye": eyes}

    # -- saving --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        names = ("_seed", "_episode", "_time", "_ended", "_reset_kind", "_action", "_mix", *self.kept)
        names += ("_level", "_begun") * self._moving + ("_sent",) * ("latency" in self._params.known)
        task = {name: getattr(self, name) for name in names}
        return {
            "task": {name: v.clone() if isinstance(v, Tensor) else v for name, v in task.items()},
            "params": {name: value.clone() for name, value in self._params.known.items()},
            "controller": self._controller.state_dict(),
            "engine": self.engine.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> TensorDict:
        if "_level" in state["task"]:
            self.set_level(state["task"]["_level"])
        for name, value in state["task"].items():
            setattr(self, name, self._own(value) if isinstance(value, Tensor) else value)
        self._params = WorldParams(**state["params"]).each(self._own)
        self._controller.load_state_dict(state["controller"])
        self.engine.load_state_dict(state["engine"])
        return self._observe(self.engine.read())

    def _own(self, saved: Tensor) -> Tensor:
        """A copy on this task's device: checkpoints come back on the CPU."""
        return saved.to(self.device, copy=True)

    def close(self) -> None:
        self.engine.close()


def _write(old: Tensor, new: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
    """`old` (N, ...) with `new` (K, ...) in those `rows` (K,) whose `mask` (N,) is set: all of them, if K is not N."""
    if new.shape[0] < old.shape[0]:
        return old.index_copy(0, rows, new)
    return torch.where(mask.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
