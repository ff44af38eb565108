"""Fusion: feature maps of one or two eyes to one vector. `CrossAttention` by a readout token, `Concat` side by side,
`Correlation` by the agreement of the two eyes at each disparity; and `DepthHead`, which says what was understood."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]
"""(C, H, W) of one level's feature map."""


class CrossAttention(nn.Module):
    """A learned readout token asks the tokens of all eyes and levels, each of which knows its eye and its place.

    What a token answers is read through weights of its own place, as in a locally connected layer: a weighted mean over
    shared values would know what was seen but only roughly where, and where is what a hand must know. Under equal
    attention this is a linear layer over the flattened maps of both eyes, from which disparity can be read.

    With a single question softmax(q K^T) V is cheapest from the inside out: K = tokens @ key is never formed, since
    q @ key^T is small, and tokens are weighted before they are projected.
    """

    def __init__(self, shapes: Sequence[Shape], eyes: int, proprio: int, width: int, heads: int) -> None:
        """What comes out is (B, width).

        Args:
            shapes: of each level's map.
            eyes: maps of so many eyes come in.
            proprio: width of what the robot feels, which shifts the question.
            width: D, of what comes out.
            heads: questions asked side by side, each for D / heads of the answer; divides D.
        """
        super().__init__()
        self.eyes, self.places = eyes, [h * w for _, h, w in shapes]
        each = width // heads
        self.readout = nn.Parameter(torch.randn(heads, each))
        self.ask = nn.Linear(proprio, width)
        self.key = nn.ParameterList([c**-0.5 * torch.randn(each, c) for c, _, _ in shapes])
        self.place = nn.Parameter(0.1 * torch.randn(each, 1, sum(self.places)))
        self.eye = nn.Parameter(0.1 * torch.randn(each, eyes, 1))
        fan_in = eyes * sum(c * h * w for c, h, w in shapes)
        self.value = nn.ParameterList([fan_in**-0.5 * torch.randn(heads, eyes * h * w * c, each) for c, h, w in shapes])
        self.out = nn.Linear(width, width)

    def forward(self, maps: Sequence[Tensor], proprio: Tensor) -> Tensor:
        """Per level (B * eyes, C, H, W), eyes of one pair side by side; proprio (B, P) -> (B, D)."""
        tokens = [m.flatten(2).transpose(1, 2).unflatten(0, (-1, self.eyes)) for m in maps]  # (B, eyes, H * W, C)
        weights = self.attention(tokens, proprio).split(self.places, dim=3)
        answers = [
            torch.bmm((weight[..., None] * token[:, None]).flatten(2).transpose(0, 1), value)  # (heads, B, D / heads)
            for token, weight, value in zip(tokens, weights, self.value, strict=True)
        ]
        return self.out(F.elu(torch.stack(answers).sum(0).transpose(0, 1).flatten(1)))

    def attention(self, tokens: Sequence[Tensor], proprio: Tensor) -> Tensor:
        """Per level (B, eyes, H * W, C) -> (B, heads, eyes, places of all levels), one on average."""
        question = self.readout + self.ask(proprio).unflatten(1, self.readout.shape)  # (B, heads, D / heads)
        levels = zip(tokens, self.key, strict=True)
        content = torch.cat([torch.einsum("bhc,bepc->bhep", question @ key, token) for token, key in levels], dim=3)
        place = torch.einsum("bhk,kep->bhep", question, self.place + self.eye)
        scores = (content + place) * question.shape[2] ** -0.5
        return scores.flatten(2).softmax(2).unflatten(2, scores.shape[2:]) * scores[0, 0].numel()


class Concat(nn.Module):
    """Each eye's flattened maps through the same linear layer, side by side."""

    def __init__(self, shapes: Sequence[Shape], eyes: int, width: int) -> None:
        """What comes out is (B, width), a share of it from each of the eyes."""
        super().__init__()
        self.eyes = eyes
        self.project = nn.Linear(sum(c * h * w for c, h, w in shapes), width // eyes)

    def forward(self, maps: Sequence[Tensor], proprio: Tensor) -> Tensor:
        """Per level (B * eyes, C, H, W), eyes of one pair side by side -> (B, D); proprio is not asked."""
        flat = torch.cat([m.flatten(1) for m in maps], dim=1)
        return self.project(flat).unflatten(0, (-1, self.eyes)).flatten(1)


class CostVolume(nn.Module):
    """How well each place of the left map agrees with the places of the right map along its row (Kendall et al. 2017,
    section 3.2, with a correlation in place of the concatenation).

    The eyes are rectified: what the left eye sees in column x, the right eye sees in column x - disparity.
    """

    def __init__(self, channels: int, width: int, features: int = 32, most: int = 12) -> None:
        """What comes out is (B, disparities, H, W).

        Args:
            channels: C of the maps.
            width: W of the maps; disparities 0 .. W - 1 are tried.
            features: compared at each place.
            most: disparities at most.
        """
        super().__init__()
        self.disparities = min(width, most)
        self.project = nn.Conv2d(channels, features, 1)

    def forward(self, both: Tensor) -> Tensor:
        """(B * 2, C, H, W), eyes of one pair side by side -> (B, disparities, H, W) in [-1, 1]."""
        left, right = F.normalize(self.project(both), dim=1).unflatten(0, (-1, 2)).unbind(1)
        width = left.shape[3]
        shifted = [F.pad(right, (d, 0))[..., :width] for d in range(self.disparities)]
        return torch.stack([(left * other).sum(1) for other in shifted], dim=1)


class Correlation(nn.Module):
    """The left eye's maps and the cost volume of each level, flattened, through a linear layer."""

    def __init__(self, shapes: Sequence[Shape], width: int) -> None:
        """What comes out is (B, width)."""
        super().__init__()
        volumes = [CostVolume(channels, columns) for channels, _, columns in shapes]
        size = sum((c + volume.disparities) * h * w for (c, h, w), volume in zip(shapes, volumes, strict=True))
        self.volumes = nn.ModuleList(volumes)
        self.project = nn.Linear(size, width)

    def forward(self, maps: Sequence[Tensor], proprio: Tensor) -> Tensor:
        """Per level (B * 2, C, H, W), eyes of one pair side by side -> (B, D); proprio is not asked."""
        parts = [part.flatten(1) for m, volume in zip(maps, self.volumes, strict=True) for part in (m[::2], volume(m))]
        return self.project(torch.cat(parts, dim=1))


class DepthHead(nn.Module):
    """The left eye's depth at each place of the finest map: from its own features and, with two eyes, the cost volume.

    A student that sees geometry predicts it better than its mean; one that reads only colours and places hardly does.
    """

    def __init__(self, shape: Shape, eyes: int, hidden: int = 32) -> None:
        """shape: of the finest level's map."""
        super().__init__()
        channels, _, width = shape
        self.eyes = eyes
        self.volume = CostVolume(channels, width) if eyes == 2 else None
        known = channels + (self.volume.disparities if self.volume else 0)
        self.read = nn.Sequential(nn.Conv2d(known, hidden, 3, padding=1), nn.ELU(), nn.Conv2d(hidden, 1, 1))

    def forward(self, finest: Tensor) -> Tensor:
        """(B * eyes, C, H, W) -> (B, H, W), depth in the unit of `depth_target`."""
        own = finest[:: self.eyes]
        seen = own if self.volume is None else torch.cat([own, self.volume(finest)], dim=1)
        return self.read(seen)[:, 0]


def depth_target(depth: Tensor, size: tuple[int, int], mean: float, std: float) -> tuple[Tensor, Tensor]:
    """What `DepthHead` is to say: the mean depth of each place over the pixels that have a return.

    Args:
        depth: (B, 1, H, W) int16 millimetres, 0 = no return.
        size: (h, w) of the places.
        mean: millimetres.
        std: millimetres; depth is given as (depth - mean) / std.

    Returns:
        (B, h, w) float32, and (B, h, w) bool: places with a return.
    """
    hit = (depth > 0).float()
    share = F.adaptive_avg_pool2d(hit, size)
    metres = F.adaptive_avg_pool2d((depth.float() - mean) / std * hit, size) / share.clamp(min=1e-6)
    return metres[:, 0], share[:, 0] > 0
