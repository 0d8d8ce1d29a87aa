"""Points with identity: followed from image to image in the pixels, and found again after they were hidden.

It knows no world, no camera and no model; who does tells it where to look: `follow(expected=…)`, `recover`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d4rt_ros.stream.corners import close, corners
from d4rt_ros.stream.flow import (
    TILE,
    Picture,
    likeness,
    middles,
    patches,
    picture,
    search,
    search_tiles,
    tiles,
    whole_shift,
)

RESERVE = 5  # one in so many places is for those who may come back
SPARED = int(0.25e9)  # ns
KEPT = 64  # images whose points can be asked for
LIKE_BIRTH, LIKE_LAST, RENEW = 0.7, 0.8, 0.85
POINT = np.dtype([
    ("id", np.uint64), ("born", np.int64), ("last_seen", np.int64), ("pixel", np.float64, 2), ("seen", bool),
    ("tile", np.uint8, (TILE, TILE)),
])  # fmt: skip


@dataclass(frozen=True)
class TrackedPoints:
    """The points alive at an image. stamp: its, ns. ids: (N,) uint64. pixels: (N, 2) float64 of the full image, of
    those that it does not show where they were last expected. seen: (N,) bool, it shows them."""

    stamp: int
    ids: np.ndarray
    pixels: np.ndarray
    seen: np.ndarray


class Tracker:
    """Follows at most `most` points; those that were not seen for `unseen_seconds` (of the stamps) are forgotten.

    ids, pixels, seen, last_seen, born: of the points alive at the newest image, row by row; stamps in ns, pixels of
    the full image (integers are pixel centres).
    """

    def __init__(self, most: int = 300, unseen_seconds: float = 2.0) -> None:
        self._most, self._unseen = most, int(unseen_seconds * 1e9)
        self._next = 1
        self.restart()

    def restart(self) -> None:
        """Forget everything but which ids were given."""
        self._points = np.zeros(0, POINT)
        self._picture: Picture | None = None
        self._recent: deque[TrackedPoints] = deque(maxlen=KEPT)

    ids = property(lambda self: self._points["id"])
    pixels = property(lambda self: self._points["pixel"])
    seen = property(lambda self: self._points["seen"])
    last_seen = property(lambda self: self._points["last_seen"])
    born = property(lambda self: self._points["born"])

    def follow(
        self,
        image: np.ndarray,
        stamp: int,
        expected: Sequence[np.ndarray] = (),
        fillable: np.ndarray | None = None,
    ) -> None:
        """Find the points in the next image (H, W, 3) uint8, of a later stamp in ns, and let new ones be born.

        expected: guesses (N, 2) of where the present points are in it, pixels, row i of ids[i], NaN where unknown;
        the surest first. fillable: (H, W) bool, where points may be born.
        """
        old, new = self._picture, picture(image)
        if old is not None and (new.size != old.size).any():
            self._points, old = self._points[:0], None
        if old is not None:
            self._move(old, new, stamp, [new.small(np.asarray(e, float)) for e in expected])
        self._picture = new
        self._bear(new, stamp, fillable)
        self._recent.append(TrackedPoints(stamp, self.ids.copy(), self.pixels.copy(), self.seen.copy()))

    def recover(self, ids: np.ndarray, expected: np.ndarray) -> None:
        """Look for unseen points of `ids` where they are expected in the newest image, (N, 2) pixels."""
        if self._picture is None:
            return
        lost = np.flatnonzero(~self.seen & np.isin(self.ids, ids))
        order = np.argsort(ids)
        guess = np.asarray(expected, float)[order[np.searchsorted(ids, self.ids[lost], sorter=order)]]
        newest = self._recent.pop()
        self._find(lost, self._picture, newest.stamp, [self._picture.small(guess)])
        self._thin(self._picture)
        self._recent.append(
            TrackedPoints(newest.stamp, self.ids.copy(), self.pixels.copy(), self.seen.copy())
        )

    def at(self, stamp: int) -> TrackedPoints | None:
        """The points of one of the newest images, None where it is none of them."""
        return next((points for points in self._recent if points.stamp == stamp), None)

    def forget(self, ids: np.ndarray) -> None:
        """Let go of points for good."""
        self._points = self._points[~np.isin(self.ids, ids)]

    def _move(self, old: Picture, new: Picture, stamp: int, expected: list[np.ndarray]) -> None:
        points = self._points
        before = old.small(points["pixel"])
        guesses = expected + [before + whole_shift(old, new), before]
        seen = np.flatnonzero(points["seen"])
        there, found = search(old, new, before[seen], [guess[seen] for guess in guesses])
        good, at = seen[found], there[found]
        now = patches(new, at)
        last = likeness(patches(old, before[good]), now)
        birth = likeness(middles(points["tile"][good]), now)
        kept = (last > LIKE_LAST) & (birth > LIKE_BIRTH)
        renewed = kept & (birth < RENEW) & (last > 0.95)
        good, at = good[kept], at[kept]
        lost = np.setdiff1d(np.arange(len(points)), good)
        moved = _follow_neighbours(before[lost], before[good], at - before[good])
        points["seen"][good], points["last_seen"][good] = True, stamp
        points["pixel"][good] = new.full(at)
        points["tile"][good[renewed[kept]]] = tiles(new, at[renewed[kept]])
        points["seen"][lost] = False
        guess = before[lost] + moved
        for e in expected[::-1]:
            guess = np.where(np.isfinite(e[lost]), e[lost], guess)
        points["pixel"][lost] = new.full(guess)
        self._find(lost, new, stamp, [*(e[lost] for e in expected), before[lost] + moved])
        self._points = points[stamp - points["last_seen"] <= self._unseen]
        self._thin(new)

    def _find(self, rows: np.ndarray, new: Picture, stamp: int, guesses: list[np.ndarray]) -> None:
        points = self._points
        there, found = search_tiles(points["tile"][rows], new, guesses)
        rows = rows[found]
        points["seen"][rows], points["last_seen"][rows] = True, stamp
        points["pixel"][rows] = new.full(there[found])

    def _thin(self, new: Picture) -> None:
        """Of seen points that are too near each other only the older stays."""
        points = self._points
        at = np.where(points["seen"][:, None], new.small(points["pixel"]), np.nan)
        near = close(at, at)
        older = points["id"][None] < points["id"][:, None]
        self._points = points[~(near & older).any(axis=1)]

    def _bear(self, new: Picture, stamp: int, fillable: np.ndarray | None) -> None:
        allowed = None if fillable is None else _shrunk(fillable, new)
        at = corners(new.grey, new.small(self.pixels[self.seen]), allowed)
        at = at[: self._make_room(len(at), stamp)]
        born = np.zeros(len(at), POINT)
        born["id"] = np.arange(self._next, self._next + len(at))
        born["born"] = born["last_seen"] = stamp
        born["pixel"], born["seen"], born["tile"] = new.full(at), True, tiles(new, at)
        self._next += len(at)
        self._points = np.concatenate([self._points, born])

    def _make_room(self, wanted: int, stamp: int) -> int:
        """How many points may be born, at most so many as wanted; unseen ones make way for them."""
        points = self._points
        lived = points["last_seen"] - points["born"]
        # After a blurred image all come back: for a moment nobody takes their place.
        stays = points["seen"] | ((stamp - points["last_seen"] < SPARED) & (lived >= SPARED))
        way = np.flatnonzero(~stays)
        way = way[np.argsort(lived[way])]
        kept = min(self._most // RESERVE, len(way))
        room = min(wanted, max(self._most - stays.sum() - kept, 0))
        excess = max(len(points) + room - self._most, 0)
        self._points = np.delete(points, way[:excess])
        return room


def _shrunk(fillable: np.ndarray, new: Picture) -> np.ndarray:
    """(h, w) bool of the small image: pixels all of whose area is fillable."""
    import cv2

    size = tuple(int(n) for n in new.size)
    return cv2.resize(np.asarray(fillable, np.float32), size, interpolation=cv2.INTER_AREA) > 0.999


def _follow_neighbours(at: np.ndarray, seen: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """(N, 2) pixels by which points (N, 2) go along with those around them."""
    if not len(seen):
        return np.zeros_like(at)
    distance = ((at[:, None] - seen[None]) ** 2).sum(axis=2)
    weight = np.exp(-distance / (2 * 30.0**2)) + 1e-9
    return weight @ moved / weight.sum(axis=1, keepdims=True)
