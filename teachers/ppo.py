"""PPO: several epochs of clipped policy improvement on each rollout (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from ..policies.finite import FiniteSteps
from ..policies.gaussian import entropy, kl_divergence, log_prob
from ..policies.normalize import RunningMeanStd, moments
from .actor_critic import ActorCritic, Prediction
from .advantage import compute_gae
from .collect import RolloutStoppedError
from .config import PPOConfig
from .rollout_buffer import Minibatch, RolloutBuffer


class PPO:
    """Owns the optimiser of an `ActorCritic` and turns rollouts into updates."""

    def __init__(self, policy: ActorCritic, config: PPOConfig, fabric: Fabric | None = None) -> None:
        """Without a Fabric it learns where the policy is, in full precision."""
        self.policy, self.config = policy, config
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.updates, self.rate, self.guard = 0, config.rate.initial, FiniteSteps()
        adam = torch.optim.Adam(policy.parameters(), lr=self.rate, fused=True)
        self.model, self.optimizer = self.fabric.setup(policy, adam, move_to_device=fabric is not None)
        self.model.mark_forward_method("predict")

    def update(self, buffer: RolloutBuffer, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Several epochs over one full rollout; afterwards the normalisers take it in. Returns metrics by name.

        Raises:
            RolloutStoppedError: `stop`, which is asked before every gradient step, said so.
            NotFiniteError: ten gradients in a row were NaN or infinite; such a step is skipped.
        """
        advantage, returns = self.advantages(buffer)
        totals: dict[str, Tensor] = {}
        last: list[Tensor] = []
        made = 0
        for _ in range(self.config.epochs):
            last.clear()
            for batch in buffer.minibatches(self.config.minibatches, advantage, returns):
                if stop():
                    raise RolloutStoppedError
                if measured := self.improve(batch):
                    made += 1
                    last.append(measured["kl"])
                    totals = {name: totals.get(name, 0.0) + value for name, value in measured.items()}
        if self.config.rate.every == "update" and last:
            self._adapt(torch.stack(last).mean())
        self.take_in(buffer)
        self.updates += 1
        metrics = {name: float(total) / made for name, total in totals.items()}
        residual = (returns - buffer.value)[buffer.valid].var() / returns[buffer.valid].var().clamp(min=1e-8)
        metrics |= {"skipped": self.guard.taken(), "lr": self.rate, "explained_variance": 1 - float(residual)}
        return metrics | {"std": float(self.policy.head.std().detach().mean())}

    def advantages(self, buffer: RolloutBuffer) -> tuple[Tensor, Tensor]:
        """Normalised advantages and returns, both (T, N)."""
        advantage, returns = self.returns(buffer)
        usable = advantage[buffer.valid]
        mean, std = usable.mean(), usable.std(correction=0)
        if self.fabric.world_size > 1:
            everywhere = self._everywhere(moments(usable[:, None]))
            mean, std = everywhere.mean.float(), everywhere.variance.sqrt().float()
        return (advantage - mean) / (std + 1e-8), returns

    def _everywhere(self, mine: Tensor) -> RunningMeanStd:
        """Mean and variance over the rows of all ranks, which weigh the same. mine: `moments` of this rank's."""
        merged = RunningMeanStd(len(mine) // 2).to(mine.device)
        gathered: Any = self.fabric.all_gather(mine)
        for one in gathered.reshape(-1, len(mine)):
            merged.merge(one)
        return merged

    def _weight(self, batch: Minibatch) -> tuple[Tensor | float, Tensor]:
        """What this rank's mean loss is multiplied with, so that DDP's mean over ranks is one over all rows: they have
        different numbers of valid ones; and the mean number of these."""
        rows = batch.valid.sum().float()
        if self.fabric.world_size == 1:
            return 1.0, rows
        mean: Any = self.fabric.all_reduce(rows.clone(), reduce_op="mean")
        return rows / mean.clamp(min=1.0), mean

    def returns(self, buffer: RolloutBuffer) -> tuple[Tensor, Tensor]:
        """Advantages and returns, both (T, N), of the scaled rewards."""
        return compute_gae(
            buffer.reward * self.config.reward_scale,
            buffer.value,
            buffer.last_value,
            buffer.terminated,
            buffer.truncated,
            buffer.valid,
            self.config.gamma,
            self.config.lam,
        )

    def improve(self, batch: Minibatch) -> dict[str, Tensor]:
        """One gradient step. Returns what was measured on the way; nothing if its gradient was not finite."""
        loss, measured = self.loss(batch)
        weight, rows = self._weight(batch)
        measured["kl"] = measured["kl"] * weight
        if self.config.rate.every == "minibatch":
            self._adapt(measured["kl"])
        self.optimizer.zero_grad()
        self.fabric.backward(loss * weight)
        norm = self._clip_gradients()
        if not self.guard.may(norm, rows):
            return {}
        self.optimizer.step()
        self.policy.head.clip_std()
        return measured | {"grad_norm": norm}

    def _clip_gradients(self) -> Tensor:
        """Scale the gradients down; returns their norm before."""
        critic = list(self.policy.critic.parameters())
        members = {id(parameter) for parameter in critic}
        rest = [parameter for parameter in self.policy.parameters() if id(parameter) not in members]
        parts = (critic, rest) if self.config.clip_critic_apart else ([*critic, *rest],)
        norms = [torch.nn.utils.clip_grad_norm_(part, self.config.max_grad_norm) for part in parts]
        return torch.stack(norms).norm()

    def loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to descend, and its parts by name."""
        config = self.config
        new, batch = self.predict(batch)
        ratio = (log_prob(new.mean, new.std, batch.action) - batch.log_prob).exp()
        policy = clipped_surrogate(ratio, batch.advantage, config.clip).mean()
        value = value_error(new.value, batch.value, batch.returns, config.value_clip).mean()
        bonus = entropy(new.std).mean()
        missed = (new.auxiliary - self.policy.auxiliary_target(batch.obs)).square()
        auxiliary = missed.mean() if missed.numel() else missed.sum()
        # A weight of zero, and not a shorter sum, so that every parameter has a gradient: DDP waits for each of them.
        improving = float(self.updates >= config.aux_warmup_iterations)
        loss = (
            improving * (policy - config.entropy_coefficient * bonus)
            + config.value_coefficient * value
            + config.auxiliary_coefficient * auxiliary
        )
        with torch.no_grad():
            kl = kl_divergence(batch.mean, batch.std, new.mean, new.std).mean()
            clipped = ((ratio - 1).abs() > config.clip).float().mean()
        measured = {"loss/policy": policy, "loss/value": value, "kl": kl, "entropy": bonus, "clip_fraction": clipped}
        if missed.numel():
            measured["loss/auxiliary"] = auxiliary
        return loss, {name: part.detach() for name, part in measured.items()}

    def predict(self, batch: Minibatch) -> tuple[Prediction, Minibatch]:
        """What the present weights say of the rows that may be learnt from, and those rows, both (B,)."""
        with self.fabric.autocast():
            new = self.model.predict(batch.obs, batch.hidden, batch.first)
        if new.value.ndim == 1:
            return new, batch
        return Prediction(*(part[batch.valid] for part in new)), batch.usable()

    def take_in(self, buffer: RolloutBuffer) -> None:
        """Let the normalisers see a rollout. After the update: during it the policy must be the one that acted."""
        mine = self.policy.observed(buffer.obs, buffer.valid)
        gathered: Any = self.fabric.all_gather(mine)
        for rank in range(self.fabric.world_size):
            self.policy.normalise(
                {key: all_of.reshape(-1, mine[key].shape[0])[rank] for key, all_of in gathered.items()}
            )

    def _adapt(self, kl: Tensor) -> None:
        if self.updates < self.config.aux_warmup_iterations or self.config.rate.target_kl is None:
            return
        mean: Any = self.fabric.all_reduce(kl, reduce_op="mean")
        self.set_rate(self.config.rate.next(self.rate, float(mean)))

    def set_rate(self, rate: float) -> None:
        """Set Adam's learning rate."""
        self.rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """What the next update depends on, beside the policy's weights."""
        return {"optimizer": self.optimizer.state_dict(), "rate": self.rate, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.updates = int(state["updates"])
        self.set_rate(float(state["rate"]))


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Minus the pessimistic one of the plain and the clipped objective (Schulman et al. 2017, eq. 7)."""
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def value_error(value: Tensor, old: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """Squared error; with `clip`, the larger one of it and of that of a value that moved at most `clip`."""
    error = (value - returns).square()
    if clip is None:
        return error
    return torch.maximum(error, (old + (value - old).clamp(-clip, clip) - returns).square())
