"""What a student sees, through which backbone, how it is augmented, and how large it is. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from ..policies.memory import Memory
from ..ranges import Checked, Pixels, Spread, Width, Within

Sight = Literal["stereo", "left", "depth", "state", "position", "noisy_position", "seen_position"]
VECTORS = ("state", "position", "noisy_position", "seen_position")
"""Kinds of sight without images."""


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """How far images may be changed in training. Zero everywhere: not at all."""

    shift: Annotated[int, Within(0, 4096)] = 0
    """Pixels: an episode's images move by up to this much in x and y, both eyes alike, so that disparity stays."""
    brightness: Annotated[float, Within(0, 0.999)] = 0.0
    """Share by which an episode gets darker or lighter, both eyes alike, e.g. 0.2."""
    contrast: Annotated[float, Within(0, 0.999)] = 0.0
    """Share by which an episode's contrast changes, both eyes alike."""
    saturation: Annotated[float, Within(0, 0.999)] = 0.0
    """Share by which an episode's saturation changes, both eyes alike."""
    eye_brightness: Annotated[float, Within(0, 0.999)] = 0.0
    """Share by which each eye of an episode is darker or lighter on its own: two cameras never meter alike."""
    noise: Annotated[float, Within(0, 255)] = 0.0
    """Standard deviation of what is added to each pixel, in grey levels of 0..255."""

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self != AugmentConfig()


@dataclass(frozen=True)
class BackboneConfig(Checked):
    """Which timm model looks at the images, and how."""

    name: str = "resnet10t_light"
    """Name in timm's list, or `resnet10t_light`: ResNet-10-T with 16, 32, 64 and 128 channels, for two CPU cores."""
    pretrained: bool = False
    """Start from ImageNet weights; where they cannot be had, warn and start from random ones."""
    out_indices: Annotated[tuple[int, ...] | None, Within(-100, 100)] = None
    """Levels whose feature maps are read, counted as timm counts them; -1 is the last. None: those at 1/8 and 1/16 of
    the image's size, or the last one of a model that has a single resolution."""
    most_places: Annotated[int, Within(1, 1024)] = 8
    """Places along a side of a feature map; larger maps are averaged down, as what follows has weights for each."""
    image_size: Pixels | tuple[Pixels, Pixels] | None = None
    """Pixels, one side of a square or height and width: images are resized to it before the backbone sees them; None
    leaves them as rendered."""
    patch_size: Annotated[int | None, Within(1, 1024)] = None
    """Pixels, transformers only: smaller patches than the model was designed with give small images more tokens."""
    drop_path_rate: Annotated[float | None, Within(0, 0.999)] = None
    """Probability that a residual branch is skipped in training; None leaves the model's own."""
    frozen: bool = False
    """Keep the backbone's weights and running statistics as they are and train only what stands on it."""
    frozen_levels: Annotated[int, Within(0, 100)] = 0
    """Keep only what the first levels depend on as it is: 1 is the first level of timm's count, and so on."""


@dataclass(frozen=True)
class StudentConfig(Checked):
    """What the student sees and how large it is. The defaults are for two CPU cores; see `gpu_student`."""

    sight: Sight = "stereo"
    """Both eyes, the left one only, or as a control depth, state, or of the state the object's position alone: exact,
    with noise, or only while an eye of the pair sees it. What comes after the encoder is the same."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The timm model that looks at each image."""
    fusion: Literal["cross_attention", "concat", "correlation", "left"] = "cross_attention"
    """How the maps of the eyes become one vector: a readout token asks both; side by side; the left eye's beside a cost
    volume of both; or the left eye alone."""
    depth_head: bool = False
    """Also predict the left eye's depth, at the places of the finest map: a check that geometry is seen."""
    calibrated: bool = False
    """Also read how this robot's cameras differ from the drawing (group "calibration")."""
    commanded: bool = False
    """Also read what the task commands (group "command"); a training sets it where the task has one."""
    touch: bool = False
    """Also read with how much force each digit presses the object (group "touch", N)."""
    image_features: Width = 128
    """Width of that vector, and of the encoder of a state."""
    heads: Annotated[int, Within(1, 1024)] = 4
    """Heads of the cross-attention."""
    proprio_features: Width = 64
    """Width of what the robot feels, after its encoder."""
    memory: Memory = "gru"
    """"gru", "lstm" or "none"."""
    memory_size: Width = 128
    """Width of the memory."""
    hidden: Width = 128
    """Width of the ELU layer before the action."""
    object_to_action: bool = True
    """Whether the action may read the predicted object position (no gradient flows back through it)."""
    std: Literal["constant", "predicted"] = "constant"
    """One standard deviation for all states, or told from what is seen and remembered: how unsure the student is, here
    and now, of what its teacher would do. Only the latter can differ where the object is hidden."""
    initial_std: Spread = 0.3
    """Standard deviation of the actions at the start, in units of the action range [-1, 1]."""
    min_std: Spread = 0.02
    """Least standard deviation of the actions."""
    max_std: Spread = 1.0
    """Greatest standard deviation of the actions."""
    network: str = "StereoStudent"
    """Class of the network: ours, or one of a plugin (docs/plugins.md)."""

    @property
    def obs_keys(self) -> tuple[str, ...]:
        """Observation groups that a student of this kind reads."""
        return "stereo" if self.sight == "left" else self.sight, *self.felt

    @property
    def felt(self) -> tuple[str, ...]:
        """Those that are vectors beside what is seen."""
        also = {"calibration": self.calibrated, "touch": self.touch, "command": self.commanded}
        return "proprio", *(group for group, read in also.items() if read)

    def told(self, groups: Collection[str]) -> StudentConfig:
        """The student for a task that gives these groups to all."""
        return replace(self, commanded="command" in groups)


def gpu_student(pretrained: bool = True) -> StudentConfig:
    """The student for a GPU: ResNet-18 with ImageNet weights, wider features and memory."""
    return StudentConfig(
        backbone=BackboneConfig("resnet18", pretrained=pretrained),
        image_features=256,
        memory_size=256,
        hidden=256,
    )
