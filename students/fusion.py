"""Fusion: feature maps of one or two eyes to one vector. `CrossAttention` by a readout token, `Concat` without."""

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
