"""`ActorCritic`: a policy that sees what it may, beside a critic that sees everything."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from ..errors import HandsightError
from ..policies.gaussian import GaussianHead, log_prob
from ..policies.normalize import RunningMeanStd, moments
from ..policies.policy import Policy
from ..policies.recurrent import RecurrentCore
from ..sims.vec_env import ArraySpec
from .config import ActorCriticConfig

Observation = Mapping[str, Tensor]


class ActorCriticError(HandsightError):
    """A policy was asked for observations that the environment does not give, or cannot be read."""


class Decision(NamedTuple):
    """What was decided in each environment, with what the learner must remember of it."""

    action: Tensor
    """(N, A) drawn action, in units of the action range."""
    log_prob: Tensor
    """(N,) log density of the action."""
    mean: Tensor
    """(N, A) mean of the policy."""
    std: Tensor
    """(N, A) standard deviation of the policy."""
    value: Tensor
    """(N,) the critic's value."""
    hidden: Tensor
    """(N, H) hidden state after the step."""


class Prediction(NamedTuple):
    """What the learner needs of a minibatch, with gradients; leading axes (B,) or (T, B)."""

    mean: Tensor
    """(..., A) mean of the policy."""
    std: Tensor
    """(..., A) standard deviation of the policy."""
    value: Tensor
    """(...) the critic's value."""
    auxiliary: Tensor
    """(..., P) predicted parts of the state, normalised; P is 0 without an auxiliary head."""


class ActorCritic(Policy):
    """Actor and critic share only the normalisers; the critic is shown a recurrent actor's hidden state, detached."""

    config_class = ActorCriticConfig

    def __init__(self, config: ActorCriticConfig, obs_spec: Mapping[str, ArraySpec], action_dim: int) -> None:
        super().__init__()
        self.config, self.obs_keys = config, tuple(config.actor_keys)
        self.train_keys = config.train_keys
        self._check(obs_spec)
        self.flat_keys = tuple(key for key in self.obs_keys if len(obs_spec[key].shape) == 1)
        self.normalizers = nn.ModuleDict(
            {
                key: RunningMeanStd(obs_spec[key].shape[0], config.observation_clip)
                for key in self.train_keys
                if len(obs_spec[key].shape) == 1
            }
        )
        features = sum(obs_spec[key].shape[0] for key in self.flat_keys)
        self.depth: DepthEncoder | None = None
        if "depth" in self.obs_keys:
            self.depth = DepthEncoder(obs_spec["depth"].shape, config)
            features += config.depth_features
        self.core = RecurrentCore(config.recurrent, features, config.recurrent_size)
        slices = [obs_spec["state"].part(name) for name in config.auxiliary]
        self.auxiliary_index = [i for piece in slices for i in range(piece.start, piece.stop)]
        targets, seen = len(self.auxiliary_index), self.core.output_size
        self.auxiliary = mlp(seen, (config.hidden[-1],), targets) if targets else None
        self.trunk = mlp(seen + targets, config.hidden, activation=config.activation)
        self.head = GaussianHead(config.hidden[-1], action_dim, config.initial_std, config.min_std, config.max_std)
        nn.init.orthogonal_(self.head.mean.weight, 0.01)
        nn.init.zeros_(self.head.mean.bias)
        privileged = sum(obs_spec[key].shape[0] for key in config.critic_keys)
        self.critic = mlp(privileged + self.core.read_size, config.hidden, 1, config.activation)

    def _check(self, obs_spec: Mapping[str, ArraySpec]) -> None:
        for key in self.train_keys:
            if key not in obs_spec:
                raise ActorCriticError(f"ActorCritic: no observation group {key!r}; available: {', '.join(obs_spec)}")
            images = ("depth",) if key not in self.config.critic_keys else ()
            if len(obs_spec[key].shape) != 1 and key not in images:
                raise ActorCriticError(
                    f"ActorCritic: group {key!r} has shape {obs_spec[key].shape}; "
                    "expected flat groups, and for the actor also 'depth'"
                )

    def initial_hidden(self, n: int) -> Tensor:
        return self.core.initial_hidden(n).to(self.head.log_std.device)

    def forward(self, obs: Observation, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen, hidden = self.core.step(self.features(obs), hidden)
        mean, std, _ = self._act(seen)
        return mean, std, hidden

    def act(self, obs: Observation, hidden: Tensor) -> Decision:
        """One step with an action drawn from the global random stream, and the value of where it was taken."""
        mean, std, after = self(obs, hidden)
        action = torch.randn_like(mean) * std + mean  # as torch.normal, which asks a GPU whether std is positive
        return Decision(action, log_prob(mean, std, action), mean, std, self.value(obs, hidden), after)

    def value(self, obs: Observation, hidden: Tensor) -> Tensor:
        """(...) value of the critic's observation groups and of the hidden state (..., H) that the policy came with."""
        inputs = [self.normalizers[key](obs[key]) for key in self.config.critic_keys]
        memory = self.core.read(hidden).detach()
        return self.critic(torch.cat([*inputs, memory], dim=-1)).squeeze(-1).float()

    def predict(self, obs: Observation, hidden: Tensor, first: Tensor) -> Prediction:
        """What the present weights say of a minibatch.

        Args:
            obs: groups (B, ...) without memory; (T, B, ...) with one.
            hidden: (B, H) hidden state before the first row.
            first: (T, B) bool: a new episode opens with this row; ignored without memory.
        """
        features = self.features(obs)
        if self.core.hidden_size:
            seen, before = self.core.sequence(features, hidden, first)
        else:
            seen, before = features, hidden
        mean, std, auxiliary = self._act(seen)
        return Prediction(mean, std, self.value(obs, before), auxiliary)

    def features(self, obs: Observation) -> Tensor:
        """(..., F): the depth image's features, if any, beside the normalised flat groups."""
        flat = [self.normalizers[key](obs[key]) for key in self.flat_keys]
        images = [] if self.depth is None else [self.depth(obs["depth"])]
        return torch.cat([*images, *flat], dim=-1)

    def _act(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.auxiliary is None:
            return *self.head(self.trunk(seen)), seen[..., :0]
        guess = self.auxiliary(seen)
        return *self.head(self.trunk(torch.cat([seen, guess.detach()], dim=-1))), guess.float()

    def auxiliary_target(self, obs: Observation) -> Tensor:
        """(..., P): the true parts of the state, normalised as the critic sees them."""
        if not self.auxiliary_index:
            return next(iter(obs.values())).new_zeros(())
        return self.normalizers["state"](obs["state"])[..., self.auxiliary_index]

    def observed(self, obs: Observation, valid: Tensor) -> dict[str, Tensor]:
        """Moments of the rows of flat groups (..., D) where valid (...), by group: what `normalise` takes in."""
        return {key: moments(obs[key][valid]) for key in self.normalizers}

    def normalise(self, seen: Mapping[str, Tensor]) -> None:
        """Move the normalisers on by the moments (2 D + 1,) of each group."""
        for key, one in seen.items():
            normalizer = self.normalizers[key]
            assert isinstance(normalizer, RunningMeanStd)
            normalizer.merge(one)


class DepthEncoder(nn.Module):
    """Convolutions over one depth image of even height and width.

    The first one works on blocks of 2 x 2 pixels laid out as four channels: it is a 6 x 6 convolution of stride 2, and
    faster than a 5 x 5 one, which like every convolution of a single channel wastes most of the vector unit.
    """

    def __init__(self, shape: tuple[int, ...], config: ActorCriticConfig) -> None:
        super().__init__()
        if shape[1] % 2 or shape[2] % 2:
            raise ActorCriticError(f"DepthEncoder: expected an image of even height and width, found {shape[1:]}")
        self.limit = round(config.depth_max_m * 1000)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise((4 * shape[0], *config.depth_channels))):
            layers += [nn.Conv2d(before, after, 3, stride=2 if i else 1, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            width = self.convolutions(torch.zeros(1, 4 * shape[0], shape[1] // 2, shape[2] // 2)).shape[1]
        self.project = nn.Sequential(nn.Linear(width, config.depth_features), nn.ELU())

    def forward(self, depth: Tensor) -> Tensor:
        """depth (..., 1, H, W) int16 millimetres, 0 = no return -> (..., depth_features)."""
        images = depth.flatten(0, -4)
        blocks = pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last).float()
        far = blocks.masked_fill(blocks == 0, self.limit).clamp_(max=self.limit)  # onnxruntime has no Where of int16
        unit = far.mul_(2 / self.limit).sub_(1)
        return self.project(self.convolutions(unit)).unflatten(0, depth.shape[:-3])


ACTIVATIONS = {"elu": nn.ELU, "gelu": nn.GELU, "relu": nn.ReLU, "selu": nn.SELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int = 0, activation: str = "elu") -> nn.Sequential:
    """Linear layers with an activation after each; with `outputs`, a last linear layer without one."""
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        linear = nn.Linear(before, after)
        nn.init.orthogonal_(linear.weight, 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    if outputs:
        layers.append(nn.Linear(hidden[-1], outputs))
    return nn.Sequential(*layers)
