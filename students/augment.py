"""Paired augmentation: what an episode's cameras could have looked like, the same place for both eyes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # kornia announces optional packages when it is imported
    import kornia.augmentation as K  # noqa: F401


@dataclass(frozen=True)
class AugmentConfig:
    """How far images may be changed in training. Zero everywhere: not at all."""

    shift: int = 0
    """Pixels: an episode's images move by up to this much in x and y, both eyes alike, so that disparity stays."""
    brightness: float = 0.0
    """Share by which an episode's images get darker or lighter, both eyes alike, e.g. 0.2."""
    contrast: float = 0.0
    """Share by which an episode's contrast changes, both eyes alike."""
    saturation: float = 0.0
    """Share by which an episode's saturation changes, both eyes alike; costs much more than brightness and contrast."""
    eye_brightness: float = 0.0
    """Share by which each eye is darker or lighter on its own: two cameras never meter alike."""
    noise: float = 0.0
    """Standard deviation of the noise added to each pixel, in grey levels of 0..255."""

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self != AugmentConfig()


class PairedAugment(nn.Module):
    """Draws once per episode for both eyes, except for what differs between two real cameras."""

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, images: Tensor) -> Tensor:
        """(T, B, 2, 3, H, W) uint8 -> the same as float32 in 0..255."""
        return images.float()
