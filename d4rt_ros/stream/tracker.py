"""Points with identity: followed from image to image in the pixels, and found again after they were hidden.

It knows no world, no camera and no model; who does tells it where to look: `follow(expected=…)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from d4rt_ros.stream.corners import APART, corners
from d4rt_ros.stream.flow import (
    TILE,
    Picture,
    middles,
    patches,
    picture,
    search,
    search_tiles,
    tiles,
    whole_shift,
)
from d4rt_ros.stream.pixels import likeness

RESERVE = 5  # one in so many places is for those who may come back
AGED, SPARED = (
    int(0.25e9),
    int(0.7e9),
)  # ns that a point must have lived, and is then spared while it is hidden
NEIGHBOURS = 40.0  # pixels within which points move alike, about
KEPT = 300  # images whose points can be asked for: answers may take seconds
# A point's patch still has so much correlation with that of its birth. The latter is renewed when less than RENEWED is
# left though from one image to the next nothing changed: things look otherwise from elsewhere.
LIKE_FIRST, RENEWED, UNCHANGED = 0.7, 0.85, 0.95
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
    the full image (integers are pixel centres). The next image changes them in place: copy what is to be kept, or
    ask `at`. next_id: points are counted as they are born, from `first_id`.
    """

    def __init__(self, most: int = 300, unseen_seconds: float = 2.0, first_id: int = 1) -> None:
        self._most, self._unseen = most, int(unseen_seconds * 1e9)
        self.next_id = first_id
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
        usable: np.ndarray | None = None,
    ) -> None:
        """Find the points in the next image (H, W, 3) uint8, of a later stamp in ns, and let new ones be born.

        expected: guesses (N, 2) of where the present points are in it, pixels, row i of ids[i], NaN where unknown;
        the surest first. The pixels decide which is right, and also try where a point was and how the whole image
        seems to have moved. usable: (H, W) bool, pixels that may show points; None: all. An image of another shape than
        the last ends all points. Raises ValueError for a stamp that is not later, and for guesses of
        another shape.
        """
        if self._recent and stamp <= self._recent[-1].stamp:
            raise ValueError(
                f"an image of {stamp} ns comes after one of {self._recent[-1].stamp} ns; images are followed in the "
                "order of their stamps: call restart() where time jumps back"
            )
        expected = [np.asarray(guess, float) for guess in expected]
        if any(guess.shape != self.pixels.shape for guess in expected):
            shapes = ", ".join(str(guess.shape) for guess in expected)
            raise ValueError(
                f"guesses of shape {shapes} for {len(self.ids)} points; give a row (x, y) for each"
            )
        old, new = self._picture, picture(image, usable)
        if old is not None and (new.size != old.size).any():
            self._points, old = self._points[:0], None
        if old is not None:
            self._move(old, new, stamp, [new.small(guess) for guess in expected])
        self._picture = new
        self._bear(new, stamp)
        self._recent.append(self._noted(stamp))

    def at(self, stamp: int) -> TrackedPoints | None:
        """The points of one of the newest images, None where it is none of them."""
        return next((points for points in reversed(self._recent) if points.stamp == stamp), None)

    def forget(self, ids: np.ndarray) -> None:
        """Let go of points for good."""
        self._points = self._points[~np.isin(self.ids, ids)]

    def _noted(self, stamp: int) -> TrackedPoints:
        return TrackedPoints(stamp, self.ids.copy(), self.pixels.copy(), self.seen.copy())

    def _move(self, old: Picture, new: Picture, stamp: int, expected: list[np.ndarray]) -> None:
        """Find those that the last image showed, then those that it did not."""
        points, before = self._points, old.small(self.pixels)
        seen = np.flatnonzero(self.seen)
        guesses = [*expected, before + whole_shift(old, new), before]
        there, unchanged = search(old, new, before[seen], [guess[seen] for guess in guesses])
        found = np.isfinite(unchanged)
        rows, at, unchanged = seen[found], there[found], unchanged[found]
        first = likeness(middles(points["tile"][rows]), patches(new, at))
        changed = (first > LIKE_FIRST) & (first < RENEWED) & (unchanged > UNCHANGED)
        points["tile"][rows[changed]] = tiles(new, at[changed])
        rows, at = rows[first > LIKE_FIRST], at[first > LIKE_FIRST]
        self._note(rows, new, at, stamp)

        lost = np.delete(np.arange(len(points)), rows)
        beside = before[lost] + _with_neighbours(points[lost], before[lost], points[rows], before[rows], at)
        guesses = [*(guess[lost] for guess in expected), beside]
        points["seen"][lost] = False
        points["pixel"][lost] = new.full(_first_known(guesses))
        self._find(lost, new, guesses, stamp)
        self._let_go(new, stamp)

    def _find(self, rows: np.ndarray, new: Picture, guesses: list[np.ndarray], stamp: int) -> None:
        """Look for points that the last image did not show."""
        there, found = search_tiles(self._points["tile"][rows], new, guesses)
        self._note(rows[found], new, there[found], stamp)

    def _note(self, rows: np.ndarray, new: Picture, at: np.ndarray, stamp: int) -> None:
        """Points were found."""
        points = self._points
        points["seen"][rows], points["last_seen"][rows], points["pixel"][rows] = True, stamp, new.full(at)

    def _let_go(self, new: Picture, stamp: int) -> None:
        """Of points that were not seen for long, and of the younger one where two seen ones are too near each other."""
        points = self._points
        stays = stamp - points["last_seen"] <= self._unseen
        seen = np.flatnonzero(points["seen"])
        pairs = cKDTree(new.small(points["pixel"][seen])).query_pairs(APART, output_type="ndarray")
        stays[seen[pairs.max(axis=1)]] = False  # rows are in the order of birth
        self._points = points[stays]

    def _bear(self, new: Picture, stamp: int) -> None:
        at = corners(new.grey, new.small(self.pixels[self.seen]), new.usable)
        at = at[: self._make_room(len(at), stamp)]
        born = np.zeros(len(at), POINT)
        born["id"] = np.arange(self.next_id, self.next_id + len(at))
        born["born"] = born["last_seen"] = stamp
        born["pixel"], born["seen"], born["tile"] = new.full(at), True, tiles(new, at)
        self.next_id += len(at)
        self._points = np.concatenate([self._points, born])

    def _make_room(self, wanted: int, stamp: int) -> int:
        """How many points may be born, at most so many as wanted; unseen ones make way for them."""
        points = self._points
        lived, hidden = points["last_seen"] - points["born"], stamp - points["last_seen"]
        # What has left the image makes way; what something hides, or a blurred image, will come back. Half of the
        # places are for others, since the camera may have gone elsewhere.
        inside = self._picture.inside(self._picture.small(points["pixel"]))
        spared = np.flatnonzero(~points["seen"] & inside & (hidden < SPARED) & (lived >= AGED))
        stays = points["seen"].copy()
        stays[spared[np.argsort(-lived[spared], kind="stable")][: self._most // 2]] = True
        way = np.flatnonzero(~stays)
        way = way[np.argsort(lived[way])]
        kept = min(self._most // RESERVE, len(way))
        room = min(wanted, max(self._most - stays.sum() - kept, 0))
        excess = max(len(points) + room - self._most, 0)
        self._points = np.delete(points, way[:excess])
        return room


def rows_among(ids: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids (N,) that are among others (M,), which ascend, as those of a tracker's points do; and where there."""
    if not len(others):
        return np.zeros(0, int), np.zeros(0, int)
    there = np.minimum(np.searchsorted(others, ids), len(others) - 1)
    found = np.flatnonzero(others[there] == ids)
    return found, there[found]


def _first_known(guesses: list[np.ndarray]) -> np.ndarray:
    """(N, 2), of each row the first of the guesses (N, 2) that is not NaN."""
    known = guesses[-1]
    for guess in guesses[-2::-1]:
        known = np.where(np.isfinite(guess), guess, known)
    return known


def _with_neighbours(
    lost: np.ndarray, at: np.ndarray, points: np.ndarray, before: np.ndarray, now: np.ndarray
) -> np.ndarray:
    """(N, 2) pixels by which lost points, last at `at` (N, 2), have moved if they go along with those around them.

    points, before, now: what is seen, where it was and where it is. What was born after a point was lost does not
    count: it may be what hides the point.
    """
    if not len(points):
        return np.zeros_like(at)
    weight = np.exp(cdist(at, before, "sqeuclidean") / (-2 * NEIGHBOURS**2)) + 1e-9
    weight *= np.where(points["born"] <= lost["last_seen"][:, None], 1.0, 1e-12)
    return weight @ (now - before) / weight.sum(axis=1, keepdims=True)
