"""PPO: the actor-critic, the rollout buffer, generalised advantages, the update and the counting of episodes."""

from .actor_critic import ActorCritic, ActorCriticConfig, Decision, Prediction
from .advantage import compute_gae
from .collect import RolloutStoppedError, collect
from .episodes import EpisodeTracker
from .ppo import PPO, AdaptiveRate, PPOConfig
from .rollout_buffer import Minibatch, RolloutBuffer, RolloutTooLargeError

__all__ = [
    "PPO",
    "ActorCritic",
    "ActorCriticConfig",
    "AdaptiveRate",
    "Decision",
    "EpisodeTracker",
    "Minibatch",
    "PPOConfig",
    "Prediction",
    "RolloutBuffer",
    "RolloutStoppedError",
    "RolloutTooLargeError",
    "collect",
    "compute_gae",
]
