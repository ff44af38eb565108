"""Where episodes begin: kinds of reset, and arm postures solved once for each."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from ...errors import HandsightError
from ..draws import Draws
from ..env_config import Postures
from ..robots.robot import Robot
from ..rotation import quat_multiply

TILT = 0.8
"""rad: how far the fingers point below the horizontal when an episode begins, the palm facing the table."""
CENTRE = (0.62, 0.0)
"""m: middle of the region in which objects stand."""
OBJECT_HEIGHT = 0.04
"""m: height of the objects' middle that palm heights in `RESETS` are meant for."""


@dataclass(frozen=True)
class ResetKind:
    """One way of beginning an episode."""

    object_xy: tuple[float, float]
    """m: largest offset of the object from `CENTRE`, or from under the grasp site when `beside_hand`."""
    palm_xy: tuple[float, float]
    """m: largest offset of the grasp site from `CENTRE`."""
    palm_z: tuple[float, float]
    """m: range of the palm's height."""
    beside_hand: bool = False
    """Whether the object stands below the hand rather than anywhere."""


RESETS = {
    "near": ResetKind((0.035, 0.04), (0.06, 0.12), (0.14, 0.20), beside_hand=True),
    "easy": ResetKind((0.10, 0.15), (0.03, 0.05), (0.23, 0.29)),
    "wide": ResetKind((0.10, 0.18), (0.08, 0.15), (0.15, 0.29)),
}
POSTURES = 256
"""Arm postures solved per kind of reset; drawing one costs nothing."""
BANKS: dict[Postures, int] = {"training": 0, "held_out": 1}
"""Seeds of the generators from which the postures of each bank come."""


class PostureBank:
    """Solved arm postures for every kind of reset, the same in every process."""

    def __init__(
        self, robot: Robot, model: mujoco.MjModel, device: torch.device, postures: Postures = "training"
    ) -> None:
        """model: the compiled scene; the robot's arm has A of its J joints; postures: which of `BANKS`.

        Raises:
            HandsightError: a kind of reset leaves the arm's reach.
        """
        offset = palm_rotation() @ np.array(robot.grasp_pos)
        rng = np.random.default_rng(BANKS[postures])
        arms, grasps = [], []
        for kind in RESETS.values():
            palm = _palm_targets(kind, offset, rng)
            arms.append(_solve_arm(robot, model, palm))
            grasps.append(palm + offset)
        self.joint_pos = torch.tensor(np.stack(arms), dtype=torch.float32, device=device)
        """(K, POSTURES, A) rad or m: the arm's joints of each posture."""
        self.grasp_xy = torch.tensor(np.stack(grasps)[..., :2], dtype=torch.float32, device=device)
        """(K, POSTURES, 2) m: the grasp site of each posture."""
        kinds = list(RESETS.values())
        self._spread = torch.tensor([kind.object_xy for kind in kinds], device=device)
        self._beside = torch.tensor([kind.beside_hand for kind in kinds], device=device)
        self._hand = torch.tensor(robot.open_hand, device=device)
        self._centre = torch.tensor(CENTRE, device=device)

    def draw(
        self, draws: Draws, kind: Tensor, height: Tensor, turn: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One beginning for each environment.

        Args:
            draws: the episode's random numbers.
            kind: (N,) int64, index into `RESETS`.
            height: (N,) m: of the object's origin above the table.
            turn: (N, 4) w x y z: how the object lies, before it is turned about the vertical; None: upright.

        Returns:
            joint_pos (N, J) rad, object_pos (N, 3) m and object_quat (N, 4) w x y z, world frame.
        """
        unit = draws.unit(posture=1, object_xy=2, object_yaw=1)
        posture = (unit["posture"][:, 0] * POSTURES).long().clamp_(max=POSTURES - 1)
        joint_pos = torch.cat([self.joint_pos[kind, posture], self._hand.expand(len(kind), -1)], 1)
        around = torch.where(self._beside[kind, None], self.grasp_xy[kind, posture], self._centre)
        xy = around + (unit["object_xy"] * 2.0 - 1.0) * self._spread[kind]
        yaw = 2 * torch.pi * unit["object_yaw"] - torch.pi
        zero = torch.zeros_like(yaw)
        quat = torch.cat([torch.cos(yaw / 2), zero, zero, torch.sin(yaw / 2)], 1)
        quat = quat if turn is None else quat_multiply(quat, turn)
        return joint_pos, torch.cat([xy, height[:, None] + 0.0005], 1), quat


def palm_rotation() -> np.ndarray:
    """Palm frame to world when an episode begins: fingers forward and down by `TILT`, palm facing the table."""
    c, s = np.cos(TILT), np.sin(TILT)
    return np.array([[-s, 0, c], [0, 1, 0], [-c, 0, -s]])


def _palm_targets(kind: ResetKind, offset: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    xy = np.array(CENTRE) + rng.uniform(-1, 1, (POSTURES, 2)) * kind.palm_xy
    return np.concatenate([xy - offset[:2], rng.uniform(*kind.palm_z, (POSTURES, 1))], 1)


def _solve_arm(robot: Robot, model: mujoco.MjModel, palm: np.ndarray) -> np.ndarray:
    """Arm postures (P, A) whose palm reaches the positions (P, 3) with the palm rotation, by damped least squares.

    Raises:
        HandsightError: a posture misses by more than 5 mm or 0.02 rad: the reset region leaves the arm's reach.
    """
    data, body, joints = mujoco.MjData(model), model.body(robot.palm).id, slice(len(robot.arm))
    goal, found = np.zeros(4), np.empty((len(palm), len(robot.arm)))
    mujoco.mju_mat2Quat(goal, palm_rotation().ravel())
    for i, target in enumerate(palm):
        data.qpos[joints] = robot.home
        for _ in range(60):
            error = _reach_error(model, data, body, target, goal)
            if np.abs(error).max() < 1e-4:
                break
            jacobian = np.zeros((6, model.nv))
            mujoco.mj_jacBody(model, data, jacobian[:3], jacobian[3:], body)
            arm = jacobian[:, joints]
            pull = 0.1 * (np.array(robot.home) - data.qpos[joints])
            step = pull + arm.T @ np.linalg.solve(arm @ arm.T + 1e-4 * np.eye(6), error - arm @ pull)
            limit = model.jnt_range[joints]
            data.qpos[joints] = np.clip(data.qpos[joints] + np.clip(step, -0.4, 0.4), limit[:, 0], limit[:, 1])
        if np.abs(error[:3]).max() > 5e-3 or np.abs(error[3:]).max() > 0.02:
            raise HandsightError(
                f"robot {robot.name}: no arm posture for the palm at {target.round(3).tolist()} m, where episodes "
                f"begin: it misses by {np.linalg.norm(error[:3]):.3f} m and {np.linalg.norm(error[3:]):.2f} rad, "
                "expected at most 0.005 and 0.02"
            )
        found[i] = data.qpos[joints]
    return found


def _reach_error(
    model: mujoco.MjModel, data: mujoco.MjData, body: int, target: np.ndarray, goal: np.ndarray
) -> np.ndarray:
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    inverse, difference, turn = np.zeros(4), np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(inverse, data.xquat[body])
    mujoco.mju_mulQuat(difference, goal, inverse)
    mujoco.mju_quat2Vel(turn, difference, 1.0)
    return np.concatenate([target - data.xpos[body], turn])
