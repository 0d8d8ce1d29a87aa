"""The sliding window of frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from d4rt_ros.io.frame import Frame

PERIODS = 15  # so many intervals say what the stream's period is, and that it has changed
# So many frames in a row, in order, are believed: a recording that begins again, or a jump ahead. Fewer are wrong.
BELIEVED = 3
# Two intervals that are longer together, in periods, are a jump ahead, which the next frames confirm or refute.
JUMP = 3.5


class StampError(ValueError):
    """A frame whose stamp says no time that could follow the last one."""


@dataclass(eq=False)
class WindowFrame:
    """A frame, and what is noted of it while it is in a window.

    epoch: counts the window's restarts, so that the world restarts with it.
    pause: ns since the frame before, as the window saw it arrive (with frames that the stride left out).
    prepared: its image as the model takes it (`model.prepare`); the pipeline fills it in on first use.
    look: what its pixels say (`stream.sight.Look`); the pipeline fills it in.
    pose: where it was when it was the newest of a window (`stream.results.Pose`), in the model's unit; the pipeline
        fills it in.
    moving: (H, W) bool, which of its pixels move; None where that is not known. The pipeline fills it in.
    """

    frame: Frame
    epoch: int = 0
    pause: int = 0
    prepared: object = None
    look: object = None
    pose: object = None
    moving: np.ndarray | None = None

    @property
    def at_rest(self) -> np.ndarray | None:
        """(H, W) bool, pixels that may be used and are not known to move; None: all."""
        if self.moving is None:
            return self.frame.valid
        return ~self.moving if self.frame.valid is None else self.frame.valid & ~self.moving

    @property
    def image(self) -> np.ndarray:
        return self.frame.image

    @property
    def stamp(self) -> int:
        return self.frame.stamp


@dataclass
class _Line:
    """Frames that follow one another. kept: the newest since a gap of those that the stride leaves. stamp: of the
    last that arrived. arrived: how many have, since a gap. fresh: kept since a window was due. pause: the longest
    since the last one kept, ns. intervals: the stream's newest, ns. total: frames since the window began.
    doubted: frames since the last jump ahead while that is not believed, else 0."""

    kept: deque
    intervals: deque
    stamp: int | None = None
    arrived: int = 0
    fresh: int = 0
    pause: int = 0
    total: int = 0
    doubted: int = 0

    @property
    def period(self) -> float:
        """ns between two frames, inf where it is not known: the median, or the mean without the longest two where
        frames come in bursts."""
        if not self.intervals:
            return np.inf
        ordered, count = sorted(self.intervals), len(self.intervals)
        steady = ordered[: count - min(2, count // 2)]
        return max(ordered[count // 2], sum(steady) / len(steady))


class Window:
    """Keeps every `stride`-th frame that arrives and the newest `frames` of these.

    A window is due when it is full and `hop` frames were kept since the last one that was due. It never spans a
    gap: a pause longer than `max_gap` of the stream's own periods (the median of the newest intervals), after which
    it fills anew.

    Single stamps may be wrong. A frame no newer than the last is refused and held; three in a row that increase are a
    time that has gone back (a bag that loops), and begin anew. A frame that jumped ahead is taken, but no window is
    due before two more follow it; where one goes on from before the jump, what came since is dropped. An image of
    another size restarts the window too; `restart_reason` says why.

    restarts, gaps: counted, with the sentence of the last one. late, outliers: frames that were dropped because they
    came a little too late, or were stamped wrong otherwise.
    """

    def __init__(self, frames: int, stride: int = 1, hop: int = 1, max_gap: float = 10.0) -> None:
        if frames < 1:
            raise ValueError(f"window frames = {frames}; it must be 1 or more")
        self.frames = frames
        self.change(stride, hop, max_gap)
        self.restarts, self.restart_reason = 0, ""
        self.gaps, self.gap_reason = 0, ""
        self.late = self.outliers = 0
        self._begin()

    def add(self, frame: Frame) -> bool:
        """Take a frame; True where a window is due. Raises StampError for a frame that is refused: a stamp that is
        negative, none at all, or no later than the last one's, unless it is seen that the last ones were wrong."""
        last = self._now.stamp
        if frame.stamp < 0:
            self.outliers += 1
            raise StampError(f"a stamp of {frame.stamp} ns; it must not be negative")
        if last is None or frame.stamp > last or self._refutes_a_jump(frame):
            return self._take(frame)
        return self._hold(frame)

    def change(self, stride: int, hop: int, max_gap: float) -> None:
        """Go on with other values. Raises ValueError for what cannot be."""
        for name, value in {"stride": stride, "hop": hop}.items():
            if value < 1:
                raise ValueError(f"window {name} = {value}; it must be 1 or more")
        if not max_gap >= 2:
            raise ValueError(f"window max_gap = {max_gap}; it must be 2 periods of the stream or more")
        self.stride, self.hop, self.max_gap = stride, hop, max_gap

    def clip(self) -> list[WindowFrame]:
        """The frames kept, oldest first."""
        return list(self._now.kept)

    def reset(self, reason: str = "it was asked for") -> None:
        """Forget everything: the next frame begins a new window, and a new world."""
        self.restarts, self.restart_reason = self.restarts + 1, reason
        self._begin()

    def __len__(self) -> int:
        return len(self._now.kept)

    def _begin(self) -> None:
        self._size, self._was_due = None, False
        self._now = _Line(deque(maxlen=self.frames), deque(maxlen=PERIODS))
        self._before: list[_Line] = []  # as the line was before each jump ahead that is still doubted
        self._held: list[Frame] = []  # refused last, one following the other

    def _is_gap(self, pause: float) -> bool:
        """Whether so many ns, forwards or back, are long; not while the period is unknown."""
        return pause > self.max_gap * self._now.period

    def _is_jump(self, pause: int) -> bool:
        """Whether the pause may be a wrong stamp. One like the last jump is the new period of a stream."""
        now = self._now
        if not now.intervals or now.doubted and pause <= 1.5 * now.intervals[-1]:
            return False
        return self._is_gap(pause) or pause + now.intervals[-1] > JUMP * now.period

    def _refutes_a_jump(self, frame: Frame) -> bool:
        """Whether the frame goes on from before a doubted jump ahead, which is then undone."""
        if not self._before or self._before[0].stamp >= frame.stamp:
            return False
        while self._now.stamp >= frame.stamp:
            before = self._before.pop()
            self.outliers += self._now.total - before.total
            self._now = before
        return True

    def _hold(self, frame: Frame) -> bool:
        """Refuse a frame that is no newer than the last, until so many follow one another that they are right."""
        last, held = self._now.stamp, self._held
        self._held = held = [*held, frame] if held and held[-1].stamp < frame.stamp else [frame]
        self._count([frame], 1)
        steady = not any(map(self._is_gap, np.diff([f.stamp for f in held[-BELIEVED:]])))
        # Unsteady ones are believed later: the stream may have become slower.
        if len(held) < (BELIEVED if steady else 2 * BELIEVED):
            raise StampError(_refusal(frame.stamp, last))
        self._count(held, -1)  # they are not lost
        if self._was_due:
            self.reset(f"the time went back by {(last - held[0].stamp) / 1e9:.3f} s")
        else:  # no window was due, and so there is no world yet
            self.outliers += self._now.total
            self._begin()
        return [self._take(frame) for frame in held][-1]

    def _count(self, refused: list[Frame], times: int) -> None:
        far = sum(self._is_gap(self._now.stamp - frame.stamp) for frame in refused)
        self.outliers, self.late = self.outliers + times * far, self.late + times * (len(refused) - far)

    def _take(self, frame: Frame) -> bool:
        size = frame.image.shape[:2]
        if self._size not in (None, size):
            old, new = ("{1}x{0}".format(*size) for size in (self._size, size))
            self.reset(f"the image size changed from {old} to {new}")
        self._size, self._held = size, []
        if self._now.stamp is not None:
            self._go_on(frame.stamp - self._now.stamp)
        now = self._now
        now.stamp, now.total, now.arrived = frame.stamp, now.total + 1, now.arrived + 1
        if now.doubted >= BELIEVED:
            self._before, now.doubted = [], 0
        if (now.arrived - 1) % self.stride:
            return False
        now.kept.append(WindowFrame(frame, self.restarts, now.pause))
        now.pause = 0
        now.fresh += 1
        self._forget_before_gap()
        due = len(now.kept) == self.frames and now.fresh >= self.hop and not now.doubted
        if due:
            now.fresh, self._was_due = 0, True
        return due

    def _go_on(self, pause: int) -> None:
        """Note the interval before the next frame: a gap, a jump or neither."""
        now, jumped = self._now, self._is_jump(pause)
        if jumped:
            self._before.append(replace(now, kept=now.kept.copy(), intervals=now.intervals.copy()))
        if self._is_gap(pause):
            self._note_gap(pause)
            now.kept.clear()
            now.arrived = now.fresh = now.pause = 0
        now.doubted = 1 if jumped else now.doubted + (now.doubted > 0)
        now.pause = max(now.pause, pause)
        # Also a gap's, or a stream that has become slower would never be one again.
        now.intervals.append(pause)

    def _forget_before_gap(self) -> None:
        """That a pause was long may turn out only when the period is known."""
        kept = list(self._now.kept)
        gaps = [i for i, frame in enumerate(kept) if i and self._is_gap(frame.pause)]
        if gaps:
            self._note_gap(kept[gaps[-1]].pause)
            self._now.kept = deque(kept[gaps[-1] :], self.frames)

    def _note_gap(self, pause: int) -> None:
        self.gaps += 1
        self.gap_reason = f"no image came for {pause / 1e9:.2f} s"


def _refusal(stamp: int, last: int) -> str:
    if stamp == 0:
        return "an image is stamped 0; the driver must stamp its images with their time"
    if stamp == last:
        return f"the stamp {stamp} ns is the last frame's too; an image was sent twice"
    return f"a frame is {(last - stamp) / 1e9:.3f} s older than the last; it came too late and is dropped"
