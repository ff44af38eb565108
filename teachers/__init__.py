"""PPO: the actor-critic, the rollout buffer, generalised advantages, the update and the counting of episodes."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .actor_critic import ActorCritic, Decision, Prediction
    from .advantage import compute_gae
    from .collect import RolloutStoppedError, collect
    from .config import ActorCriticConfig, AdaptiveRate, PPOConfig
    from .episodes import EpisodeTracker
    from .ppo import PPO
    from .rollout_buffer import Minibatch, RolloutBuffer, RolloutTooLargeError

lazy.attach(__name__)
