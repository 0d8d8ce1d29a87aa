"""A region of interest: a rectangle of an image, and what of the rectified view it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from d4rt_ros.geometry.arguments import whole_number
from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.lens import Lens

LEAST = 2  # pixels across: fewer have no geometry


class RegionError(ValueError):
    """A region that is none of the image."""


@dataclass(frozen=True)
class Region:
    """Columns x to x + width - 1 and rows y to y + height - 1 of an image.

    raw: of the camera's image as it came, before it was rectified; else of the rectified view. Where nothing is
    rectified the two are one. Raises RegionError for what is no rectangle of 2x2 pixels or more.
    """

    x: int
    y: int
    width: int
    height: int
    raw: bool = True

    def __post_init__(self) -> None:
        for name in ("x", "y", "width", "height"):
            whole_number(getattr(self, name), f"a region's {name}", error=RegionError)
        if self.x < 0 or self.y < 0:
            raise RegionError(f"{self}; it must begin within the image, at 0, 0 or further")
        if self.width < LEAST or self.height < LEAST:
            raise RegionError(f"{self}; it must have {LEAST}x{LEAST} pixels or more")

    def __str__(self) -> str:
        return f"a region of {self.width}x{self.height} pixels at {self.x}, {self.y}"


@dataclass(frozen=True, eq=False)
class Area:
    """What of a view (height, width) is of interest: columns x to x + width - 1 and rows y to y + height - 1.

    mask: (H, W) bool of the whole view, where not every pixel of the rectangle belongs to it; else None.
    """

    x: int
    y: int
    width: int
    height: int
    mask: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the rectangle, as if it were an image of its own."""
        return self.height, self.width

    def crop(self, image: np.ndarray) -> np.ndarray:
        """The rectangle of an image (H, W[, C]) of the view; not copied."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def camera(self, camera: Pinhole) -> Pinhole:
        """The camera of the rectangle alone, of that of the whole view."""
        return replace(
            camera, cx=camera.cx - self.x, cy=camera.cy - self.y, width=self.width, height=self.height
        )

    def contains(self, pixels) -> np.ndarray:
        """Which pixels (..., 2) of the view lie in it, (...) bool; NaN lies nowhere."""
        pixels = np.asarray(pixels)
        low, high = (
            np.array([self.x, self.y]) - 0.5,
            np.array([self.x + self.width, self.y + self.height]) - 0.5,
        )
        inside = ((pixels >= low) & (pixels <= high)).all(-1)
        if self.mask is not None:
            u, v = np.clip(np.rint(pixels[inside]).astype(np.intp), 0, np.array(self.mask.shape[::-1]) - 1).T
            inside[inside] = self.mask[v, u]
        return inside

    def filled(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool of a view of `size` (height, width): where it is."""
        if self.mask is not None:
            return self.mask
        filled = np.zeros(size, bool)
        filled[self.y : self.y + self.height, self.x : self.x + self.width] = True
        return filled


@lru_cache(maxsize=4)  # images of a few sizes may take turns; a mask of a raw image's takes tens of ms
def area_of(region: Region | None, size: tuple[int, int], lens: Lens | None = None) -> Area:
    """What of a view of `size` (height, width) a region is; None: all of it.

    lens: what the view was rectified from. A rectangle of the raw image is none of the view: the area is then the
    smallest rectangle around it, with a mask. Raises RegionError for a region that is not within the image, or of
    which the view shows nothing.
    """
    height, width = size
    if region is None:
        return Area(0, 0, width, height)
    if region.x + region.width > width or region.y + region.height > height:
        raise RegionError(
            f"{region} is not within the image of {width}x{height}; cut it off at the image's edge"
        )
    if lens is None or not region.raw:
        return Area(region.x, region.y, region.width, region.height)
    # A pixel of the view belongs to it where its place in the raw image does.
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    x, y = np.moveaxis(lens.to_image(np.stack([u, v], axis=-1)), -1, 0)
    mask = (x >= region.x - 0.5) & (x <= region.x + region.width - 0.5)
    mask &= (y >= region.y - 0.5) & (y <= region.y + region.height - 0.5)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) < LEAST or len(rows) < LEAST:
        raise RegionError(f"{region} of the raw image; the rectified view shows nothing of it")
    x, y, mask.flags.writeable = int(columns[0]), int(rows[0]), False
    width, height = int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
    whole = mask[y : y + height, x : x + width].all()
    return Area(x, y, width, height, None if whole else mask)
