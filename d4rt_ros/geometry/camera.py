"""The pinhole camera. Pixels: integer coordinates are pixel centres, x right, y down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.arguments import real_array, whole_number


class CameraError(ValueError):
    """Numbers that are not a camera's."""


@dataclass(frozen=True)
class Pinhole:
    """Focal lengths fx, fy and principal point cx, cy in pixels, of an image of width x height pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        numbers = real_array([self.fx, self.fy, self.cx, self.cy], "fx, fy, cx, cy", (4,), error=CameraError)
        if not (np.isfinite(numbers).all() and self.fx > 0 and self.fy > 0):
            raise CameraError(
                f"fx, fy, cx, cy = {self.fx}, {self.fy}, {self.cx}, {self.cy} is not a camera: they "
                "must be finite, fx and fy positive; an uncalibrated camera (all zero) must be calibrated"
            )
        for name in ("width", "height"):
            whole_number(getattr(self, name), name, error=CameraError)
        if self.width < 2 or self.height < 2:
            raise CameraError(
                f"an image of {self.width}x{self.height} has no geometry; it needs 2x2 pixels or more"
            )

    @classmethod
    def from_matrix(cls, matrix, width: int, height: int) -> Pinhole:
        """From K, (3, 3) or its 9 numbers row by row as in CameraInfo; a skew is ignored."""
        k = real_array(matrix, "K", error=CameraError)
        if k.size != 9:
            raise CameraError(f"K has {k.size} numbers; a camera matrix has 9")
        k = k.reshape(3, 3)
        width, height = (whole_number(x, "width and height", error=CameraError) for x in (width, height))
        return cls(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)

    @classmethod
    def centred(cls, fx: float, fy: float, width: int, height: int) -> Pinhole:
        """With the principal point in the middle of the image."""
        fx, fy = (float(real_array(x, "a focal length", (), error=CameraError)) for x in (fx, fy))
        width, height = (whole_number(x, "width and height", error=CameraError) for x in (width, height))
        return cls(fx, fy, (width - 1) / 2, (height - 1) / 2, width, height)

    @property
    def matrix(self) -> np.ndarray:
        """K (3, 3) float64."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def grid(self, columns: int, rows: int) -> Pinhole:
        """The camera of a grid of points over the image, whose corners are the image's corner pixels.

        For `tasks.pixel_grid`; an image that is resized is `resized_matrix`'s.
        """
        columns, rows = (whole_number(x, "columns and rows", error=CameraError) for x in (columns, rows))
        if columns < 2 or rows < 2:
            raise CameraError(f"a grid of {columns}x{rows} points over an image; it needs 2x2 or more")
        x, y = (columns - 1) / (self.width - 1), (rows - 1) / (self.height - 1)
        return Pinhole(self.fx * x, self.fy * y, self.cx * x, self.cy * y, columns, rows)

    def project(self, points) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the optical frame; NaN where z is not positive."""
        points = _floats(points, "points", (..., 3))
        z = points[..., 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = points[..., :2] / np.where(z > 0, z, np.nan)
        return pixels * _pair(self.fx, self.fy, points) + _pair(self.cx, self.cy, points)

    def backproject(self, pixels, depth) -> np.ndarray:
        """Points (..., 3) in the optical frame, of pixels (..., 2) at depth z (...), not at distance."""
        pixels = _floats(pixels, "pixels", (..., 2))
        depth = real_array(depth, "depth", None, pixels.dtype, CameraError)[..., None]
        sides = (pixels - _pair(self.cx, self.cy, pixels)) / _pair(self.fx, self.fy, pixels)
        return np.concatenate([sides * depth, np.broadcast_to(depth, sides.shape[:-1] + (1,))], axis=-1)

    def backproject_map(self, depth) -> np.ndarray:
        """Points (height, width, 3) of a depth map (height, width) of the whole image, of its type."""
        depth = _floats(depth, "a depth map", None)
        if depth.shape != (self.height, self.width):
            raise CameraError(
                f"a depth map of shape {depth.shape} is not of this {self.width}x{self.height} camera; "
                "use camera.grid(width, height) of the map"
            )
        points = np.empty(depth.shape + (3,), depth.dtype)
        points[..., 0] = depth * ((np.arange(self.width) - self.cx) / self.fx).astype(depth.dtype)
        points[..., 1] = depth * ((np.arange(self.height) - self.cy) / self.fy).astype(depth.dtype)[:, None]
        points[..., 2] = depth
        return points


def resized_matrix(matrix, before: Sequence[int], after: Sequence[int]) -> np.ndarray:
    """Camera matrices (…, 3, 3) or (…, 3, 4) of an image of height and width `before`, resized to `after` by areas.

    Pixel centres are at integers, so the image's corner, which stays where it is, is at -0.5. Raises CameraError for
    what is no matrix or no size.
    """
    before, after = (
        real_array(size, "an image's (height, width)", (2,), None, CameraError) for size in (before, after)
    )
    if not ((before > 0) & (after > 0) & np.isfinite(before) & np.isfinite(after)).all():
        raise CameraError(f"an image of {before} resized to {after}; (height, width) must be positive")
    scale = (after / before)[::-1]
    matrix = np.array(real_array(matrix, "a camera matrix", None, None, CameraError), np.float64)
    if matrix.ndim < 2 or matrix.shape[-2] != 3 or matrix.shape[-1] not in (3, 4):
        raise CameraError(f"a camera matrix of shape {matrix.shape}; it must be (…, 3, 3) or (…, 3, 4)")
    matrix[..., :2, :] *= scale[:, None]
    matrix[..., :2, 2] += (scale - 1) / 2
    return matrix


def _floats(values, what: str, shape: tuple | None) -> np.ndarray:
    values = real_array(values, what, shape, None, CameraError)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _pair(x: float, y: float, like: np.ndarray) -> np.ndarray:
    return np.array([x, y], like.dtype)
