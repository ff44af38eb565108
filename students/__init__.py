"""What is deployed: the stereo student on any timm backbone, and paired augmentation."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .augment import PairedAugment
    from .backbone import Backbone, BackboneError
    from .config import AugmentConfig, BackboneConfig, StudentConfig, gpu_student
    from .stereo import StereoStudent, StudentError, StudentOutput, build_student

lazy.attach(__name__)
