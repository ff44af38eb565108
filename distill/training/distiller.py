"""`Distiller`: the loss of labelled sequences, and the optimiser by which a student comes to do as its teacher does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.fabric import Fabric
from tensordict import TensorDict
from torch import Tensor

from ...policies.finite import FiniteSteps, check_finite, finite
from ...students import PairedAugment, StereoStudent
from ..runs.policy_io import policy_tree
from .student_config import DaggerConfig


class Distiller:
    """Owns the optimiser of a student and turns batches of labelled sequences into gradient steps, as `PPO` does with
    rollouts."""

    def __init__(
        self, student: StereoStudent, config: DaggerConfig, iterations: int, fabric: Fabric | None = None
    ) -> None:
        """Without a Fabric it learns on the CPU, in full precision.

        Args:
            student: is moved to the Fabric's device.
            config: loss, optimiser and augmentation.
            iterations: calls of `fit` in all, over which the learning rate falls.
            fabric: device and precision.
        """
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.student, self.config = student.to(self.fabric.device), config
        self.warm_steps, self.total_steps = config.gradient_steps, iterations * config.gradient_steps
        self.augment = PairedAugment(config.augment) if config.augment.active else None
        learnt = [p for p in student.parameters() if p.requires_grad]
        # Not the fused one: it refuses gradient clipping under mixed precision, and it pairs weights with moments by
        # their order in memory, which differs between channels-last weights and moments read from a checkpoint.
        adam = torch.optim.AdamW(learnt, config.learning_rate, weight_decay=config.weight_decay)
        self.guard = FiniteSteps()
        self.schedule = torch.optim.lr_scheduler.LambdaLR(adam, self._rate)
        self.optimizer: Any = self.fabric.setup_optimizers(adam)

    def fit(self, batches: Iterable[Mapping[str, Tensor]], tick: Callable[[], None] = lambda: None) -> dict[str, float]:
        """One gradient step for each batch. Returns the means of the losses, the rate and the standard deviation.

        Args:
            batches: columns (T, B, ...) of labelled sequences each, on any device.
            tick: called after each step; may raise to break off.

        Raises:
            NotFiniteError: ten gradients in a row were NaN or infinite; such a step is skipped. Or the student answers
                like that in the end.
        """
        self.student.train()
        measured, batch = [], {}
        for batch in batches:
            measured += filter(None, [self.improve(self.fabric.to_device(batch))])
            tick()
        means = {name: float(torch.stack([row[name] for row in measured]).mean()) for name in (measured or [{}])[0]}
        self._check(batch)
        rate = self.optimizer.param_groups[0]["lr"]
        means |= {"skipped": self.guard.taken(), "lr": rate}
        return means | {"std": float(self.student.head.std().detach().mean())}

    @torch.no_grad()
    def _check(self, batch: Mapping[str, Tensor]) -> None:
        """Whether the student's answers to the first observations of a sequence are finite."""
        obs = {key: finite(batch[key][0, :1]).to(self.fabric.device) for key in self.student.obs_keys}
        self.student.eval()
        check_finite("student", self.student(TensorDict(obs, [1]), self.student.initial_hidden(1)))

    def improve(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step on columns (T, B, ...). Returns what was measured on the way, by the name of its metric;
        nothing if its gradient was not finite."""
        device = self.fabric.device.type
        # Mixed: weights are cast at each use, as gradients of one cast for all steps would be summed in bfloat16.
        with (
            self.fabric.autocast(),
            torch.autocast(device, enabled=torch.is_autocast_enabled(device), cache_enabled=False),
        ):
            parts = self.losses(batch)
            loss = torch.stack(list(parts.values())).sum()
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(
            self.student, self.optimizer, max_norm=self.config.max_grad_norm, error_if_nonfinite=False
        )
        if not self.guard.may(norm, batch["valid"].sum()):
            self.schedule.step()  # it counts the steps that are given
            return {}
        self.optimizer.step()
        self.schedule.step()
        self.student.head.clip_std()
        row = {f"loss/{name}": part.detach() for name, part in parts.items()}
        if "depth" in parts:  # the share of depth's variance that is predicted: 0 is no better than one constant
            row["depth_explained"] = 1 - row["loss/depth"] / (self.config.depth_weight * self.depth_spread)
        return row

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, over the rows that count only; their sum is what is minimised.

        Args:
            batch: columns (T, B, ...): the student's observation groups, `first` and `valid` bool, the teacher's `mean`
                and `std` (T, B, A), and `object` (T, B, 3) metres and `depth` (T, B, 1, H, W) int16 millimetres where
                these are learnt.
        """
        valid, depth = batch["valid"], batch.get("depth")
        obs = {key: batch[key] for key in self.student.obs_keys}
        if self.augment is not None and self.student.training and "stereo" in obs:
            obs["stereo"], depth = self.augment(obs["stereo"], depth)
        output = self.student.sequence(obs, batch["first"], valid)
        label_std, std = batch["std"][valid], output.std[valid]
        error = executed_error(output.mean[valid], batch["mean"][valid])
        match self.config.loss:
            case "sigma":
                parts = {"action": (error / label_std).square().mean()}
            case "plain":
                parts = {"action": error.square().mean()}
            case "nll":
                parts = {"action": divergence(error, label_std, std).mean()}
        if self.config.loss != "nll":  # the spread is fitted beside the mean, without moving it
            parts["spread"] = divergence(error.detach(), label_std, std).mean()
        if self.config.object_weight:
            missed = 10 * (output.object_position[valid] - batch["object"][valid])
            parts["object"] = self.config.object_weight * missed.square().mean()
        if output.depth is not None and depth is not None:
            label, known = self.student.depth_label(depth[valid])
            parts["depth"] = self.config.depth_weight * (output.depth - label)[known].square().mean()
            self.depth_spread = label[known].var(correction=0).detach()
        return parts

    def _rate(self, step: int) -> float:
        """Share of the highest rate at this gradient step."""
        rise = min(1.0, (step + 1) / max(1, self.warm_steps))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, self.total_steps))))
        return rise * (self.config.final_rate + (1 - self.config.final_rate) * fall)

    def checkpoint(self, signature: Mapping[str, Any], env_config: Any, teacher: Mapping[str, Any]) -> dict[str, Any]:
        """The student as `load_policy` reads it, with what its next gradient step depends on.

        Args:
            signature: of the training environment.
            env_config: that environment's configuration, a dataclass.
            teacher: whose answers are learnt, {"path", "sha256"}.
        """
        config, actions = self.student.config, self.student.head.mean.out_features
        config = replace(config, backbone=replace(config.backbone, pretrained=False))  # its weights come along
        tree = policy_tree(self.student, config, actions, signature, env_config, self.student.obs_keys)
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        return tree | {"learner": state if self.schedule.last_epoch else None, "teacher": dict(teacher)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where `checkpoint` was taken."""
        self.student.load_state_dict(saved["policy"]["weights"])
        if saved["learner"] is not None:
            self.optimizer.load_state_dict(saved["learner"]["optimizer"])
            self.schedule.load_state_dict(dict(saved["learner"]["schedule"]))


def executed_error(mean: Tensor, label: Tensor) -> Tensor:
    """mean - label (..., A), zero where both lie beyond the same end of the action range: the environment executes the
    same there. Where only the student does, the gradient still leads it back, which clipping both would not."""
    intended = label.clamp(-1, 1)
    same = ((mean >= 1) & (intended >= 1)) | ((mean <= -1) & (intended <= -1))
    return torch.where(same, 0.0, mean - intended)


def divergence(error: Tensor, label_std: Tensor, std: Tensor) -> Tensor:
    """(...) KL(teacher || student) of two diagonal Gaussians whose means are `error` apart; all (..., A)."""
    spread = (label_std.square() + error.square()) / (2 * std.square())
    return (std.log() - label_std.log() + spread - 0.5).sum(-1)
