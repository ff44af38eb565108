"""DAgger (Ross, Gordon, Bagnell 2011, algorithm 3.1): the student acts, the teacher says what it would have done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning
import torch
from torch import Tensor

from ...datasets.sequences import stack
from ...policies.policy import Policy, zero_where_first
from ...sims.vec_env import Step, VecEnv
from ...students import AugmentConfig, PairedAugment, StereoStudent
from ..evaluation.rollout import ask, device_of

OBJECT = "object_from_palm"
"""Part of "state" that the auxiliary head of the student predicts."""


@dataclass(frozen=True)
class DaggerConfig:
    """How states are visited and how the student is fitted to the teacher's answers."""

    beta_start: float = 1.0
    """Share of episodes that the teacher drives in the first iteration."""
    beta_iterations: int = 2
    """Iterations after which the student drives every episode; the share falls linearly until then."""
    act: Literal["mean", "sample"] = "mean"
    """Whether a driving student acts by its mean or by samples."""
    gradient_steps: int = 18
    """Per iteration."""
    batch_sequences: int = 32
    """Sequences (whole rollouts of one world) in a gradient step."""
    loss: Literal["sigma", "plain", "nll"] = "sigma"
    """"sigma": squared error of the mean in units of the teacher's standard deviation; "plain": in units of the action;
    "nll": KL(teacher || student), by which mean and standard deviation are fitted together."""
    object_weight: float = 1.0
    """Weight of the squared error, in decimetres, of the predicted object position; 0 leaves the state unused."""
    depth_weight: float = 1.0
    """Weight of the squared error of the predicted depth, in quarters of a metre, of a student with a depth head."""
    learning_rate: float = 2e-3
    """Highest rate of AdamW; rises over the first iteration and falls along a cosine to the last."""
    final_rate: float = 0.02
    """Share of `learning_rate` that is left at the end."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this Euclidean norm."""
    buffer_gib: float = 2.0
    """GiB of memory for sequences; beyond it the oldest are forgotten, or read from the disk (`spill`)."""
    spill: bool = False
    """Keep all sequences as shards in the run's folder sequences/, and read there what memory cannot hold. They stay
    when the run is over: `train-student --data` learns from them."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes to the images in training."""

    def beta(self, iteration: int) -> float:
        """Share of episodes that the teacher drives in this iteration, counted from 0."""
        return self.beta_start * max(0.0, 1.0 - iteration / max(1, self.beta_iterations))


class RolloutStopped(Exception):
    """The user asked to leave in the middle of an iteration; what it had done is forgotten."""


@torch.no_grad()
def collect(
    env: VecEnv,
    teacher: Policy,
    student: Policy,
    config: DaggerConfig,
    iteration: int,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    witness: Witness | None = None,
    driver: Policy | None = None,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """One episode's length of every world from a fresh reset, each episode driven by teacher or student.

    Args:
        env: observes what both read, and "state" if the object's position is to be learnt.
        teacher: labels every visited state, with its own memory.
        student: acts in evaluation mode.
        config: the share of the teacher, and how the student acts.
        iteration: counted from 0.
        seed: of the resets, of who drives, and of samples.
        tick: called after each step; may raise to break off.
        witness: adds columns of its own.
        driver: drives every episode, by its mean, instead of teacher and student.

    Returns:
        columns (T, N, ...) in host memory for the buffer, and metrics by name.
    """
    student.eval()
    draws = torch.Generator().manual_seed(seed)
    obs, first = env.reset(seed), torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    asked = [teacher, student] + ([driver] if driver is not None else [])
    hidden = [p.initial_hidden(env.num_envs).to(device_of(p)) for p in asked]
    beta = config.beta(iteration) if driver is None else 0.0
    share = TeacherShare(beta, env.num_envs, draws)
    rows, tally, witness = [], Tally(), witness or Witness()
    for _ in range(env.episode_steps):
        answers = [ask(policy, obs, memory) for policy, memory in zip(asked, hidden, strict=True)]
        (label, label_std), (mean, std) = ([x.to(env.device) for x in answer[:2]] for answer in answers[:2])
        teacher_drives = share.next(first)
        chosen = mean if config.act == "mean" else mean + std * torch.randn(std.shape, generator=draws).to(std)
        chosen = chosen if driver is None else answers[-1][0].to(env.device)
        action = torch.where(teacher_drives[:, None], label, chosen)
        noted = witness.before(env, obs)
        step = env.step(action)
        row = {"mean": label, "std": label_std, "first": first, "valid": step.valid, "by_teacher": teacher_drives}
        row |= outcome(action, step) | noted | witness.after(step)
        kept = {key: obs[key] for key in (*student.obs_keys, *label_groups(student))}
        rows.append(row | kept | object_position(env, obs, config))
        tally.add(label, mean, ~teacher_drives, step)
        hidden = [zero_where_first(answer[2], step.first.to(answer[2].device)) for answer in answers]
        obs, first = step.obs, step.first
        tick()
    columns = {name: column.cpu() for name, column in stack(rows).items()}
    return columns, tally.metrics() | {"beta": beta}


class TeacherShare:
    """Who drives each world: drawn where an episode opens and kept until it ends, as a policy mixed within an episode
    would visit states that neither of the two ever meets."""

    def __init__(self, beta: float, worlds: int, draws: torch.Generator) -> None:
        self.beta, self.draws = beta, draws
        self.drives = torch.zeros(worlds, dtype=torch.bool)

    def next(self, first: Tensor) -> Tensor:
        """(N,) bool: the teacher drives. first (N,) bool: an episode opens."""
        drawn = torch.rand(len(first), generator=self.draws) < self.beta
        self.drives = torch.where(first, drawn.to(first.device), self.drives.to(first.device))
        return self.drives


def label_groups(student: Policy) -> tuple[str, ...]:
    """Observation groups that serve as labels only: the depth that a student with a depth head is to predict."""
    config = student.config if isinstance(student, StereoStudent) else None
    return ("depth",) if config is not None and config.depth_head else ()


class Witness:
    """What else is noted in a rollout; this one notes nothing. Columns are (N, ...) for each step."""

    def before(self, env: VecEnv, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the observation that is acted on."""
        return {}

    def after(self, step: Step) -> dict[str, Tensor]:
        """Of what came of it."""
        return {}


def outcome(action: Tensor, step: Step) -> dict[str, Tensor]:
    """What was done, as executed, and what came of it."""
    done = step.terminated | step.truncated
    success = step.log.get("success", torch.zeros_like(done))
    return {"action": action.clamp(-1, 1), "reward": step.reward, "done": done, "success": success}


def object_position(env: VecEnv, obs: Mapping[str, Tensor], config: DaggerConfig) -> dict[str, Tensor]:
    """The label of the auxiliary head, {"object": (N, 3) metres}, or nothing if it is not learnt."""
    return {"object": obs["state"][:, env.obs_spec["state"].part(OBJECT)]} if config.object_weight else {}


class Tally:
    """What a rollout says of the student before it learns from it."""

    def __init__(self) -> None:
        self.labels: list[Tensor] = []
        self.missed: list[Tensor] = []
        self.ended, self.succeeded, self.diverged = 0, 0, 0

    def add(self, label: Tensor, mean: Tensor, student_drives: Tensor, step: Step) -> None:
        """One step of N worlds. label, mean (N, A)."""
        rows = step.valid & student_drives
        executed, intended = mean.clamp(-1, 1)[rows], label.clamp(-1, 1)[rows]
        self.labels.append(intended)
        self.missed.append(executed - intended)
        ended = (step.terminated | step.truncated) & rows
        lost = step.log.get("diverged", torch.zeros_like(ended)) & student_drives  # an aborted episode is a failure
        self.ended += int(ended.sum()) + int(lost.sum())
        self.succeeded += int((ended & step.log.get("success", torch.zeros_like(ended))).sum())
        self.diverged += int(lost.sum())

    def metrics(self) -> dict[str, float]:
        """`imitation_error`: E|a_S - a_T|^2 / Var(a_T) of executed actions, over what the student drove.

        Without a student-driven episode there is neither error nor success.
        """
        labels, missed = torch.cat(self.labels), torch.cat(self.missed)
        found = {"diverged": float(self.diverged)}
        if len(labels) > 1:
            spread = (labels - labels.mean(0)).square().sum()
            found["imitation_error"] = float(missed.square().sum() / spread.clamp(min=1e-12))
        if self.ended:
            found["success_at_end"] = self.succeeded / self.ended
        return found


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


class DistillModule(lightning.LightningModule):
    """The student as Lightning trains it: the loss of a batch of sequences, and the optimiser."""

    def __init__(self, student: StereoStudent, config: DaggerConfig, iterations: int) -> None:
        super().__init__()
        self.student, self.config = student, config
        self.warm_steps, self.total_steps = config.gradient_steps, iterations * config.gradient_steps
        self.saved: Mapping[str, Any] | None = None
        """What `learner_state` returned, for an optimiser that goes on."""
        self.measured: list[dict[str, Tensor]] = []
        self.augment = PairedAugment(config.augment) if config.augment.active else None

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """batch: columns (T, B, ...) of the buffer."""
        parts = self.losses(batch)
        row = {name: part.detach() for name, part in parts.items()}
        if "depth" in row:  # the share of depth's variance that is predicted: 0 is no better than one constant
            row["depth_explained"] = 1 - row["depth"] / (self.config.depth_weight * self.depth_spread)
        self.measured.append(row)
        return torch.stack(list(parts.values())).sum()

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, over the rows that count only. Their sum is what is minimised."""
        valid = batch["valid"]
        obs = {key: batch[key] for key in self.student.obs_keys}
        if self.augment is not None and self.training and "stereo" in obs:
            obs["stereo"] = self.augment(obs["stereo"])
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
        if output.depth is not None:
            label, known = self.student.depth_label(batch["depth"][valid])
            parts["depth"] = self.config.depth_weight * (output.depth - label)[known].square().mean()
            self.depth_spread = label[known].var(correction=0).detach()
        return parts

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The bounds of the standard deviation are kept after each step."""
        self.student.head.clip_std()

    def configure_optimizers(self) -> Any:
        """AdamW, with a rate that rises, then falls along a cosine."""
        config = self.config
        learnt = [p for p in self.student.parameters() if p.requires_grad]
        # Not the fused one: it refuses gradient clipping under mixed precision, and it pairs weights with moments by
        # their order in memory, which differs between channels-last weights and moments read from a checkpoint.
        optimizer = torch.optim.AdamW(learnt, config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        if self.saved is not None:
            optimizer.load_state_dict(self.saved["optimizer"])
            schedule.load_state_dict(dict(self.saved["schedule"]))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """Share of the highest rate at this gradient step."""
        rise = min(1.0, (step + 1) / max(1, self.warm_steps))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, self.total_steps))))
        return rise * (self.config.final_rate + (1 - self.config.final_rate) * fall)

    def learner_state(self) -> dict[str, Any]:
        """What the next gradient step depends on, beside the weights."""
        optimizer, schedule = self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler
        return {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}

    def epoch_metrics(self) -> dict[str, float]:
        """Means over the gradient steps since the last call, and the rate of the last one."""
        columns = {name: torch.stack([row[name] for row in self.measured]) for name in self.measured[0]}
        self.measured = []
        means = {f"loss/{name}": float(column.mean()) for name, column in columns.items()}
        if "loss/depth_explained" in means:
            means["depth_explained"] = means.pop("loss/depth_explained")
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return means | {"lr": rate, "std": float(self.student.head.std().detach().mean())}
