"""From actions to joint targets: a palm twist through damped least squares, and hand synergies."""

from __future__ import annotations

import mujoco
import torch
from torch import Tensor

from ..engines.engine import BodyState
from ..robots.robot import ActionSpace, Robot
from ..rotation import exp_matrix, log_matrix, times

LINEAR_STEP, TURN_STEP, SYNERGY_STEP = 0.035, 0.15, 0.3
"""Largest change in one control step: m, rad, share of a synergy."""
LEASH, TURN_LEASH = 0.05, 0.4
"""How far the palm target may run ahead of the measured palm: m, rad."""
DAMPING, NULL_GAIN = 2e-3, 0.1
"""lambda^2 of damped least squares (Nakamura and Hanafusa 1986), and the pull toward the home posture."""
AXES = ("x", "y", "z", "roll", "pitch", "yaw")
"""What the palm's twist is made of, world frame."""


class Controller:
    """Integrates actions into a palm target and synergies, and turns both into joint targets for N environments of a
    robot with J joints, of which the arm has A."""

    def __init__(self, robot: Robot, space: ActionSpace, model: mujoco.MjModel, control_dt: float, targets: Tensor):
        """model: has the joints' ranges; control_dt: s; targets (N, 3) m: any palm targets, for their number and
        device."""
        device, joints = targets.device, slice(len(robot.joints))
        self.space, self._arm, self._hand = space, slice(len(robot.arm)), slice(len(robot.arm), len(robot.joints))
        tensor = lambda values: torch.tensor(values, dtype=torch.float32, device=device)  # noqa: E731
        self._twist_column = torch.tensor([AXES.index(axis) for axis in space.twist], device=device)
        self._highest = torch.ones(len(space.synergies), device=device)
        self._basis, self._lowest = tensor(space.synergies), tensor(space.lowest)
        self._open, self._home = tensor(robot.open_hand), tensor(robot.home)
        self._low, self._high = tensor(model.jnt_range[joints]).unbind(1)
        slides = model.jnt_type[self._arm] == mujoco.mjtJoint.mjJNT_SLIDE
        self._slides = torch.tensor(slides, device=device)[:, None] if slides.any() else None
        self._max_move = tensor(robot.velocity_limit) * control_dt
        self._box, self._damping = tensor(robot.workspace), DAMPING * torch.eye(len(AXES), device=device)
        num_envs = len(targets)
        self.palm_target = torch.zeros(num_envs, 3, device=device)
        """(N, 3) m, world frame: where the palm is to go."""
        self.palm_turn = torch.eye(3, device=device).repeat(num_envs, 1, 1)
        """(N, 3, 3): target orientation, palm to world."""
        self.synergy = torch.zeros(num_envs, len(space.synergies), device=device)
        """(N, K): integrated synergies."""
        self.hand_target = self._open.repeat(num_envs, 1)
        """(N, H) rad: where the hand's joints are to go."""

    def reset(self, mask: Tensor, state: BodyState) -> None:
        """Targets of the masked environments (N,) start at the measured palm with an open hand."""
        self.palm_target = torch.where(mask[:, None], state.palm_pos, self.palm_target)
        self.palm_turn = torch.where(mask[:, None, None], state.palm_rot, self.palm_turn)
        self.synergy = self.synergy.masked_fill(mask[:, None], 0.0)
        self.hand_target = torch.where(mask[:, None], self._open, self.hand_target)

    def joint_target(self, action: Tensor, state: BodyState) -> Tensor:
        """(N, J) rad joint targets for one control step. action (N, space.dim) in [-1, 1]."""
        twist = torch.zeros(len(action), len(AXES), device=action.device)
        twist[:, self._twist_column] = action[:, : len(self._twist_column)]
        self._move_palm_target(twist, state)
        synergy = self.synergy + SYNERGY_STEP * action[:, len(self._twist_column) :]
        self.synergy = synergy.clamp(self._lowest, self._highest)
        hand = self._open + (self.synergy[:, :, None] * self._basis).sum(1)
        arm = state.joint_pos[:, self._arm]
        self.hand_target = self._limit(hand, self.hand_target, self._hand)
        return torch.cat([self._limit(arm + self._arm_step(state), arm, self._arm), self.hand_target], 1)

    def _move_palm_target(self, twist: Tensor, state: BodyState) -> None:
        target = self.palm_target + LINEAR_STEP * twist[:, :3]
        target = target.clamp(self._box[0], self._box[1])
        ahead = target - state.palm_pos
        self.palm_target = state.palm_pos + ahead * _shorten(ahead, LEASH)
        turn = exp_matrix(TURN_STEP * twist[:, 3:])
        error = log_matrix(times(times(turn, self.palm_turn), state.palm_rot.transpose(1, 2)))
        leashed = exp_matrix(error * _shorten(error, TURN_LEASH))
        self.palm_turn = times(leashed, state.palm_rot)

    def _arm_step(self, state: BodyState) -> Tensor:
        """Joint step (N, A) toward the palm target: J^T (J J^T + lambda^2 I)^-1 e, home posture in the null space."""
        turn_error = log_matrix(times(self.palm_turn, state.palm_rot.transpose(1, 2)))
        error = torch.cat([self.palm_target - state.palm_pos, turn_error], 1)
        jacobian = palm_jacobian(state, self._slides)
        home = NULL_GAIN * (self._home - state.joint_pos[:, self._arm])
        gram = (jacobian[:, :, None, :] * jacobian[:, None, :, :]).sum(-1)
        gram = gram + self._damping
        residual = error - (jacobian * home[:, None]).sum(-1)
        weights = torch.linalg.solve_ex(gram, residual[..., None])[0][..., 0]
        return home + (jacobian * weights[..., None]).sum(1)

    def _limit(self, target: Tensor, start: Tensor, joints: slice) -> Tensor:
        """Keep targets within the published velocity and the joint range."""
        move = self._max_move[joints]
        target = start + (target - start).clamp(-move, move)
        return target.clamp(self._low[joints], self._high[joints])

    def state_dict(self) -> dict[str, Tensor]:
        """What it has integrated so far, by name."""
        names = ("palm_target", "palm_turn", "synergy", "hand_target")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what it had integrated."""
        for name, value in state.items():
            setattr(self, name, value.to(getattr(self, name).device, copy=True))


def palm_jacobian(state: BodyState, slides: Tensor | None) -> Tensor:
    """(N, 6, A): palm velocity (linear m/s, angular rad/s, world frame) by arm joint velocity (rad/s, m/s). slides
    (A, 1) bool: joints that slide along their axis instead of turning about it; None: all of them turn."""
    angular = state.joint_axis
    linear = torch.linalg.cross(angular, state.palm_pos[:, None] - state.joint_anchor)
    if slides is not None:
        linear, angular = torch.where(slides, angular, linear), torch.where(slides, 0.0, angular)
    return torch.cat([linear, angular], -1).transpose(1, 2)


def _shorten(v: Tensor, longest: float) -> Tensor:
    """(N, 1) factor that makes v at most `longest`."""
    return (longest / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
