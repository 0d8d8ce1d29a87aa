"""Masks from outside: pixels that nothing may be taken from, such as the robot's own body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from os import PathLike

import numpy as np

from d4rt_ros.geometry.lens import Lens
from d4rt_ros.io.encoded_images import ImageError
from d4rt_ros.io.frame import Frame
from d4rt_ros.io.image_files import read_mask


def mask_in_view(mask: np.ndarray, lens: Lens | None) -> np.ndarray:
    """A mask (H, W) bool of a raw image in the view that is rectified from it through `lens`; None: it is the image.

    A pixel of the view is masked where any masked one has a part in it.
    """
    return mask if lens is None else lens.rectify(np.where(mask, np.uint8(255), np.uint8(0))) > 0


def named_mask(mask: str | PathLike | np.ndarray) -> tuple[np.ndarray, str]:
    """(H, W) bool of an image file, or of an array of that shape that is not 0 where it masks; and its name. Raises
    ImageError."""
    if isinstance(mask, (str, PathLike)):
        return read_mask(mask), f"the mask {mask}"
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "bui":
        raise ImageError(
            f"a mask of {array.dtype} of shape {array.shape}; booleans or whole numbers (height, width), or a file"
        )
    return array != 0, "the mask"


def masked_frames(frames: Iterable[Frame], mask: np.ndarray, name: str) -> Iterator[Frame]:
    """Frames with a mask (H, W) bool of the images as they come from their source. Raises ImageError for one of another
    size, by the name of the mask."""
    lens, masked = None, mask
    for frame in frames:
        check_mask_size(mask.shape, frame.image.shape[:2], name)
        if frame.lens is not lens:
            lens, masked = frame.lens, mask_in_view(mask, frame.lens)
        yield replace(frame, masked=masked if frame.masked is None else masked | frame.masked)


def check_mask_size(size: tuple[int, int], images: tuple[int, int], name: str) -> None:
    """Raises ImageError where a mask of (height, width) is not for images of that size."""
    if size != images:
        raise ImageError(
            f"{name} has {size[1]}x{size[0]} pixels, the images have {images[1]}x{images[0]}; a mask must have the "
            "size of the images as they come"
        )
