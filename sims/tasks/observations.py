"""The vectors that policies see: privileged `state`, and `proprio`, what the robot can feel."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import mujoco
import torch
from torch import Tensor

from ..engines.engine import BodyState
from ..objects.solids import directions
from ..robots.robot import ActionSpace
from ..rotation import rotate_back
from ..scene import Scene
from ..vec_env import ArraySpec
from ..world_params import WorldParams
from .control import Controller

PALM_CENTRE = (0.62, 0.0, 0.2)
"""m: middle of the palm's workspace; positions are given relative to it."""
IMAGE_GROUPS = ("depth", "stereo")
POSITION_GROUPS = ("position", "noisy_position", "seen_position")
"""Where the object is, for control students: exactly, with noise, and only while an eye of the pair sees it."""
GROUPS = ("state", "proprio", "calibration", "touch", *POSITION_GROUPS, *IMAGE_GROUPS)
"""Observation groups that every task can compute."""


def rendered(observe: Collection[str]) -> tuple[str, ...]:
    """The image groups that must be rendered to compute these groups: who sees the object takes both eyes."""
    needed = {*observe} | ({"stereo"} if "seen_position" in observe else set())
    return tuple(group for group in IMAGE_GROUPS if group in needed)


def group_spec(group: str, space: ActionSpace, scene: Scene, own: Mapping[str, int]) -> ArraySpec:
    """Shape, dtype and named parts of an observation group. own: parts of `state` that the task adds, and widths."""
    robot, rig = scene.robot, scene.config.rig
    joints, digits = len(robot.joints), len(robot.digits)
    if group in scene.config.camera_groups:
        camera, kind = scene.config.camera_groups[group]
        dtype = torch.int16 if kind == "depth" else torch.uint8
        return ArraySpec((3 if kind == "rgb" else 1, camera.height, camera.width), dtype)
    match group:
        case "state":
            kinds = {"object_kind": len(scene.objects.names)}
            shape = kinds if scene.objects.meshes is None else {"object_shape": len(directions())}
            parts = {
                "object_from_palm": 3, "object_from_grasp": 3, "object_rotation": 6, "object_velocity": 3,
                "object_spin": 3, "object_size": 3, **shape, "object_mass": 1,
                "object_friction": 1, "object_lift": 1, "touch": digits + 1, "tip_from_object": 3 * digits, **own,
            }  # fmt: skip
        case "proprio":
            parts = {
                "joint_position": joints, "joint_velocity": joints, "palm_position": 3, "palm_rotation": 6,
                "palm_target": 3, "tip_position": 3 * digits, "hand_error": len(robot.hand),
                "synergy": len(space.synergies), "last_action": space.dim,
            }  # fmt: skip
        case "calibration":
            parts = {"camera_shift": 3, "camera_turn": 3, "baseline": 1, "eye_turn": 6}
        case "touch":
            parts = {"digit_force": digits}
        case "command":
            parts = {"goal_from_grasp": 3}
        case "position" | "noisy_position" | "seen_position":
            parts = {"object_from_palm": 3, "known": 1}
        case "depth":
            return ArraySpec((1, rig.height, rig.width), torch.int16)
        case _:
            return ArraySpec((2, 3, rig.height, rig.width), torch.uint8)
    return ArraySpec((sum(parts.values()),), torch.float32, parts)


class Observer:
    """Builds the flat observation groups. Frames: positions in the palm frame unless said, so that what the hand should
    do about an object looks the same wherever it stands."""

    def __init__(self, controller: Controller, scene: Scene, model: mujoco.MjModel, device: torch.device) -> None:
        """model: the compiled scene, for the joints' ranges; device: where the observations live."""
        tensor = lambda values: torch.tensor(values, dtype=torch.float32, device=device)  # noqa: E731
        self._controller, self._arm = controller, len(scene.robot.arm)
        self._centre, self._right = tensor(PALM_CENTRE), tensor(scene.config.rig.right)
        self._kinds = torch.arange(len(scene.objects.names), device=device)
        self._objects, self._meshes = scene.objects, scene.objects.meshes
        joint_range = tensor(model.jnt_range[: len(scene.robot.joints)])
        self._middle = joint_range.mean(1)
        self._half_range = 0.5 * (joint_range[:, 1] - joint_range[:, 0])

    def state(self, body: BodyState, params: WorldParams) -> Tensor:
        """(N, S) float32, parts as in its spec: m, m/s, rad/s, unit rotation columns, one-hot kind (of a
        set of meshes m: how far the object reaches along fixed directions of its frame), 0.1 kg."""
        place = body.object_pos[:, None]
        if self._meshes is None:
            shape = (params.kind[:, None] == self._kinds).float()
        else:
            shape = self._meshes.bodies(params.kind.device).support[params.kind]
        world = [
            place - torch.stack([body.palm_pos, body.grasp_pos], 1),
            body.object_rot[:, :, :2].transpose(1, 2),
            body.object_linvel[:, None],
            body.tip_pos - place,
        ]
        palm = rotate_back(body.palm_rot, torch.cat(world, 1)).flatten(1)
        own = palm.shape[1] - 3 * body.tip_pos.shape[1]
        return torch.cat(
            [
                palm[:, :own],
                body.object_angvel,
                params.size,
                shape,
                params.mass[:, None] * 10.0,
                params.friction[:, None],
                (body.object_pos[:, 2] - self._objects.resting_height(params))[:, None],
                body.touch.float(),
                palm[:, own:],
            ],
            1,
        )

    def object_from_palm(self, body: BodyState) -> Tensor:
        """(N, 3) m: the object's middle in the palm frame."""
        return rotate_back(body.palm_rot, body.object_pos - body.palm_pos)

    def calibration(self, params: WorldParams) -> Tensor:
        """(N, 13) float32: by how much this environment's cameras differ from the rig's drawing, as a calibration
        would tell: m in the mount's frame, rad in the camera's, m, rad of the left and the right eye."""
        apart = ((params.eye_shift[:, 1] - params.eye_shift[:, 0]) * self._right).sum(1, keepdim=True)
        return torch.cat([params.camera_shift, params.camera_turn, apart, params.eye_turn.flatten(1)], dim=1)

    def proprio(self, body: BodyState, action: Tensor) -> Tensor:
        """(N, P) float32, parts as in its spec: joints scaled to [-1, 1] by their range, rad/s, m in the world frame
        relative to `PALM_CENTRE`, m in the palm frame (fingertips), rad (servo error of the fingers: touch)."""
        tips = rotate_back(body.palm_rot, body.tip_pos - body.palm_pos[:, None])
        return torch.cat(
            [
                (body.joint_pos - self._middle) / self._half_range,
                body.joint_vel,
                body.palm_pos - self._centre,
                body.palm_rot[:, :, :2].transpose(1, 2).flatten(1),
                self._controller.palm_target - body.palm_pos,
                tips.flatten(1),
                self._controller.hand_target - body.joint_pos[:, self._arm :],
                self._controller.synergy,
                action,
            ],
            1,
        )
