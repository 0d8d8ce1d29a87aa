"""The region of interest, from the parameter `roi` or the topic `roi`: the last one that the images have counts."""

from __future__ import annotations

import threading
from typing import Callable

from d4rt_ros.geometry import Lens, Region, RegionError, area_of
from d4rt_ros.ros.broadcasting import WARN


def region_of(numbers) -> Region | None:
    """x, y, width, height in pixels of the image topic; None, the whole image, where width and height are 0. Raises
    RegionError."""
    x, y, width, height = numbers
    return Region(x, y, width, height) if width or height else None


def region_from_message(msg) -> Region | None:
    """Of a sensor_msgs/RegionOfInterest; None where it is the whole image, which it says by 0x0. With do_rectify it is
    of the raw image, else of the view as it is rectified. Raises RegionError."""
    if not (msg.width or msg.height):
        return None
    return Region(msg.x_offset, msg.y_offset, msg.width, msg.height, raw=msg.do_rectify)


class Interest:
    """Which region is asked for, and which is used: None is the whole image.

    apply(region): have it used. wanted: what is asked for now. Safe to use from several threads.
    """

    def __init__(self, apply: Callable[[Region | None], None]) -> None:
        self._apply, self._lock = apply, threading.Lock()
        self.wanted: Region | None = None
        self._image: tuple[tuple[int, int], Lens | None] | None = None
        self._unfit = self._refused = ""

    @property
    def problems(self) -> list[tuple[bytes, str]]:
        """(level of diagnostics, sentence)."""
        return [(WARN, sentence) for sentence in (self._unfit, self._refused) if sentence]

    def choose(self, region: Region | None) -> None:
        """Use a region from now on. Raises RegionError for one that the images do not have; the last one stays."""
        with self._lock:
            if self._image is not None:
                area_of(region, *self._image)
            self.wanted, self._unfit, self._refused = region, "", ""
            self._apply(region)

    def take(self, msg) -> None:
        """The same with a sensor_msgs/RegionOfInterest; why one is refused, `problems` tells until the next."""
        try:
            self.choose(region_from_message(msg))
        except RegionError as error:
            now = "the whole image" if self.wanted is None else str(self.wanted)
            self._refused = f"a message on roi is refused: {error}; {now} stays"

    def see(self, size: tuple[int, int], lens: Lens | None) -> None:
        """An image of (height, width) came, through this lens."""
        with self._lock:
            if self._image == (size, lens):
                return
            self._image, self._unfit = (size, lens), ""
            try:
                area_of(self.wanted, size, lens)
            except RegionError as error:
                self._unfit = f"the whole image is used instead of the region of interest: {error}"
            self._apply(None if self._unfit else self.wanted)
