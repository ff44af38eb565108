"""`StereoStudent`: the policy that must look for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import plugins
from ..errors import HandsightError, unknown
from ..policies.gaussian import GaussianHead
from ..policies.normalize import RunningMeanStd
from ..policies.policy import Policy
from ..policies.recurrent import RecurrentCore
from ..sims.vec_env import ArraySpec
from .backbone import DEPTH_MEAN, DEPTH_STD, Backbone
from .config import VECTORS, StudentConfig
from .fusion import Concat, Correlation, CrossAttention, DepthHead, depth_target

Observation = Mapping[str, Tensor]
OBJECT_UNIT = 0.1
"""Metres: the object head works in this unit, in which its targets are near one."""


class StudentError(HandsightError):
    """A student was asked to see what the environment does not give, or is built from parts that do not fit."""


class StudentOutput(NamedTuple):
    """What the student says of every row of a sequence, with gradients."""

    mean: Tensor
    """(T, B, A) of the action."""
    std: Tensor
    """(T, B, A) of the action."""
    object_position: Tensor
    """(T, B, 3) metres, in the palm's frame."""
    depth: Tensor | None = None
    """(rows that count, h, w) of the left eye, as `depth_label` gives it; None without a depth head."""


class StereoStudent(Policy):
    """Two eyes through one backbone, fused with what the robot feels, remembered, and turned into an action."""

    config_class = StudentConfig

    def __init__(self, config: StudentConfig, obs_spec: Mapping[str, ArraySpec], action_dim: int) -> None:
        """Build for an environment.

        Args:
            config: what it sees and how large it is.
            obs_spec: of the environment; must have `config.obs_keys`.
            action_dim: A.

        Raises:
            StudentError: a group is not there or not of the expected form.
            BackboneError: the backbone does not exist or cannot take the images.
        """
        super().__init__()
        self.config, self.obs_keys = config, config.obs_keys
        _check(config, obs_spec)
        self.normalize = nn.ModuleDict({key: RunningMeanStd(obs_spec[key].shape[0]) for key in config.felt})
        proprio = sum(obs_spec[key].shape[0] for key in config.felt)
        self.feel = nn.Sequential(nn.Linear(proprio, config.proprio_features), nn.ELU())
        if config.sight in VECTORS:
            width = obs_spec[config.sight].shape[0]
            self.normalize[config.sight] = RunningMeanStd(width)
            self.see = nn.Sequential(nn.Linear(width, config.image_features), nn.ELU())
            self.see.append(nn.Linear(config.image_features, config.image_features))
        else:
            *_, channels, height, image_width = obs_spec[self.obs_keys[0]].shape
            self.eyes = 2 if config.sight == "stereo" and config.fusion != "left" else 1
            self.backbone = Backbone(config.backbone, channels, (height, image_width))
            self.fusion = self._fusion(proprio)
            if config.depth_head:
                self.depth_head = DepthHead(self.backbone.shapes[0], self.eyes)
        self.core = RecurrentCore(config.memory, config.image_features + config.proprio_features, config.memory_size)
        self.object_head = nn.Linear(self.core.output_size, 3)
        known = self.core.output_size + (3 if config.object_to_action else 0)
        self.trunk = nn.Sequential(nn.Linear(known, config.hidden), nn.ELU())
        bounds = (config.initial_std, config.min_std, config.max_std)
        self.head = GaussianHead(config.hidden, action_dim, *bounds, predicted=config.std == "predicted")

    def _fusion(self, proprio: int) -> nn.Module:
        config = self.config
        match config.fusion:
            case "concat":
                return Concat(self.backbone.shapes, self.eyes, config.image_features)
            case "correlation" if self.eyes == 2:
                return Correlation(self.backbone.shapes, config.image_features)
        return CrossAttention(self.backbone.shapes, self.eyes, proprio, config.image_features, config.heads)

    def initial_hidden(self, n: int) -> Tensor:
        """(n, H) zeros, where the weights are."""
        return self.core.initial_hidden(n).to(self.head.log_std.device)

    def forward(self, obs: Observation, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of N environments: mean (N, A), standard deviation (N, A), next hidden state (N, H)."""
        output, hidden = self.core.step(self.encode(obs)[0], hidden)
        mean, std, _ = self._decide(output)
        return mean, std, hidden

    def sequence(self, obs: Observation, first: Tensor, valid: Tensor) -> StudentOutput:
        """T steps of B environments, each from a hidden state of zeros.

        Args:
            obs: groups (T, B, ...).
            first: (T, B) bool: an episode opens with this row.
            valid: (T, B) bool: rows that count. The others are not even looked at, so that they cannot reach the
                running statistics of a backbone; each is the last of its episode, so no hidden state passes through it.
        """
        rows = valid.flatten().nonzero()[:, 0]
        whole = len(rows) == valid.numel()
        flat = {key: obs[key].flatten(0, 1) for key in self.obs_keys}
        features, depth = self.encode(flat if whole else {key: value[rows] for key, value in flat.items()}, depth=True)
        if not whole:
            features = features.new_zeros(valid.numel(), features.shape[1]).index_copy(0, rows, features)
        output, _ = self.core.sequence(features.unflatten(0, valid.shape), self.initial_hidden(valid.shape[1]), first)
        return StudentOutput(*self._decide(output), depth)

    def encode(self, obs: Observation, depth: bool = False) -> tuple[Tensor, Tensor | None]:
        """Groups (B, ...) -> features (B, F) of what is seen and felt, and the predicted depth (B, h, w) if it is
        asked for and there is a head for it."""
        proprio = torch.cat([self.normalize[key](obs[key]) for key in self.config.felt], dim=1)
        predicted = None
        if self.config.sight in VECTORS:
            seen = self.see(self.normalize[self.config.sight](obs[self.config.sight]))
        else:
            maps = self.backbone(self._images(obs))
            seen = self.fusion(maps, proprio)
            predicted = self.depth_head(maps[0]) if depth and self.config.depth_head else None
        return torch.cat([F.elu(seen), self.feel(proprio)], dim=1), predicted

    def depth_label(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) int16 mm -> what the depth head is to say (B, h, w), and (B, h, w) bool: places that count."""
        return depth_target(depth, self.backbone.shapes[0][1:], DEPTH_MEAN, DEPTH_STD)

    def update_normalizers(self, obs: Observation, valid: Tensor) -> None:
        """Take in what was met. Flat groups (..., D), valid (...) bool."""
        place = self.head.log_std.device
        for key, normalizer in self.normalize.items():
            assert isinstance(normalizer, RunningMeanStd)
            normalizer.update(obs[key][valid].to(place))

    def _images(self, obs: Observation) -> Tensor:
        """(B * eyes, C, H, W)."""
        if self.config.sight == "depth":
            return obs["depth"]
        return obs["stereo"][:, : self.eyes].flatten(0, 1)

    def _decide(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Memory's output (..., M) -> mean (..., A), std (..., A), object position (..., 3)."""
        place = self.object_head(output)
        known = torch.cat([output, place.detach()], dim=-1) if self.config.object_to_action else output
        return *self.head(self.trunk(known)), OBJECT_UNIT * place.float()


def build_student(config: StudentConfig, obs_spec: Mapping[str, ArraySpec], action_dim: int) -> StereoStudent:
    """A student with fresh weights, of the network that its configuration names. Raises StudentError, as the class
    itself, or: there is no such network; lists those that there are."""
    ours = {"StereoStudent": StereoStudent}
    found = ours.get(config.network) or plugins.find("students", config.network)
    if found is None:
        raise StudentError(unknown("student.network", config.network, [*ours, *plugins.names("students")]))
    return found(config, obs_spec, action_dim)


FORMS = {
    "stereo": (torch.uint8, 4),
    "depth": (torch.int16, 3),
    **dict.fromkeys(VECTORS, (torch.float32, 1)),
    "proprio": (torch.float32, 1),
    "calibration": (torch.float32, 1),
    "touch": (torch.float32, 1),
    "command": (torch.float32, 1),
}
"""dtype and number of axes, without the leading one, of the groups that a student may read."""


def _check(config: StudentConfig, obs_spec: Mapping[str, ArraySpec]) -> None:
    for key in config.obs_keys:
        if key not in obs_spec:
            there = ", ".join(obs_spec) or "none"
            raise StudentError(
                f"a student with sight {config.sight!r} reads {key!r}, which is not observed; available: {there}"
            )
        spec, (dtype, axes) = obs_spec[key], FORMS[key]
        if spec.dtype != dtype or len(spec.shape) != axes:
            found = f"{spec.shape} of {spec.dtype}"
            raise StudentError(f"observation {key!r}: expected {axes} axes of {dtype}, found {found}")
    if config.depth_head and config.sight not in ("stereo", "left"):
        raise StudentError(f"depth_head: expected sight 'stereo' or 'left', found {config.sight!r}, which needs none")
    if config.fusion == "correlation" and config.sight != "stereo":
        raise StudentError(f"fusion 'correlation' compares two eyes: expected sight 'stereo', found {config.sight!r}")
    parts = {"concat": 2, "correlation": 1}.get(config.fusion, config.heads)
    if config.image_features % parts:
        raise StudentError(
            f"student: image_features {config.image_features} must be a multiple of {parts} (heads, or eyes that are "
            "laid side by side)"
        )
