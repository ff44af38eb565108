"""What is deployed: the stereo student on any timm backbone, and paired augmentation."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .augment import AugmentConfig, PairedAugment
    from .backbone import Backbone, BackboneConfig, BackboneError
    from .stereo import StereoStudent, StudentConfig, StudentError, StudentOutput, gpu_student

lazy.attach(__name__)
