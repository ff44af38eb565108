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

    What a token answers is read through weights of its own place, as in a locally connected layer: a single weighted
    mean over shared values would know what was seen but only roughly where, and where is what a hand must know.
    Under equal attention this is a linear layer over the flattened maps of both eyes, which disparity can be read from.
    """

    def __init__(self, shapes: Sequence[Shape], eyes: int, proprio: int, width: int, heads: int) -> None:
        """What comes out is (B, width).

        Args:
            shapes: of each level's map.
            eyes: maps of so many eyes come in.
            proprio: width of what the robot feels, which shifts the question.
            width: D, of what comes out; keys and the question have half of it.
            heads: of the attention; divides D / 2.
        """
        super().__init__()
        places = sum(h * w for _, h, w in shapes)
        key_width = width // 2
        self.heads, self.places, self.eyes = heads, places, eyes
        self.readout = nn.Parameter(torch.randn(key_width))
        self.ask = nn.Linear(proprio, key_width)
        self.key = nn.ModuleList([nn.Linear(c, key_width) for c, _, _ in shapes])
        self.place = nn.Parameter(0.1 * torch.randn(places, key_width))
        self.eye = nn.Parameter(0.1 * torch.randn(eyes, 1, key_width))
        fan_in = eyes * sum(c * h * w for c, h, w in shapes)
        # attention is about one over the number of tokens, so values start larger by as much
        scale = eyes * places * fan_in**-0.5
        self.value = nn.ParameterList([scale * torch.randn(eyes * h * w, c, width) for c, h, w in shapes])
        self.out = nn.Linear(width, width)

    def forward(self, maps: Sequence[Tensor], proprio: Tensor) -> Tensor:
        """Per level (B * eyes, C, H, W), eyes of one pair side by side; proprio (B, P) -> (B, D)."""
        tokens = [m.flatten(2).transpose(1, 2) for m in maps]  # (B * eyes, H * W, C)
        keys = torch.cat([key(t) for key, t in zip(self.key, tokens, strict=True)], dim=1)
        keys = (keys + self.place).unflatten(0, (-1, self.eyes)) + self.eye
        values = torch.cat([self._values(t, w) for t, w in zip(tokens, self.value, strict=True)], dim=2)
        question = self.readout + self.ask(proprio)
        answer = F.scaled_dot_product_attention(
            self._split(question[:, None]), self._split(keys.flatten(1, 2)), self._split(values.flatten(1, 2))
        )
        return self.out(F.elu(answer.transpose(1, 2).flatten(1)))

    def _values(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """(B * eyes, H * W, C) -> (B, eyes, H * W, D), each place through its own weights."""
        pairs = tokens.unflatten(0, (-1, self.eyes)).flatten(1, 2)  # (B, eyes * H * W, C)
        values = torch.bmm(pairs.transpose(0, 1), weight).transpose(0, 1)
        return values.unflatten(1, (self.eyes, -1))

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


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
