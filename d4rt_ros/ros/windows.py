"""The encoded windows that are kept for services to ask: which, for how long, and which of them answers.

Status numbers are the same in both services' responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from d4rt_ros.model.protocol import Scene
from d4rt_ros.stream import Result

OK, NOT_READY, OUT_OF_WINDOW, INVALID = range(4)

# Stamps that went through float64 seconds come back up to 0.24 us off.
ROUNDING = 1_000
# Kept at most, however long query.history is, however short the windows and however large their scenes.
MOST_WINDOWS, MOST_BYTES = 32, 2_000_000_000


class Refused(Exception):
    """A request that is not answered: its status and the sentence that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class EncodedWindow:
    """What a window gave, for services to answer from. result: of which points are not needed; the scene's
    own lengths are in the model's unit, the pose's scaled. camera_frame: of the images, as TF names it. lenses: of the
    T frames (io.Frame)."""

    result: Result
    camera_frame: str
    lenses: tuple = ()

    @property
    def scene(self) -> Scene | None:
        """None where the images show nothing to measure."""
        return self.result.scene

    @property
    def stamps(self) -> np.ndarray:
        """(T,) int64 ns."""
        return self.result.window.stamps


def kept(windows: Sequence[EncodedWindow], history: float) -> list[EncodedWindow]:
    """Which of `windows`, the newest first, are needed to answer about the last `history` seconds.

    Windows overlap. One is left out where its two neighbours share half of their frames, so that any two frames that
    are half a window apart or less are still found in one; and one that shows nothing, unless it is the newest.
    """
    found, oldest = [windows[0]], windows[0].stamps[-1] - history * 1e9
    candidates = [w for w in windows[1:] if not w.result.problem and w.stamps[-1] >= oldest]
    for window, older in zip(candidates, [*candidates[1:], None]):
        newer = found[-1].stamps
        if older is None or older.stamps[-1] < newer[(len(newer) - 1) // 2]:
            found.append(window)
    while len(found) > 1 and (len(found) > MOST_WINDOWS or memory(found) > MOST_BYTES):
        found.pop()
    return found


def memory(windows: Sequence[EncodedWindow]) -> int:
    """Bytes that windows hold, as far as their scenes know; they share their images."""
    scenes = [w.scene for w in windows if w.scene is not None]
    images = {id(image): image.nbytes for scene in scenes for image in scene.frames}
    return sum(images.values()) + sum(scene.nbytes for scene in scenes)


def told(windows: Sequence[EncodedWindow]) -> str:
    """What is kept, in words: "3 windows, 0.7 s, 12 MB"."""
    if not windows:
        return "none"
    seconds = (windows[0].stamps[-1] - windows[-1].stamps[0]) / 1e9
    count = f"{len(windows)} window{'s' if len(windows) > 1 else ''}"
    return f"{count}, {seconds:.1f} s, {memory(windows) / 1e6:.0f} MB"


def chosen(windows: Sequence[EncodedWindow], asked: np.ndarray) -> EncodedWindow:
    """Of windows, the newest first, the one that answers about the asked stamps (ns): that shows something, whose
    frames are nearest, the newest. Without stamps the newest. Raises Refused where none has for every stamp a frame
    within half a frame period."""
    if not windows:
        raise Refused(
            NOT_READY, "no window has been encoded yet; ask again when images arrive and the node is active"
        )
    if not len(asked):
        return windows[0]
    holding = [w for w in windows if _off(asked, w.stamps).max() <= _reach(w)]
    if not holding:
        raise Refused(OUT_OF_WINDOW, _nowhere(asked, windows))
    return min(holding, key=lambda w: (bool(w.result.problem), _off(asked, w.stamps).max() // ROUNDING))


def _reach(window: EncodedWindow) -> float:
    """How far (ns) a stamp may be from the frame that answers: half the frames' period, their median interval."""
    return ROUNDING + (np.median(np.diff(window.stamps)) / 2 if len(window.stamps) > 1 else 0)


def _nearest(asked: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.abs(window[None, :] - asked[:, None]).argmin(1)


def _off(asked: np.ndarray, window: np.ndarray) -> np.ndarray:
    """How far (ns) each asked stamp is from the window's nearest frame."""
    return np.abs(window[_nearest(asked, window)] - asked)


def _nowhere(asked: np.ndarray, windows: Sequence[EncodedWindow]) -> str:
    """Why no window holds all these stamps."""
    within = np.array([_off(asked, w.stamps) <= _reach(w) for w in windows])
    if within.any(axis=0).all():
        longest = max(int(w.stamps[-1] - w.stamps[0]) for w in windows)
        return (
            f"no one window holds all the stamps, {asked.min() / 1e9:.6f} to {asked.max() / 1e9:.6f}; a window spans "
            f"{longest / 1e9:.3f} s, and of what is older than the newest only half of that for sure: ask in parts"
        )
    every = np.unique(np.concatenate([w.stamps for w in windows]))
    off = np.where(within.any(axis=0), 0, _off(asked, every))
    worst = int(off.argmax())
    return (
        f"no frame of a kept window is within half a frame period of the stamp {asked[worst] / 1e9:.6f}; the nearest "
        f"of {len(every)} is {off[worst] / 1e6:.3f} ms off; kept are {every[0] / 1e9:.6f} to {every[-1] / 1e9:.6f} "
        "(query.history)"
    )


def frames_of(name: str, indices: np.ndarray, asked: np.ndarray, window: EncodedWindow) -> np.ndarray:
    """Indices into the asked stamps (ns), or where there are none into the window, as frames of the window.
    Raises Refused for what is none of them."""
    frames = _nearest(asked, window.stamps) if len(asked) else np.arange(len(window.stamps))
    bad = (indices < -len(frames)) | (indices >= len(frames))
    if bad.any():
        what = "given stamps" if len(asked) else "frames of the window"
        raise Refused(
            OUT_OF_WINDOW,
            f"{name} {indices[bad][0]} is not one of the {len(frames)} {what}, "
            f"0 (oldest) to {len(frames) - 1}, or -1 (newest) to -{len(frames)}",
        )
    return frames[indices]
