"""Whether the points that are followed in a whole run stay where they belong, and keep their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LAG = 7  # frames over which motion in the image is judged: those of a window of eight
EVERY = 8  # frames from one that is judged to the next
SIDE = 64  # of the image in whose pixels errors are given
RIGHT = 1.0  # of these pixels: who is farther off has another point's name
LONG = 100  # frames that a name is to last
AGAIN = 25  # frames from one start of such a time to the next
HIDDEN = 0.3, 0.7  # seconds, of the occlusions that are judged
BACK = 0.5  # seconds after an occlusion within which a name comes back

# (pixels (n, 2), t_src (n,), t_tgt (n,)) -> Whereabouts: of the points seen at pixels of the frames t_src, at t_tgt.
Whereabout = Callable[[np.ndarray, np.ndarray, np.ndarray], "Whereabouts"]


@dataclass(frozen=True)
class Whereabouts:
    """Where n points truly are. pixels: (n, 2), perhaps outside the image, NaN where there is no point, as in the sky.
    visible: (n,) bool. moving: (n,) bool, they belong to things that move."""

    pixels: np.ndarray
    visible: np.ndarray
    moving: np.ndarray


@dataclass(frozen=True)
class TrackRows:
    """O observations of points in a run of N frames. track: (O,) int, which point. frame: (O,) int. pixel: (O, 2)
    float of the image. seen: (O,) bool, the image shows it there. One row for a track and frame at most."""

    track: np.ndarray
    frame: np.ndarray
    pixel: np.ndarray
    seen: np.ndarray

    def at(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """The points that are seen in a frame, rising, and their pixels (n, 2)."""
        rows = np.flatnonzero((self.frame == frame) & self.seen)
        rows = rows[np.argsort(self.track[rows])]
        return self.track[rows], self.pixel[rows]


def motion_errors(rows: TrackRows, truth: Whereabout, frames, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Errors, in pixels of a 64x64 image, of where points of a frame were in each of the 7 frames before.

    The point is the one truly seen at the track's pixel in the later frame; a pair counts where the track says that
    it saw it in both frames, and that is true. So drift of a track away from its point counts as far as it happens
    within such a time. frames: the later frames that are judged. size: (height, width).
    Gives {"static": (n,), "moving": (m,), "no motion static": (n,), "no motion moving": (m,)}.
    """
    pairs = [np.zeros((0, 6))]
    for frame in frames:
        ids, pixels = rows.at(frame)
        for before in range(max(frame - LAG, 0), frame):
            then, old = rows.at(before)
            _, i, j = np.intersect1d(ids, then, assume_unique=True, return_indices=True)
            times = np.broadcast_to([frame, before], (len(i), 2))
            pairs.append(np.concatenate([pixels[i], old[j], times], axis=1))
    pairs = np.concatenate(pairs)
    return place_errors(pairs[:, :2], pairs[:, 2:4], *pairs[:, 4:].T.astype(np.intp), truth, size)


def place_errors(
    pixels: np.ndarray,
    places: np.ndarray,
    t_src: np.ndarray,
    t_tgt: np.ndarray,
    truth: Whereabout,
    size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """How far from where they truly are points are said to be, where they truly are visible; see `motion_errors`.

    pixels: (n, 2) in the frames t_src (n,); places: (n, 2), where they are said to be in the frames t_tgt (n,).
    """
    right = truth(pixels, t_src, t_tgt)
    error, still = (_off(x, right.pixels, size) for x in (places, pixels))
    kinds = {"static": right.visible & ~right.moving, "moving": right.visible & right.moving}
    return {kind: error[rows] for kind, rows in kinds.items()} | {
        f"no motion {kind}": still[rows] for kind, rows in kinds.items()
    }


def lives(rows: TrackRows, truth: Whereabout, frames, size: tuple[int, int]) -> np.ndarray:
    """(n,) bool: whether points that are seen in one of `frames`, and are truly visible in the next, have their name
    there, within a pixel of a 64x64 image."""
    found = [
        _kept(rows, *rows.at(frame), truth, frame, frame + 1, size)
        for frame in frames
        if frame + 1 <= _last(rows)
    ]
    return np.concatenate([*found, []]).astype(bool)


def survivals(rows: TrackRows, truth: Whereabout, frames, size: tuple[int, int]) -> np.ndarray:
    """(n,) bool: whether static points that are seen in one of `frames`, and are truly visible in each of the next
    100, have their name in the last of these, within a pixel of a 64x64 image."""
    found = [np.zeros(0, bool)]
    for frame in (frame for frame in frames if frame + LONG <= _last(rows)):
        ids, pixels = rows.at(frame)
        times = np.arange(frame + 1, frame + LONG + 1)
        right = _over_times(truth, pixels, frame, times)
        always = (right.visible & ~right.moving).all(1)
        found.append(_kept(rows, ids[always], pixels[always], truth, frame, frame + LONG, size))
    return np.concatenate(found)


def returns(
    rows: TrackRows, truth: Whereabout, frames, size: tuple[int, int], stamps: np.ndarray
) -> np.ndarray:
    """(n,) bool: whether points come back under their name within 0.5 s after something hid them for 0.3 to 0.7 s.

    Of points that are seen in one of `frames` the first occlusion that begins within a second: from the last frame in
    which they are truly visible to the first in which they are again, within the image all the time. stamps: (N,) ns.
    """
    found, seen = [np.zeros(0, bool)], set()
    seconds = (stamps - stamps[0]) / 1e9
    for frame in frames:
        ids, pixels = rows.at(frame)
        until = np.searchsorted(seconds, seconds[frame] + 1.0 + HIDDEN[1] + BACK)
        times = np.arange(frame, min(until, _last(rows) + 1, len(stamps)))
        if len(times) < 3 or not len(ids):
            continue
        right = _over_times(truth, pixels, frame, times)
        visible, places = right.visible, right.pixels
        inside = ((places >= 0) & (places <= np.array(size[::-1]) - 1)).all(-1)
        for k in range(len(ids)):
            hidden, back = _occlusion(visible[k], inside[k])
            if (
                back is None
                or not HIDDEN[0] <= seconds[times[back]] - seconds[times[hidden - 1]] <= HIDDEN[1]
            ):
                continue
            last = np.searchsorted(seconds, seconds[times[back]] + BACK)
            if seconds[times[hidden]] - seconds[frame] > 1.0 or last > times[-1] + 1:
                continue
            if (ids[k], times[back]) not in seen:
                seen.add((ids[k], times[back]))
                found.append(_came_back(rows, ids[k], times[back], places[k], frame, last, visible[k], size))
    return np.concatenate(found)


def _over_times(truth: Whereabout, pixels: np.ndarray, frame: int, times: np.ndarray) -> Whereabouts:
    """Of n points of a frame at each of T times: arrays (n, T, …)."""
    count = len(pixels)
    where = truth(
        np.repeat(pixels, len(times), axis=0), np.full(count * len(times), frame), np.tile(times, count)
    )
    return Whereabouts(*(x.reshape(count, len(times), *x.shape[1:]) for x in vars(where).values()))


def _occlusion(visible: np.ndarray, inside: np.ndarray) -> tuple[int, int | None]:
    """First time at which a point that is visible at first no longer is, and the one at which it is again; None where
    it leaves the image meanwhile or does not come back."""
    hidden = int(np.argmin(visible))
    after = np.flatnonzero(visible[hidden:])
    if visible[hidden] or not visible[0] or not len(after):
        return hidden, None
    back = hidden + int(after[0])
    return hidden, back if inside[hidden:back].all() else None


def _came_back(rows, track, first, places, frame, last, visible, size) -> np.ndarray:
    mine = (rows.track == track) & (rows.frame >= first) & (rows.frame < last) & rows.seen
    off = _off(rows.pixel[mine], places[rows.frame[mine] - frame], size)
    return np.array([(off[visible[rows.frame[mine] - frame]] <= RIGHT).any()])


def _kept(rows, ids, pixels, truth, frame, after, size) -> np.ndarray:
    """Of points seen in a frame and truly visible in another: whether that has their name in the right place."""
    right = truth(pixels, np.full(len(ids), frame), np.full(len(ids), after))
    then, place = rows.at(after)
    _, i, j = np.intersect1d(ids, then, assume_unique=True, return_indices=True)
    good = np.zeros(len(ids), bool)
    good[i] = _off(place[j], right.pixels[i], size) <= RIGHT
    return good[right.visible]


def _off(pixels: np.ndarray, right: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.linalg.norm((pixels - right) * SIDE / np.array(size[::-1]), axis=1)


def _last(rows: TrackRows) -> int:
    return int(rows.frame.max()) if len(rows.frame) else -1
