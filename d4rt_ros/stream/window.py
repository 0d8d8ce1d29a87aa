"""The sliding window of frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.lens import Lens


class StampError(ValueError):
    """A frame whose stamp says no time that could follow the last one."""


@dataclass(eq=False)
class Frame:
    """One image of the stream.

    image: (H, W, 3) uint8 RGB, as a pinhole camera sees it.
    stamp: int nanoseconds.
    camera: of the image; None where it is not calibrated.
    prepared: the image as the model takes it (`model.prepare`); the pipeline fills it in on first use.
    epoch: counts the window's restarts; the window fills it in, so that the world restarts with it.
    lens: what the camera's raw image was rectified from, whose pixels the user speaks of; None: the image's own.
    """

    image: np.ndarray
    stamp: int
    camera: Pinhole | None = None
    prepared: object = None
    epoch: int = 0
    lens: Lens | None = None


class Window:
    """Keeps every `stride`-th frame that arrives and the newest `frames` of these.

    A window is due when it is full and `hop` frames were kept since the last one that was due. A stamp that
    goes back (a bag that loops) and an image of another size restart it; `restart_reason` says why, in a
    sentence.
    """

    def __init__(self, frames: int, stride: int = 1, hop: int = 1) -> None:
        for name, value in (("frames", frames), ("stride", stride), ("hop", hop)):
            if value < 1:
                raise ValueError(f"window {name} = {value}; it must be 1 or more")
        self.frames, self.stride, self.hop = frames, stride, hop
        self.restarts, self.restart_reason = 0, ""
        self._kept: deque[Frame] = deque(maxlen=frames)
        self._begin()

    def add(self, frame: Frame) -> bool:
        """Take a frame; True where a window is due. Raises StampError and changes nothing where the stamp is
        not positive or is the last frame's."""
        if frame.stamp <= 0:
            raise StampError(f"a stamp of {frame.stamp} ns; the source must stamp its images with their time")
        if frame.stamp == self._stamp:
            raise StampError(f"the stamp {frame.stamp} ns is the last frame's too; an image was sent twice")
        if frame.stamp < self._stamp:
            back = (self._stamp - frame.stamp) / 1e9
            self.reset(f"the time went back by {back:.3f} s")
        elif self._size not in (None, frame.image.shape[:2]):
            old, new = ("{1}x{0}".format(*size) for size in (self._size, frame.image.shape[:2]))
            self.reset(f"the image size changed from {old} to {new}")
        self._stamp, self._size = frame.stamp, frame.image.shape[:2]
        return self._keep(frame)

    def clip(self) -> list[Frame]:
        """The frames kept, oldest first."""
        return list(self._kept)

    def reset(self, reason: str = "it was asked for") -> None:
        """Forget everything: the next frame begins a new window, and a new world."""
        self.restarts += 1
        self.restart_reason = reason
        self._begin()

    def __len__(self) -> int:
        return len(self._kept)

    def _begin(self) -> None:
        self._kept.clear()
        self._stamp, self._size = 0, None
        self._arrived = self._fresh = 0

    def _keep(self, frame: Frame) -> bool:
        self._arrived += 1
        if (self._arrived - 1) % self.stride:
            return False
        frame.epoch = self.restarts
        self._kept.append(frame)
        self._fresh += 1
        if len(self._kept) < self.frames or self._fresh < self.hop:
            return False
        self._fresh = 0
        return True
