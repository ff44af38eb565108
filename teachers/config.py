"""What a teacher is and how it learns: `ActorCriticConfig`, `PPOConfig` and its `AdaptiveRate`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ..policies.memory import Memory
from ..ranges import Checked, Count, LearningRate, Share, Spread, Weight, Width, Within


@dataclass(frozen=True)
class ActorCriticConfig(Checked):
    """What the actor and the critic see and how large they are."""

    actor_keys: tuple[str, ...] = ("state", "proprio")
    """Observation groups of the actor: flat ones, and "depth"."""
    critic_keys: tuple[str, ...] = ("state", "proprio")
    """Observation groups of the critic: flat ones."""
    hidden: tuple[Width, ...] = (256, 128)
    """Widths of the layers of the actor's and of the critic's trunk."""
    activation: Literal["elu", "gelu", "relu", "selu", "silu", "tanh"] = "elu"
    """What follows each of these layers."""
    recurrent: Memory = "none"
    """Memory between the actor's features and its trunk: "none", "gru" or "lstm"."""
    recurrent_size: Width = 128
    """Width of that memory."""
    depth_channels: tuple[Width, ...] = (16, 32, 32)
    """Channels of the convolutions over the depth image; first 6 x 6 pixels, then 3 x 3, all stride 2."""
    depth_features: Width = 128
    """Width of what the depth encoder gives."""
    depth_max_m: Annotated[float, Within(0.1, 32)] = 0.6
    """Metres; depth beyond it, and pixels without a return, count as this far."""
    auxiliary: tuple[str, ...] = ()
    """Parts of "state" that the actor learns to predict and, detached, gets to see, e.g. ("object_from_palm",)."""
    initial_std: Spread = 0.6
    """Standard deviation of the actions at the start, in units of the action range [-1, 1]."""
    min_std: Spread = 0.05
    """Least standard deviation of the actions."""
    max_std: Spread = 1.0
    """Greatest standard deviation of the actions."""
    observation_clip: Annotated[float, Within(0.1, 1000)] = 10.0
    """Normalised observations are clipped at +- this many standard deviations."""

    @property
    def train_keys(self) -> tuple[str, ...]:
        """Observation groups needed in training: the actor's, the critic's and, for the auxiliary head, "state"."""
        targets = ("state",) if self.auxiliary else ()
        return tuple(dict.fromkeys((*self.actor_keys, *self.critic_keys, *targets)))


@dataclass(frozen=True)
class AdaptiveRate(Checked):
    """A learning rate that keeps each update's divergence from the old policy near a target."""

    initial: LearningRate = 5e-4
    """Adam's learning rate at the start."""
    target_kl: Annotated[float | None, Within(1e-12, 10)] = 0.016
    """Nats per update, KL(old || new); None keeps the rate as it is."""
    raise_below: Share = 0.5
    """The rate is raised when the KL is below this share of the target."""
    lower_above: Annotated[float, Within(1, 1000)] = 2.0
    """The rate is lowered when the KL is above this multiple of the target."""
    up: Annotated[float, Within(1, 100)] = 1.5
    """Factor by which it is raised."""
    down: Annotated[float, Within(1, 100)] = 1.5
    """Factor by which it is lowered."""
    minimum: LearningRate = 1e-5
    """Floor of the rate."""
    maximum: LearningRate = 1e-2
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
class PPOConfig(Checked):
    """How a rollout becomes gradient steps."""

    gamma: Share = 0.985
    """Discount per control step."""
    lam: Share = 0.95
    """Lambda of GAE: weight of longer horizons."""
    epochs: Annotated[int, Within(1, 1000)] = 4
    """Passes over each rollout."""
    minibatches: Count = 4
    """Gradient steps per pass."""
    clip: Annotated[float, Within(0.001, 10)] = 0.2
    """The probability ratio is clipped to 1 +- clip."""
    value_clip: Annotated[float | None, Within(0.001, 1e6)] = None
    """The value may leave its old one by this much per update, in units of the scaled return; None for no limit. At
    .2 a value that has to grow to 20 takes a hundred updates, and some seeds never find the grasp."""
    value_coefficient: Weight = 1.0
    """Weight of the squared value error."""
    entropy_coefficient: Weight = 0.0
    """Weight of the entropy bonus, per nat."""
    auxiliary_coefficient: Weight = 1.0
    """Weight of the squared error of the predicted state, in squared standard deviations."""
    aux_warmup_iterations: Annotated[int, Within(0, 1_000_000)] = 0
    """Updates at the start that train the value and the auxiliary head only."""
    max_grad_norm: Annotated[float, Within(1e-6, 1e6)] = 1.0
    """Gradients are scaled down to this Euclidean norm."""
    clip_critic_apart: bool = True
    """Whether the critic's gradients have this norm to themselves, so that a value that is far off does not drown what
    the actor learns; else all of them share it. Where they share it, the value's gradients grow to twenty times the
    norm once the grasp is found, and it is learnt late or never (`benchmarks/peers.py` measures both)."""
    reward_scale: Annotated[float, Within(1e-6, 1e6)] = 1.0
    """Factor on the reward before learning; reported returns are unscaled."""
    rate: AdaptiveRate = field(default_factory=AdaptiveRate)
    """How the learning rate moves."""
