"""What a teacher is and how it learns: `ActorCriticConfig`, `PPOConfig` and its `AdaptiveRate`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..policies.memory import Memory


@dataclass(frozen=True)
class ActorCriticConfig:
    """What the actor and the critic see and how large they are."""

    actor_keys: tuple[str, ...] = ("state", "proprio")
    """Observation groups of the actor: flat ones, and "depth"."""
    critic_keys: tuple[str, ...] = ("state", "proprio")
    """Observation groups of the critic: flat ones."""
    hidden: tuple[int, ...] = (256, 128)
    """Widths of the ELU layers of the actor's and of the critic's trunk."""
    recurrent: Memory = "none"
    """Memory between the actor's features and its trunk: "none", "gru" or "lstm"."""
    recurrent_size: int = 128
    """Width of that memory."""
    depth_channels: tuple[int, ...] = (16, 32, 32)
    """Channels of the convolutions over the depth image; first 6 x 6 pixels, then 3 x 3, all stride 2."""
    depth_features: int = 128
    """Width of what the depth encoder gives."""
    depth_max_m: float = 0.6
    """Metres; depth beyond it, and pixels without a return, count as this far."""
    auxiliary: tuple[str, ...] = ()
    """Parts of "state" that the actor learns to predict and, detached, gets to see, e.g. ("object_from_palm",)."""
    initial_std: float = 0.6
    """Standard deviation of the actions at the start, in units of the action range [-1, 1]."""
    min_std: float = 0.05
    """Least standard deviation of the actions."""
    max_std: float = 1.0
    """Greatest standard deviation of the actions."""
    observation_clip: float = 10.0
    """Normalised observations are clipped at +- this many standard deviations."""

    @property
    def train_keys(self) -> tuple[str, ...]:
        """Observation groups needed in training: the actor's, the critic's and, for the auxiliary head, "state"."""
        targets = ("state",) if self.auxiliary else ()
        return tuple(dict.fromkeys((*self.actor_keys, *self.critic_keys, *targets)))


@dataclass(frozen=True)
class AdaptiveRate:
    """A learning rate that keeps each update's divergence from the old policy near a target."""

    initial: float = 5e-4
    """Adam's learning rate at the start."""
    target_kl: float | None = 0.016
    """Nats per update, KL(old || new); None keeps the rate as it is."""
    raise_below: float = 0.5
    """The rate is raised when the KL is below this share of the target."""
    lower_above: float = 2.0
    """The rate is lowered when the KL is above this multiple of the target."""
    up: float = 1.5
    """Factor by which it is raised."""
    down: float = 1.5
    """Factor by which it is lowered."""
    minimum: float = 1e-5
    """Floor of the rate."""
    maximum: float = 1e-2
    """Cap of the rate."""
    every: Literal["minibatch", "update"] = "minibatch"
    """When it moves: on the KL seen before each gradient step, or on that of the last epoch, once per update."""

    def next(self, rate: float, kl: float) -> float:
        """The rate after a KL was measured."""
        if self.target_kl is None:
            return rate
        if kl > self.lower_above * self.target_kl:
            return max(rate / self.down, self.minimum)
        if kl < self.raise_below * self.target_kl:
            return min(rate * self.up, self.maximum)
        return rate


@dataclass(frozen=True)
class PPOConfig:
    """How a rollout becomes gradient steps."""

    gamma: float = 0.985
    """Discount per control step."""
    lam: float = 0.95
    """Lambda of GAE: weight of longer horizons."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Gradient steps per pass."""
    clip: float = 0.2
    """The probability ratio is clipped to 1 +- clip."""
    value_clip: float | None = None
    """The value may leave its old one by this much per update, in units of the scaled return; None for no limit. At
    .2 a value that has to grow to 20 takes a hundred updates, and some seeds never find the grasp."""
    value_coefficient: float = 1.0
    """Weight of the squared value error."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus, per nat."""
    auxiliary_coefficient: float = 1.0
    """Weight of the squared error of the predicted state, in squared standard deviations."""
    aux_warmup_iterations: int = 0
    """Updates at the start that train the value and the auxiliary head only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this Euclidean norm."""
    clip_critic_apart: bool = False
    """Whether the critic's gradients have this norm to themselves, so that a value that is far off does not drown what
    the actor learns; else all of them share it."""
    reward_scale: float = 1.0
    """Factor on the reward before learning; reported returns are unscaled."""
    rate: AdaptiveRate = field(default_factory=AdaptiveRate)
    """How the learning rate moves."""
