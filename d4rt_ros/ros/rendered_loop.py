"""A loop of frames that is played while it is still rendered."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Frame = TypeVar("Frame")

LEAD = 4  # frames before the first one is played: the first guess of how long one takes
LOOP_IS_CLOSED = "all images are rendered"  # in the log: who measures the camera at its own pace waits for it
RECENT = 16  # frames whose time says how long those to come will take


class RenderedLoop(Generic[Frame]):
    """Takes `count` frames from an iterator, in a thread of its own, and gives them by number.

    Until all are there they are due so far apart that the last one is made just in time: an even pace, slower than
    `period` (nanoseconds) where rendering is. The scene then moves slower than it will; what is true of a frame
    stays true of it.
    """

    def __init__(self, frames: Iterator[Frame], count: int, period: int, log) -> None:
        self._count, self._period, self._log = count, period, log
        self._frames: list[Frame] = []
        self._made: deque[float] = deque(maxlen=RECENT)
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._take, args=(frames,), name="rendering", daemon=True).start()

    def begun(self, stop: threading.Event) -> bool:
        """Wait for the first frames; False where `stop` came first. Raises what rendering raised."""
        return self.frame(min(LEAD, self._count) - 1, stop) is not None

    def frame(self, index: int, stop: threading.Event) -> Frame | None:
        """Wait for a frame; None where `stop` came first. Raises what rendering raised."""
        with self._changed:
            while len(self._frames) <= index and not stop.is_set():
                if self._failure is not None:
                    raise self._failure
                self._changed.wait(0.1)
            return None if stop.is_set() else self._frames[index]

    def interval(self, index: int) -> int:
        """Nanoseconds from frame `index` to the next one."""
        with self._changed:
            missing = self._count - len(self._frames)
            if not missing:
                return self._period
            each = (self._made[-1] - self._made[0]) / max(len(self._made) - 1, 1)
        interval = max(self._period, round(1e9 * each * missing / max(self._count - index - 1, 1)))
        if index == 0 and interval > 1.1 * self._period:
            self._log.info(
                f"until all are rendered, about {1e9 / interval:.1f} images a second: the scene moves slower"
            )
        return interval

    def _take(self, frames: Iterator[Frame]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self._frames.append(frame)
                    self._made.append(time.monotonic())
                    self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        if len(self._frames) == self._count:
            self._log.info(f"{LOOP_IS_CLOSED}: {1e9 / self._period:g} images a second from here on")
