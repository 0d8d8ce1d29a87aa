"""The sliding window of frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.camera import Pinhole
from d4rt_ros.geometry.lens import Lens

PERIODS = 15  # so many intervals say what the stream's period is, and that it has changed
# So many late frames in a row are a recording that begins again; fewer have been overtaken.
LATE_IN_A_ROW = 3
# After a jump ahead, so many frames may still turn out to have been stamped wrong.
DOUBTED = 3


class StampError(ValueError):
    """A frame whose stamp says no time that could follow the last one."""


@dataclass(eq=False)
class Frame:
    """One image of the stream.

    image: (H, W, 3) uint8 RGB, as a pinhole camera sees it.
    stamp: int nanoseconds.
    camera: of the image; None where it is not calibrated.
    prepared: the image as the model takes it (`model.prepare`); the pipeline fills it in on first use.
    look: what its pixels say (`stream.sight.Look`); the pipeline fills it in.
    epoch: counts the window's restarts; the window fills it in, so that the world restarts with it.
    pause: ns since the frame before, as the window saw it arrive (with frames that the stride left out).
    lens: what the camera's raw image was rectified from, whose pixels the user speaks of; None: the image's own.
    """

    image: np.ndarray
    stamp: int
    camera: Pinhole | None = None
    prepared: object = None
    look: object = None
    epoch: int = 0
    pause: int = 0
    lens: Lens | None = None


@dataclass
class _Segment:
    """Frames without a gap. kept: the newest of those that the stride leaves. stamp: of the last that arrived.
    arrived: how many have. fresh: kept since a window was due. pause: the longest since the last one kept, ns.
    intervals: the stream's newest, ns."""

    kept: deque
    intervals: deque
    stamp: int | None = None
    arrived: int = 0
    fresh: int = 0
    pause: int = 0

    @property
    def period(self) -> float | None:
        """ns between two frames, None where it is not known: the median, or the mean without the longest two where
        frames come in bursts."""
        count = len(self.intervals)
        if not count:
            return None
        ordered = sorted(self.intervals)
        steady = ordered[: count - min(2, count // 2)]
        return max(ordered[count // 2], sum(steady) / len(steady))


class Window:
    """Keeps every `stride`-th frame that arrives and the newest `frames` of these.

    A window is due when it is full and `hop` frames were kept since the last one that was due. It never spans a
    gap: a pause longer than `max_gap` of the stream's own periods (the median of the newest intervals), after which
    it fills anew. A frame that is little older than the last is dropped; a large step back, or several frames in a
    row (a bag that loops), and an image of another size restart it; `restart_reason` says why, in a sentence.
    Frames stamped far ahead are dropped in hindsight, when the stream goes on where it was.

    restarts, gaps: counted, with the sentence of the last one. late, outliers: frames that were dropped because
    they came too late, or were stamped far ahead.
    """

    def __init__(self, frames: int, stride: int = 1, hop: int = 1, max_gap: float = 10.0) -> None:
        for name, value in (("frames", frames), ("stride", stride), ("hop", hop)):
            if value < 1:
                raise ValueError(f"window {name} = {value}; it must be 1 or more")
        if not max_gap >= 2:
            raise ValueError(f"window max_gap = {max_gap}; it must be 2 periods of the stream or more")
        self.frames, self.stride, self.hop, self.max_gap = frames, stride, hop, max_gap
        self.restarts, self.restart_reason = 0, ""
        self.gaps, self.gap_reason = 0, ""
        self.late = self.outliers = 0
        self._begin()

    def add(self, frame: Frame) -> bool:
        """Take a frame; True where a window is due. Raises StampError for a frame that is refused: a stamp that is
        negative, none at all, or the last frame's, and a frame that comes a little too late."""
        last = self._now.stamp
        if frame.stamp < 0:
            raise StampError(f"a stamp of {frame.stamp} ns; it must not be negative")
        if last is not None and frame.stamp == 0:
            raise StampError("an image is stamped 0; the driver must stamp its images with their time")
        if frame.stamp == last:
            raise StampError(f"the stamp {frame.stamp} ns is the last frame's too; an image was sent twice")
        if last is not None and frame.stamp < last:
            self._step_back(frame)
        size = frame.image.shape[:2]
        if self._size not in (None, size):
            old, new = ("{1}x{0}".format(*size) for size in (self._size, size))
            self.reset(f"the image size changed from {old} to {new}")
        self._size = size
        return self._take(frame)

    def clip(self) -> list[Frame]:
        """The frames kept, oldest first."""
        return list(self._now.kept)

    def reset(self, reason: str = "it was asked for") -> None:
        """Forget everything: the next frame begins a new window, and a new world."""
        self.restarts += 1
        self.restart_reason = reason
        self._begin()

    def __len__(self) -> int:
        return len(self._now.kept)

    def _begin(self) -> None:
        self._size = None
        self._now = self._segment()
        # A jump ahead is doubted for some frames: the segment before it, and how many frames are doubted.
        self._before, self._doubted = None, 0
        self._late: list[Frame] = []  # in a row

    def _segment(self) -> _Segment:
        return _Segment(deque(maxlen=self.frames), deque(maxlen=PERIODS))

    def _is_gap(self, pause: float, segment: _Segment) -> bool:
        """Whether so many ns, forwards or back, are long; not while the period is unknown."""
        period = segment.period
        return period is not None and pause > self.max_gap * period

    def _step_back(self, frame: Frame) -> None:
        """Make the frame, which is older than the last, the next of the stream. Raises StampError where it is to
        be dropped instead."""
        before = self._before
        if before is not None and frame.stamp > before.stamp:
            # The jump ahead was none. This frame goes on where the stream was, or has jumped ahead too.
            self._now = before
            if not self._is_gap(frame.stamp - before.stamp, before):
                self.outliers += self._doubted
                self._before, self._doubted = None, 0
            return
        back = self._now.stamp - frame.stamp
        goes_on = self._late and self._late[-1].stamp < frame.stamp
        self._late = [*self._late, frame] if goes_on else [frame]
        if not self._is_gap(back, self._now) and len(self._late) < LATE_IN_A_ROW:
            self.late += 1
            raise StampError(
                f"a frame is {back / 1e9:.3f} s older than the last; it came too late and is dropped"
            )
        begins = self._late[:-1]
        self.reset(f"the time went back by {back / 1e9:.3f} s")
        for late in begins:
            self._take(late)

    def _take(self, frame: Frame) -> bool:
        now, self._late = self._now, []
        if now.stamp is not None:
            pause = frame.stamp - now.stamp
            if self._is_gap(pause, now):
                self._note_gap(pause)
                self._before, now = self._before or now, self._segment()
                now.intervals.extend(self._now.intervals)
                self._now = now
            now.pause = max(now.pause, pause)
            # Also a gap's, or a stream that has become slower would never be one again.
            now.intervals.append(pause)
        now.stamp = frame.stamp
        self._doubted += self._before is not None
        if self._doubted > DOUBTED:
            self._before, self._doubted = None, 0
        return self._keep(frame, now)

    def _keep(self, frame: Frame, now: _Segment) -> bool:
        now.arrived += 1
        if (now.arrived - 1) % self.stride:
            return False
        frame.epoch, frame.pause, now.pause = self.restarts, now.pause, 0
        now.kept.append(frame)
        now.fresh += 1
        self._forget_before_gap(now)
        if len(now.kept) < self.frames or now.fresh < self.hop:
            return False
        now.fresh = 0
        return True

    def _forget_before_gap(self, now: _Segment) -> None:
        """That a pause was long may turn out only when the period is known."""
        longest = self.max_gap * (now.period or np.inf)
        gaps = [i for i, frame in enumerate(now.kept) if i and frame.pause > longest]
        if gaps:
            self._note_gap(now.kept[gaps[-1]].pause)
            for _ in range(gaps[-1]):
                now.kept.popleft()

    def _note_gap(self, pause: int) -> None:
        self.gaps += 1
        self.gap_reason = f"no image came for {pause / 1e9:.2f} s"
