"""A named warm start for the depth teacher: DAgger from a state teacher, before PPO takes over.

Ross et al. 2011, algorithm 3.1: the policy in training visits the states, the state teacher says what it would have
done there. A teacher that began like this is not end to end; its run and its checkpoints say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import HandsightError
from ...policies.gaussian import kl_divergence, log_prob
from ...teachers import PPO, ActorCritic, Decision, Minibatch, RolloutBuffer, RolloutStoppedError
from ..runs import checkpoint
from .teacher_config import WarmStartConfig

ROLLOUT = "rollout_{:06d}.ckpt"


class WarmStart:
    """Imitates in the same loop as PPO improves: an actor to collect with, a buffer to fill, and an `update`."""

    def __init__(self, ppo: PPO, expert: ActorCritic, config: WarmStartConfig, buffers: list[RolloutBuffer]) -> None:
        """Copies the expert's normalisers, and its critic and its standard deviation where the shapes agree.

        Args:
            ppo: what takes over; its policy learns.
            expert: a state teacher without a hidden state, whose mean is imitated; on the same device.
            config: see there.
            buffers: one for each iteration.
        """
        if expert.core.hidden_size:
            raise HandsightError("warm start: expected a state teacher without memory, found a recurrent one")
        self.ppo, self.policy, self.config, self.buffers = ppo, ppo.policy, config, buffers
        self.actor = MixedActor(self.policy, expert)
        adam = torch.optim.Adam(self.policy.parameters(), lr=config.rate, fused=True)
        self.optimizer: Any = ppo.fabric.setup_optimizers(adam)
        self.updates = 0
        self.copied = _inherit(self.policy, expert)

    @property
    def done(self) -> bool:
        """Whether PPO takes over."""
        return self.updates >= self.config.iterations

    @property
    def buffer(self) -> RolloutBuffer:
        """The one to fill next."""
        self.actor.beta = max(0.0, 1 - self.updates / max(1, self.config.beta_iterations))
        return self.buffers[self.updates]

    def update(self, buffer: RolloutBuffer, stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Gradient steps on all rollouts so far, of which this one is the latest. Returns metrics by name.

        Raises:
            RolloutStoppedError: `stop`, which is asked before every gradient step, said so.
            NotFiniteError: ten gradients in a row were NaN or infinite; such a step is skipped.
        """
        self.updates += 1
        measured: list[dict[str, Tensor]] = []
        tried = 0
        while tried < self.config.gradient_steps:
            chosen = self.buffers[int(torch.randint(self.updates, ()))]
            parts = max(1, chosen.steps * chosen.num_envs // self.config.minibatch)
            _, returns = self.ppo.returns(chosen)
            for batch in chosen.minibatches(parts, returns, returns):
                if stop():
                    raise RolloutStoppedError
                tried += 1
                measured += filter(None, [self._improve(batch)])
        self.ppo.take_in(buffer)
        means = {name: float(torch.stack([one[name] for one in measured]).mean()) for name in (measured or [{}])[0]}
        means |= {"skipped": self.ppo.guard.taken()}
        return means | {"warm_start": 1.0, "beta": self.actor.beta, "lr": self.config.rate}

    def _improve(self, batch: Minibatch) -> dict[str, Tensor]:
        new, batch = self.ppo.predict(batch)
        # With a std of its own it would answer errors by noise, and noise leads to more errors, until both are lost.
        imitation = kl_divergence(batch.mean, batch.std, new.mean, batch.std).mean()
        value = (new.value - batch.returns).square().mean()
        missed = (new.auxiliary - self.policy.auxiliary_target(batch.obs)).square()
        auxiliary = missed.mean() if missed.numel() else missed.sum()
        self.optimizer.zero_grad()
        self.ppo.fabric.backward(imitation + value + auxiliary)
        actor = [value for name, value in self.policy.named_parameters() if not name.startswith("critic.")]
        parts = (self.policy.critic.parameters(), actor)  # apart: a new task's returns are far off at first
        norms = [torch.nn.utils.clip_grad_norm_(part, self.config.max_grad_norm) for part in parts]
        if not self.ppo.guard.may(torch.stack(norms).norm(), batch.valid.sum()):
            return {}
        self.optimizer.step()
        self.policy.head.clip_std()
        error = (new.mean.clamp(-1, 1) - batch.mean).square().mean()
        losses = {"loss/imitation": imitation, "loss/value": value, "loss/auxiliary": auxiliary}
        return {name: part.detach() for name, part in {**losses, "warm_start_error": error}.items()}

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and progress; the rollouts are on disk."""
        return {"optimizer": self.optimizer.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, after `read`."""
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.updates = int(state["updates"])

    def write_last(self, folder: Path) -> None:
        """Write the latest rollout, and it alone: so leaving is quick however many there are."""
        last = self.updates - 1
        checkpoint.save(folder / ROLLOUT.format(last), self.buffers[last].state_dict())

    def read(self, folder: Path) -> None:
        """Read the rollouts that `write_last` wrote back."""
        for number in range(self.updates):
            self.buffers[number].load_state_dict(checkpoint.load(folder / ROLLOUT.format(number)))


class MixedActor:
    """Acts with the expert in a random share `beta` of the environments, drawn anew at each step; reports what the
    expert would have done as the decision's mean and std, and the policy's own hidden state and value."""

    def __init__(self, policy: ActorCritic, expert: ActorCritic) -> None:
        self.policy, self.expert, self.beta = policy, expert.eval().requires_grad_(False), 1.0
        self.train_keys = tuple(dict.fromkeys((*policy.train_keys, *expert.obs_keys)))

    def act(self, obs: Mapping[str, Tensor], hidden: Tensor) -> Decision:
        """Decide for N environments: groups (N, ...), hidden (N, H) of the policy in training."""
        own = self.policy.act(obs, hidden)
        mean, std, _ = self.expert(obs, self.expert.initial_hidden(len(own.value)))
        mean = mean.clamp(-1, 1)  # as it is executed: far from its own states an expert's mean is anywhere beyond
        expert_acts = torch.rand(len(mean), 1, device=mean.device) < self.beta
        action = torch.where(expert_acts, torch.normal(mean, std), own.action)
        return own._replace(action=action, mean=mean, std=std, log_prob=log_prob(mean, std, action))

    def value(self, obs: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
        """(N,) value by the policy's critic."""
        return self.policy.value(obs, hidden)


@torch.no_grad()
def _inherit(policy: ActorCritic, expert: ActorCritic) -> list[str]:
    """Names of what the policy took over from the expert."""
    pieces = {f"normalizers.{key}": (policy.normalizers[key], expert.normalizers[key])
              for key in policy.normalizers if key in expert.normalizers}  # fmt: skip
    pieces["critic"] = (policy.critic, expert.critic)
    copied = []
    for name, (own, other) in pieces.items():
        shapes = [[tensor.shape for tensor in module.state_dict().values()] for module in (own, other)]
        if shapes[0] == shapes[1]:
            own.load_state_dict(other.state_dict())
            copied.append(name)
    policy.head.log_std.copy_(expert.head.log_std)
    policy.head.clip_std()
    return [*copied, "std"]
