"""`CameraRig`, the stereo pair, and `CameraConfig`, a camera beside it: mounts and intrinsics.

This file imports neither torch nor MuJoCo, as `env_config.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ..errors import HandsightError
from ..ranges import Checked, Pixels, Within


@dataclass(frozen=True)
class CameraRig(Checked):
    """A stereo pair with parallel optical axes: its mount, its intrinsics and its depth range."""

    mount: str = "palm"
    """Body that carries the pair: "palm" (wrist pair) or "world" (fixed pair)."""
    position: Annotated[tuple[float, float, float], Within(-100, 100)] = (0.11, 0.0, -0.14)
    """m in the mount's frame: the middle between the eyes."""
    right: Annotated[tuple[float, float, float], Within(-1, 1)] = (0.0, -1.0, 0.0)
    """The camera's x axis in the mount's frame; the eyes sit along it."""
    up: Annotated[tuple[float, float, float], Within(-1, 1)] = (-0.961, 0.0, 0.276)
    """The camera's y axis in the mount's frame."""
    baseline: Annotated[float, Within(0.001, 1)] = 0.06
    """m between the eyes."""
    fov_y: Annotated[float, Within(1, 150)] = 45.0
    """Vertical field of view, degrees."""
    height: Pixels = 32
    """Height of an image, pixels."""
    width: Pixels = 32
    """Width of an image, pixels."""
    depth_max: Annotated[float, Within(0.1, 32)] = 0.6
    """m: depth beyond this is clipped to it; at most what int16 holds in millimetres."""

    @property
    def focal_pixels(self) -> float:
        """Focal length in pixels, the same in x and y (square pixels)."""
        return 0.5 * self.height / math.tan(math.radians(self.fov_y) / 2)

    def intrinsics(self) -> list[list[float]]:
        """3 x 3 pinhole matrix K per eye: u = fx X/Z + cx, v = fy Y/Z + cy with Z along the optical axis, Y down. The
        image's upper left corner is (0, 0), so the pixel in column j and row i looks through (j + .5, i + .5)."""
        f = self.focal_pixels
        return [[f, 0.0, self.width / 2], [0.0, f, self.height / 2], [0.0, 0.0, 1.0]]

    def disparity(self, depth: float) -> float:
        """Disparity in pixels of a point at `depth` m along the optical axis: f b / Z (rectified pair)."""
        return self.focal_pixels * self.baseline / depth

    def describe(self) -> dict[str, Any]:
        """What travels with a checkpoint: mount, intrinsics, baseline, image size and depth range."""
        return {
            "mount": self.mount, "position": list(self.position), "right": list(self.right), "up": list(self.up),
            "baseline": self.baseline, "intrinsics": self.intrinsics(), "height": self.height, "width": self.width,
            "depth_max": self.depth_max,
        }  # fmt: skip


Kind = Literal["rgb", "depth", "segmentation"]
"""What a camera gives: colours, depth in millimetres, or where the object is."""


@dataclass(frozen=True)
class CameraConfig(Checked):
    """A camera beside the pair. Each kind that it gives is an observation group NAME_KIND; without noise, and its place
    is not drawn."""

    name: str
    """What its groups are called after: letters, digits and underscores."""
    gives: tuple[Kind, ...] = ("rgb",)
    """Kinds of image, each of which becomes an observation group."""
    mount: str = "world"
    """Body that carries it: "palm", "world", or another one of the model."""
    position: Annotated[tuple[float, float, float], Within(-100, 100)] = (1.3, 0.0, 0.5)
    """m in the mount's frame."""
    right: Annotated[tuple[float, float, float], Within(-1, 1)] = (0.0, 1.0, 0.0)
    """The camera's x axis in the mount's frame."""
    up: Annotated[tuple[float, float, float], Within(-1, 1)] = (-0.5, 0.0, 0.866)
    """The camera's y axis in the mount's frame."""
    fov_y: Annotated[float, Within(1, 150)] = 45.0
    """Vertical field of view, degrees."""
    intrinsics: Annotated[tuple[float, float, float, float], Within(0, 100_000)] | None = None
    """fx, fy, cx, cy of a calibration, pixels, instead of `fov_y`: fx is fy within 1 %, the middle within 1 pixel."""
    height: Pixels = 64
    """Height of an image, pixels."""
    width: Pixels = 64
    """Width of an image, pixels."""
    depth_max: Annotated[float, Within(0.1, 32)] = 2.0
    """m: depth beyond this is clipped to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.isidentifier():
            raise HandsightError(f"camera {self.name!r}: expected a name of letters, digits and underscores")
        if self.intrinsics is not None:
            fx, fy, cx, cy = self.intrinsics
            if abs(fx - fy) > 0.01 * fy or abs(cx - self.width / 2) > 1 or abs(cy - self.height / 2) > 1 or not fy:
                raise HandsightError(
                    f"camera {self.name!r}: expected intrinsics fx = fy > 0, cx = {self.width / 2:g} and cy = "
                    f"{self.height / 2:g} (rectify the images first), found {self.intrinsics}"
                )

    @property
    def opening(self) -> float:
        """Vertical field of view, degrees, of the calibration if there is one."""
        if self.intrinsics is None:
            return self.fov_y
        return math.degrees(2 * math.atan(self.height / 2 / self.intrinsics[1]))
