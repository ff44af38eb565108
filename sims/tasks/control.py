"""From actions to joint targets: a palm twist through damped least squares, and hand synergies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...errors import HandsightError
from ..engines.engine import BodyState
from ..robots.kuka_allegro import CLOSED_HAND, HOME, OPEN_HAND, VELOCITY_LIMIT
from ..rotation import exp_matrix, log_matrix, rotate

ActionSpaceName = Literal["palm4+closure2", "palm6+synergy5"]

LINEAR_STEP, TURN_STEP, SYNERGY_STEP = 0.035, 0.15, 0.3
"""Largest change in one control step: m, rad, share of a synergy."""
LEASH, TURN_LEASH = 0.05, 0.4
"""How far the palm target may run ahead of the measured palm: m, rad."""
DAMPING, NULL_GAIN = 2e-3, 0.1
"""lambda^2 of damped least squares (Nakamura and Hanafusa 1986), and the pull toward the home posture."""
WORKSPACE_LOW, WORKSPACE_HIGH = (0.42, -0.3, 0.02), (0.92, 0.3, 0.45)
"""m: box that the palm target stays in."""


@dataclass(frozen=True)
class ActionSpace:
    """Names and meaning of the action's numbers, each in [-1, 1]."""

    name: str
    twist: tuple[str, ...]
    """Controlled parts of the palm's twist, world frame: any of x y z (LINEAR_STEP) and roll pitch yaw (TURN_STEP)."""
    synergies: tuple[tuple[float, ...], ...]
    """K x 16: change of the hand's joint angles from `OPEN_HAND` as each synergy goes from 0 to 1, rad."""
    lowest: tuple[float, ...]
    """Lower bound of each integrated synergy; the upper bound is 1."""

    @property
    def dim(self) -> int:
        """Length of the action."""
        return len(self.twist) + len(self.synergies)


def action_space(name: str) -> ActionSpace:
    """The named action space.

    `palm4+closure2`: palm x y z yaw, closing of the three fingers, closing of the thumb.
    `palm6+synergy5`: the whole palm twist, and five synergies: closing of fingers, closing of thumb, opposition of the
    thumb, spread of the fingers, curl of the tips against the knuckles.
    """
    closing = [c - o for c, o in zip(CLOSED_HAND, OPEN_HAND, strict=True)]
    fingers, thumb = (*closing[:12], 0, 0, 0, 0), (*[0.0] * 12, *closing[12:])
    match name:
        case "palm4+closure2":
            return ActionSpace(name, ("x", "y", "z", "yaw"), (fingers, thumb), (0.0, 0.0))
        case "palm6+synergy5":
            opposition = (*[0.0] * 12, -0.8, 0.4, 0.0, 0.0)
            spread = (-0.3, 0, 0, 0, 0, 0, 0, 0, 0.3, 0, 0, 0, 0, 0, 0, 0)
            curl = (0.0, -0.35, 0.3, 0.3) * 3 + (0.0, 0.0, -0.2, 0.3)
            rows = (fingers, thumb, opposition, spread, curl)
            return ActionSpace(name, ("x", "y", "z", "roll", "pitch", "yaw"), rows, (0.0, 0.0, -0.5, -1.0, -1.0))
        case _:
            raise HandsightError(f"unknown action space {name!r}; available: palm4+closure2, palm6+synergy5")


class Controller:
    """Integrates actions into a palm target and synergies, and turns both into joint targets for N worlds."""

    def __init__(self, space: ActionSpace, joint_range: Tensor, num_worlds: int, control_dt: float) -> None:
        """joint_range (23, 2) rad."""
        device = joint_range.device
        self.space = space
        axes = ("x", "y", "z", "roll", "pitch", "yaw")
        self._twist_column = torch.tensor([axes.index(axis) for axis in space.twist], device=device)
        self._basis = torch.tensor(space.synergies, device=device)
        self._lowest = torch.tensor(space.lowest, device=device)
        self._open, self._home = torch.tensor(OPEN_HAND, device=device), torch.tensor(HOME, device=device)
        self._low, self._high = joint_range[:, 0], joint_range[:, 1]
        self._max_move = torch.tensor(VELOCITY_LIMIT, device=device) * control_dt
        self._box = torch.tensor([WORKSPACE_LOW, WORKSPACE_HIGH], device=device)
        self.palm_target = torch.zeros(num_worlds, 3, device=device)
        """(N, 3) m, world frame."""
        self.palm_turn = torch.eye(3, device=device).repeat(num_worlds, 1, 1)
        """(N, 3, 3): target orientation, palm to world."""
        self.synergy = torch.zeros(num_worlds, len(space.synergies), device=device)
        """(N, K): integrated synergies."""
        self.hand_target = self._open.repeat(num_worlds, 1)
        """(N, 16) rad."""

    def reset(self, mask: Tensor, state: BodyState) -> None:
        """Targets of the masked worlds start at the measured palm with an open hand."""
        self.palm_target = torch.where(mask[:, None], state.palm_pos, self.palm_target)
        self.palm_turn = torch.where(mask[:, None, None], state.palm_rot, self.palm_turn)
        self.synergy = torch.where(mask[:, None], torch.zeros_like(self.synergy), self.synergy)
        self.hand_target = torch.where(mask[:, None], self._open, self.hand_target)

    def joint_target(self, action: Tensor, state: BodyState) -> Tensor:
        """(N, 23) rad servo targets for one control step. action (N, A) in [-1, 1]."""
        twist = torch.zeros(len(action), 6, device=action.device)
        twist[:, self._twist_column] = action[:, : len(self._twist_column)]
        self._move_palm_target(twist, state)
        self.synergy = self.synergy + SYNERGY_STEP * action[:, len(self._twist_column) :]
        self.synergy = torch.minimum(torch.maximum(self.synergy, self._lowest), torch.ones_like(self._lowest))
        hand = self._open + (self.synergy[:, :, None] * self._basis).sum(1)
        arm = state.joint_pos[:, :7] + self._arm_step(state)
        self.hand_target = self._limit(hand, self.hand_target, slice(7, 23))
        return torch.cat([self._limit(arm, state.joint_pos[:, :7], slice(0, 7)), self.hand_target], 1)

    def _move_palm_target(self, twist: Tensor, state: BodyState) -> None:
        target = self.palm_target + LINEAR_STEP * twist[:, :3]
        target = torch.minimum(torch.maximum(target, self._box[0]), self._box[1])
        ahead = target - state.palm_pos
        self.palm_target = state.palm_pos + ahead * _shorten(ahead, LEASH)
        turn = exp_matrix(TURN_STEP * twist[:, 3:])
        turned = (turn[:, :, :, None] * self.palm_turn[:, None]).sum(2)
        error = log_matrix(_times_transpose(turned, state.palm_rot))
        leashed = exp_matrix(error * _shorten(error, TURN_LEASH))
        self.palm_turn = (leashed[:, :, :, None] * state.palm_rot[:, None]).sum(2)

    def _arm_step(self, state: BodyState) -> Tensor:
        """Joint step (N, 7) toward the palm target: J^T (J J^T + lambda^2 I)^-1 e, home posture in the null space."""
        turn_error = log_matrix(_times_transpose(self.palm_turn, state.palm_rot))
        error = torch.cat([self.palm_target - state.palm_pos, turn_error], 1)
        jacobian = palm_jacobian(state)
        home = NULL_GAIN * (self._home - state.joint_pos[:, :7])
        gram = (jacobian[:, :, None, :] * jacobian[:, None, :, :]).sum(-1)
        gram = gram + DAMPING * torch.eye(6, device=gram.device)
        residual = error - (jacobian * home[:, None]).sum(-1)
        weights = torch.linalg.solve_ex(gram, residual[..., None])[0][..., 0]
        return home + (jacobian * weights[..., None]).sum(1)

    def _limit(self, target: Tensor, start: Tensor, joints: slice) -> Tensor:
        """Keep targets within the published velocity and the joint range."""
        move = self._max_move[joints]
        target = start + torch.minimum(torch.maximum(target - start, -move), move)
        return torch.minimum(torch.maximum(target, self._low[joints]), self._high[joints])

    def state_dict(self) -> dict[str, Tensor]:
        """The integrators."""
        names = ("palm_target", "palm_turn", "synergy", "hand_target")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the integrators."""
        for name, value in state.items():
            setattr(self, name, value.to(getattr(self, name).device, copy=True))


def palm_jacobian(state: BodyState) -> Tensor:
    """(N, 6, 7): palm velocity (linear m/s, angular rad/s, world frame) by arm joint velocity (rad/s)."""
    linear = torch.linalg.cross(state.joint_axis, state.palm_pos[:, None] - state.joint_anchor)
    return torch.cat([linear, state.joint_axis], -1).transpose(1, 2)


def _shorten(v: Tensor, longest: float) -> Tensor:
    """(N, 1) factor that makes v at most `longest`."""
    return (longest / v.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)


def _times_transpose(a: Tensor, b: Tensor) -> Tensor:
    """a b^T per world, without a batched matrix product."""
    return rotate(a, b).transpose(-1, -2)
