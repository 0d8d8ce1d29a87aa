"""What an open source of frames is, whatever it reads: a video, a folder, a camera, a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from d4rt_ros.io.frame import Frame


class SourceError(ValueError):
    """A source of frames that cannot be opened or read."""


@dataclass(frozen=True)
class Frames:
    """An open source; iterating gives Frames of one size with strictly increasing stamps: nanoseconds since the first
    frame of a file or folder, since the epoch for a camera or stream.

    size: (height, width) of the images. rate: frames per second. count: number of frames, as the file claims
    it, or None (camera, stream). live: frames come at their own pace and cannot be read again. has_depth: frames
    carry depth. A file or folder starts again with each new iteration. Raises SourceError while iterating
    where a frame cannot be read, or a live source stops; a video that ends before its time is a warning.
    """

    name: str
    size: tuple[int, int]
    rate: float
    count: int | None
    live: bool
    has_depth: bool
    read: Callable[[], Iterator[Frame]]

    def __iter__(self) -> Iterator[Frame]:
        return self.read()


def check_size(image: np.ndarray, size: tuple[int, ...], what: str) -> None:
    if image.shape[:2] != size[:2]:
        raise SourceError(
            f"{what} is {image.shape[1]}x{image.shape[0]}, the frames before it are {size[1]}x{size[0]}; "
            "frames must be of one size (choose the files of a folder with a pattern)"
        )
