"""Paired augmentation: what an episode's cameras could have shown, moved alike in both eyes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.enhance import adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction, adjust_saturation
from torch import Tensor, nn

from .config import AugmentConfig


class PairedAugment(nn.Module):
    """Everything but the pixels' noise is drawn once per episode: a camera does not change while it looks."""

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        self.config = config

    @torch.no_grad()
    def forward(self, images: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the eyes see, and the left one's depth, which is a label: it moves with the image and keeps its values.

        Args:
            images: (T, B, 2, 3, H, W) uint8; come back as float32 in 0..255, drawn from torch's global random stream.
            depth: (T, B, 1, H, W) int16 mm of the same pixels, if there is any.
        """
        config, episodes = self.config, images.shape[1]
        if config.shift:
            offsets = torch.randint(0, 2 * config.shift + 1, (episodes, 2)).tolist()
            images = move(images, offsets, config.shift)
            depth = None if depth is None else move(depth[:, :, None], offsets, config.shift)[:, :, 0]
        x = images / 255.0
        if config.saturation:
            x = adjust_saturation(x, self._factor(config.saturation, x, episodes))
        if config.contrast:
            x = adjust_contrast_with_mean_subtraction(x, self._factor(config.contrast, x, episodes))
        if config.brightness or config.eye_brightness:
            both = self._factor(config.brightness, x, episodes) * self._factor(config.eye_brightness, x, episodes, 2)
            x = adjust_brightness_accumulative(x, both)
        if config.noise:
            x = x + config.noise / 255 * torch.randn_like(x)
        return (255 * x).clamp_(0, 255), depth

    def _factor(self, share: float, like: Tensor, episodes: int, eyes: int = 1) -> Tensor:
        """(1, B, eyes) around one: the same in all steps, and in both eyes unless each has its own."""
        return 1 + share * (2 * torch.rand(1, episodes, eyes, device=like.device) - 1)


def move(images: Tensor, offsets: list[list[int]], most: int) -> Tensor:
    """(T, B, E, C, H, W) shifted by whole pixels, the border repeated. offsets: rows, columns in 0 .. 2 most."""
    height, width = images.shape[-2:]
    wide = F.pad(images.flatten(0, 2).float(), (most, most, most, most), mode="replicate")
    wide = wide.to(images.dtype).unflatten(0, images.shape[:3])
    moved = [wide[:, i, ..., y : y + height, x : x + width] for i, (y, x) in enumerate(offsets)]
    return torch.stack(moved, dim=1)
