"""Images far behind everything: what colour cameras see in the directions in which nothing stands."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .assets import AssetError, find
from .cameras import SKY
from .env_config import CameraRig

HEIGHT, WIDTH = 128, 256
"""Pixels of an image, which goes around once: columns are longitudes, rows latitudes from straight up downward."""
PROCEDURAL, OURS = "procedural", 16
"""What our own images are called, and how many there are."""
ENDINGS = (".png", ".jpg", ".jpeg")
SKY_BYTES = tuple(int(255 * channel) for channel in SKY[:3])
"""How both renderers write `SKY`."""


@cache
def background_images(name: str) -> Tensor:
    """(K, 3, HEIGHT, WIDTH) uint8: the images of a name.

    Raises:
        AssetError: no folder of this name in those of $HANDSIGHT_ASSETS, or no images in it.
    """
    if name == PROCEDURAL:
        rng = np.random.default_rng(0)
        return torch.stack([_clouds(rng) for _ in range(OURS)])
    from torchvision.io import ImageReadMode, decode_image  # a second, for a user's own images only

    folder = find("background", name)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not files:
        raise AssetError(f"background {folder}: expected images ({', '.join(ENDINGS)}) in it, found none")
    images = []
    for file in files:
        try:
            image = decode_image(str(file), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            raise AssetError(f"background {file}: cannot be read: {error}") from error
        images.append(_sized(image.float()))
    return torch.stack(images)


def _clouds(rng: np.random.Generator) -> Tensor:
    """(3, HEIGHT, WIDTH) uint8: blots of several sizes about one colour, the same at both ends."""
    image = torch.from_numpy(rng.uniform(50, 205, (3, 1, 1))).expand(3, HEIGHT, WIDTH).float()
    for cells, strength in ((2, 60.0), (5, 50.0), (12, 40.0), (30, 25.0)):
        half = torch.from_numpy(rng.uniform(-strength, strength, (3, cells, cells))).float()
        image = image + F.interpolate(torch.cat([half, half.flip(2)], 2)[None], (HEIGHT, WIDTH), mode="bilinear")[0]
    return image.round().clamp(0, 255).byte()


def _sized(image: Tensor) -> Tensor:
    """(3, HEIGHT, WIDTH) uint8 of an image (3, h, w) of grey levels."""
    sized = F.interpolate(image[None], (HEIGHT, WIDTH), mode="bilinear", antialias=True)[0]
    return sized.round().clamp(0, 255).byte()


def behind(stereo: Tensor, images: Tensor, rig: CameraRig, world_from_eye: Tensor) -> Tensor:
    """A pair's images, in which what shows nothing shows the background in that direction.

    Args:
        stereo: (N, 2, 3, H, W) uint8, as rendered: `SKY` where nothing was hit.
        images: (N, 3, HEIGHT, WIDTH) uint8: of each environment's episode.
        rig: its intrinsics.
        world_from_eye: (N, 2, 3, 3) from each eye's frame (x right, y up, looking along -z) to the world's.
    """
    sky = (stereo == torch.tensor(SKY_BYTES, dtype=torch.uint8, device=stereo.device)[:, None, None]).all(2)
    x = (torch.arange(rig.width, device=stereo.device) + 0.5 - rig.width / 2) / rig.focal_pixels
    y = (rig.height / 2 - 0.5 - torch.arange(rig.height, device=stereo.device)) / rig.focal_pixels
    across, up = x.expand(rig.height, -1), y[:, None].expand(-1, rig.width)
    rays = torch.stack([across, up, torch.full_like(up, -1.0)])
    ways = F.normalize(torch.einsum("nerc,chw->nerhw", world_from_eye, rays), dim=2)
    column = ((torch.atan2(ways[:, :, 1], ways[:, :, 0]) / (2 * torch.pi) + 0.5) * WIDTH).long() % WIDTH
    row = ((0.5 - torch.asin(ways[:, :, 2].clamp(-1, 1)) / torch.pi) * HEIGHT).long().clamp(0, HEIGHT - 1)
    which = torch.arange(len(stereo), device=stereo.device)[:, None, None, None]
    far = images.permute(0, 2, 3, 1)[which, row, column].permute(0, 1, 4, 2, 3)
    return torch.where(sky[:, :, None], far, stereo)
