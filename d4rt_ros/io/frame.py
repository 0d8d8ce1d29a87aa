"""One image with its time, and what is known beside it, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.lens import Lens

DEFAULT_RATE = 30.0  # Hz, where neither the source nor the user says


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a video, a folder, a bag, a recorded sequence or a topic.

    image: (H, W, 3) uint8 RGB, as a pinhole camera sees it.
    stamp: int nanoseconds; each source says since when.
    camera: the optical camera that `image` is of, W x H pixels; None where it is not calibrated.
    lens: what the camera's raw image was rectified from, whose pixels the user speaks of; None: the image's own.
    depth: (H, W) float32 metres along z as it was measured, registered to `image`, NaN where unknown; None: none was.
    world_from_camera: (4, 4) float64 metres, the optical camera as it was measured; None: it was not.
    masked: (H, W) bool, pixels that nothing may be taken from, such as the robot's own body; None: there are none.
    """

    image: np.ndarray
    stamp: int
    camera: Pinhole | None = None
    lens: Lens | None = None
    depth: np.ndarray | None = None
    world_from_camera: np.ndarray | None = None
    masked: np.ndarray | None = None

    @cached_property
    def valid(self) -> np.ndarray | None:
        """(H, W) bool: which pixels may be used: those that a raw image fills of its rectified one, and that are not
        masked; None: all."""
        filled = self.lens.valid if self.lens else None
        if self.masked is None:
            return filled
        return ~self.masked if filled is None else filled & ~self.masked

    def filled(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(N,) bool: whether pixels u, v (N,) within the image may be used."""
        if self.valid is None:
            return np.ones(len(u), bool)
        return self.valid[np.rint(v).astype(np.intp), np.rint(u).astype(np.intp)]


def even_stamp(index: int, rate: float = DEFAULT_RATE) -> int:
    """ns of frame `index`, the first at 0, where so many frames come in a second."""
    return round(index * 1e9 / rate)
