"""`Backbone`: any timm model by name, from uint8 images to feature maps, with its preprocessing inside."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import timm
import torch
import torch.nn.functional as F
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session
from timm.data.config import resolve_model_data_config
from timm.models import register_model
from timm.models.resnet import ResNet, resnet10t
from torch import Tensor, nn

from ..errors import HandsightError
from .config import BackboneConfig

DEPTH_MEAN, DEPTH_STD = 500.0, 250.0
"""Millimetres: centre and spread of what a palm camera sees over a table."""
SIZES = (16, 24, 32, 48, 56, 64, 96, 112, 128, 160, 192, 224, 256, 320, 384)
"""Pixels: what is tried before an error says which sizes a model can take."""


class BackboneError(HandsightError):
    """A backbone that does not exist, or that cannot be built or fed as asked."""


@register_model
def resnet10t_light(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """timm's ResNet-10-T at a quarter of its width. There are no pretrained weights of it."""
    if pretrained:
        raise OSError("no weights were ever published for resnet10t_light; resnet10t and resnet18 have some")
    return resnet10t(channels=(16, 32, 64, 128), stem_width=8, **kwargs)


class Backbone(nn.Module):
    """Images (B, C, H, W) of one eye each to the feature maps of the chosen levels."""

    mean: Tensor
    """(C, 1, 1) float32 in the images' own unit (0..255, or millimetres); travels with the weights."""
    inverse_std: Tensor
    """(C, 1, 1) float32."""

    def __init__(self, config: BackboneConfig, channels: int, image_size: tuple[int, int]) -> None:
        """Build, and look once through it to learn its shapes.

        Args:
            config: which model.
            channels: 3 for colour (uint8), 1 for depth (int16 millimetres).
            image_size: (H, W) of the images as they arrive.

        Raises:
            BackboneError: unknown name, levels or options, or an image size that the model cannot take.
        """
        super().__init__()
        self.size = _side(config.image_size) or image_size
        self.resize = self.size != image_size
        self.net, config = _build(config, channels, self.size)
        self.config = config
        self.channels_last_maps = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.shapes = self._probe(channels)
        self.layout = _layout(self.net, channels)
        self.net.to(memory_format=self.layout)
        self._drop_unused(channels)
        self._kept = self._freeze(channels)
        self._set_preprocessing(channels)

    def train(self, mode: bool = True) -> Backbone:
        """What is frozen keeps its running statistics too."""
        super().train(mode)
        for module in self._kept:
            module.training = False
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W), uint8, int16 or float in the same unit -> per level (B, C', H', W')."""
        x = images.to(torch.float32, memory_format=self.layout)
        x = (x - self.mean) * self.inverse_std
        if self.resize:
            x = F.interpolate(x, size=self.size, mode="bilinear", antialias=True)
        maps = [m.permute(0, 3, 1, 2) if self.channels_last_maps else m for m in self.net(x)]
        return [m if k == (1, 1) else F.avg_pool2d(m, k, ceil_mode=True) for m, k in zip(maps, self.pools, strict=True)]

    @property
    def shapes_text(self) -> str:
        """For messages: the shape of each level's map."""
        return ", ".join(" x ".join(map(str, shape)) for shape in self.shapes)

    def _set_preprocessing(self, channels: int) -> None:
        if channels == 1:
            mean, std = torch.tensor([DEPTH_MEAN]), torch.tensor([DEPTH_STD])
        else:
            facts = resolve_model_data_config(self.net)
            mean, std = 255 * torch.tensor(facts["mean"]), 255 * torch.tensor(facts["std"])
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("inverse_std", 1 / std[:, None, None])

    def _probe(self, channels: int) -> list[tuple[int, int, int]]:
        """(C', H', W') of each level."""
        try:
            maps = _look(self.net, channels, self.size)
        except (AssertionError, RuntimeError, ValueError, IndexError) as error:
            raise BackboneError(_size_message(self.config, channels, self.size, str(error), self.net)) from error
        if self.channels_last_maps:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        most = self.config.most_places
        self.pools = [(-(-m.shape[2] // most), -(-m.shape[3] // most)) for m in maps]
        return [
            (m.shape[1], -(-m.shape[2] // down), -(-m.shape[3] // across))
            for m, (down, across) in zip(maps, self.pools, strict=True)
        ]

    def _drop_unused(self, channels: int) -> None:
        """Take away what no chosen level depends on, which timm leaves in for some families: blocks at the end go, and
        what else there is learns nothing."""
        used = _reached(self.config, channels, self.size)
        prefix = "blocks." if hasattr(self.net, "blocks") else "model.blocks."
        blocks = getattr(getattr(self.net, "model", self.net), "blocks", None)
        if isinstance(blocks, nn.Sequential):
            while len(blocks) and not any(name.startswith(f"{prefix}{len(blocks) - 1}.") for name in used):
                del blocks[-1]
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name in used)

    def _freeze(self, channels: int) -> list[nn.Module]:
        """Take gradients away from what is frozen; returns the modules whose running statistics stay."""
        if self.config.frozen:
            self.net.requires_grad_(False)
            return list(self.net.modules())
        if not self.config.frozen_levels:
            return []
        below = _reached(replace(self.config, out_indices=(self.config.frozen_levels - 1,)), channels, self.size)
        kept = []
        for path, module in self.net.named_modules():
            own = {f"{path}.{name}".lstrip("."): p for name, p in module.named_parameters(recurse=False)}
            if own and below.issuperset(own):
                kept.append(module)
                for parameter in own.values():
                    parameter.requires_grad_(False)
        return kept


def _layout(net: nn.Module, channels: int) -> torch.memory_format:
    """Channels last, which is faster on a CPU, but for a model with a strided 1 x 1 convolution of the images, such as
    FastViT: its backward pass in that layout writes outside its memory in torch 2.15 (oneDNN)."""
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    unsafe = any(c.kernel_size == (1, 1) and max(c.stride) > 1 and c.in_channels == channels for c in convolutions)
    return torch.contiguous_format if unsafe else torch.channels_last


def _side(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def _build(config: BackboneConfig, channels: int, size: tuple[int, int]) -> tuple[nn.Module, BackboneConfig]:
    """The model, and the configuration with its levels chosen."""
    if not timm.is_model(config.name):
        near = difflib.get_close_matches(config.name, timm.list_models(), n=5, cutoff=0.5)
        raise BackboneError(
            f"backbone {config.name!r} is not in timm {timm.__version__}; nearest names: {', '.join(near) or 'none'}. "
            'timm.list_models("*part*") lists all.'
        )
    if config.out_indices is None:
        config = replace(config, out_indices=_levels(config.name))
    return _with_weights(config, channels, size), config


def _levels(name: str) -> tuple[int, ...]:
    """Those at 1/8 and 1/16 of the image, the last where there is one resolution only."""
    info: Any = _sketch(lambda: timm.create_model(name, features_only=True)).feature_info
    levels = list(zip(info.out_indices, info.reduction(), strict=True))
    if len({reduction for _, reduction in levels}) == 1:
        return (-1,)
    wanted = [max(i for i, r in levels if r == side) for side in (8, 16) if side in info.reduction()]
    return tuple(wanted) or (levels[-2][0], levels[-1][0])


def _with_weights(config: BackboneConfig, channels: int, size: tuple[int, int]) -> nn.Module:
    if not config.pretrained:
        return _create(config, channels, size, pretrained=False)
    reason = _why_unreachable(config.name)
    if reason is None:
        try:
            return _create(config, channels, size, pretrained=True)
        except Exception as error:  # a hub can fail in any way; a wrong option fails again below, with its own message
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    warnings.warn(
        f"no pretrained weights for backbone {config.name!r} ({reason}): it starts from random weights. "
        "Connect once, or copy a Hugging Face cache (HF_HOME) that holds them, to start from ImageNet.",
        stacklevel=2,
    )
    return _create(config, channels, size, pretrained=False)


def _why_unreachable(name: str) -> str | None:
    """None where weights are cached or the hub answers; asked first because a hub client retries for a minute."""
    facts = timm.models.get_pretrained_cfg(name)
    if facts is None or not facts.has_weights:
        return "timm lists none"
    if facts.hf_hub_id is None:
        return None
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(facts.hf_hub_id, file), str) for file in files):
        return None
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and they are not in the cache"
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:  # the session's errors depend on the client library behind it
        return f"{constants.ENDPOINT} cannot be reached: {error}"
    return None


def _create(config: BackboneConfig, channels: int, size: tuple[int, int], pretrained: bool) -> nn.Module:
    options = {
        "pretrained": pretrained,
        "features_only": True,
        "out_indices": config.out_indices,
        "in_chans": channels,
        "patch_size": config.patch_size,  # timm leaves out what is None
        "drop_path_rate": config.drop_path_rate,
    }
    try:
        try:
            return timm.create_model(config.name, img_size=size, **options)
        except TypeError as error:
            if "img_size" not in str(error):  # transformers must know the size, convolutions do not take it
                raise
            return timm.create_model(config.name, **options)
    except TypeError as error:
        raise BackboneError(
            f"backbone {config.name!r} does not take one of the options set: {error}. "
            f"Set: --student.backbone.patch-size {config.patch_size}, --student.backbone.drop-path-rate "
            f"{config.drop_path_rate}; None leaves an option out."
        ) from error
    except (IndexError, AssertionError) as error:
        raise BackboneError(_levels_message(config, size, error)) from error


def _levels_message(config: BackboneConfig, size: tuple[int, int], error: Exception) -> str:
    try:
        levels = len(timm.create_model(config.name, features_only=True).feature_info)  # type: ignore[arg-type]
    except Exception:  # only to word a message
        return f"backbone {config.name!r} cannot be built for {size[0]} x {size[1]} px images: {error}"
    return (
        f"backbone {config.name!r}: --student.backbone.out-indices {config.out_indices} are not all there; "
        f"expected levels 0..{levels - 1} (or -{levels}..-1)"
    )


def _look(net: nn.Module, channels: int, size: tuple[int, int]) -> Sequence[Tensor]:
    """Feature maps of a black image, leaving running statistics alone."""
    training = net.training
    try:
        with torch.no_grad():
            maps = net.eval()(torch.zeros(2, channels, *size))
    finally:
        net.train(training)
    if any(0 in m.shape for m in maps):
        raise ValueError("a feature map has no pixels left")
    patch = _patch(net)
    if any(side % step for side, step in zip(size, patch, strict=True)):
        raise ValueError(f"patches of {patch[0]} x {patch[1]} px would leave a margin unseen: take a multiple")
    return maps


def _patch(net: nn.Module) -> tuple[int, int]:
    """Pixels that the first layer of a transformer takes at once; (1, 1) for others."""
    return getattr(getattr(getattr(net, "model", None), "patch_embed", None), "patch_size", None) or (1, 1)


def _reached(config: BackboneConfig, channels: int, size: tuple[int, int]) -> set[str]:
    """Names of the parameters on which the chosen levels depend."""

    def probe() -> set[str]:
        with torch.inference_mode(False), torch.enable_grad():
            net = _create(config, channels, size, pretrained=False).eval()
            torch.stack([m.sum() for m in net(torch.zeros(2, channels, *size))]).sum().backward()
        return {name for name, parameter in net.named_parameters() if parameter.grad is not None}

    return _sketch(probe)


def _size_message(config: BackboneConfig, channels: int, size: tuple[int, int], cause: str, net: nn.Module) -> str:
    able = [side for side in SIZES if side % _patch(net)[0] == 0 and _can_take(config, channels, side)]
    return (
        f"backbone {config.name!r} cannot take images of {size[0]} x {size[1]} px ({cause}); "
        f"of the square sizes tried it takes {', '.join(map(str, able)) or 'none'}. "
        "Render at one of them (--image), or have the images resized (--student.backbone.image-size)."
    )


def _can_take(config: BackboneConfig, channels: int, side: int) -> bool:
    def look() -> Sequence[Tensor]:
        return _look(_create(config, channels, (side, side), pretrained=False), channels, (side, side))

    try:
        _sketch(look)
    except (BackboneError, AssertionError, RuntimeError, ValueError, IndexError):
        return False
    return True


def _sketch(make: Callable[[], Any]) -> Any:
    """What is only looked at: shapes without numbers, which take no time, where the model allows it; the caller's
    random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return make()
        except (NotImplementedError, RuntimeError):  # a model that looks at a number
            return make()
