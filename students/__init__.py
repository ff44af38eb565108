"""What is deployed: the stereo student on any timm backbone, and paired augmentation."""

from .augment import AugmentConfig, PairedAugment
from .backbone import Backbone, BackboneConfig, BackboneError
from .stereo import StereoStudent, StudentConfig, StudentError, StudentOutput, gpu_student

__all__ = [
    "AugmentConfig",
    "Backbone",
    "BackboneConfig",
    "BackboneError",
    "PairedAugment",
    "StereoStudent",
    "StudentConfig",
    "StudentError",
    "StudentOutput",
    "gpu_student",
]
