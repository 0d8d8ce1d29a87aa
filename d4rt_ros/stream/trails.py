"""Where followed points were in the world."""

from __future__ import annotations

from collections import deque

import numpy as np

from d4rt_ros.stream.results import StreamTracks, velocities
from d4rt_ros.stream.tracker import Tracker, rows_among

KEPT = 64  # windows


class Trails:
    """Keeps for each of the newest windows where the points of its newest image were."""

    def __init__(self) -> None:
        self._placed: deque[tuple[int, np.ndarray, np.ndarray]] = deque(maxlen=KEPT)

    def add(self, stamp: int, ids: np.ndarray, positions: np.ndarray) -> None:
        """Of points (N,), positions (N, 3) in the world, NaN where not known."""
        self._placed.append((stamp, ids, positions))

    def tracks(
        self, stamps: np.ndarray, rows: np.ndarray, rest: np.ndarray, confidence: np.ndarray, tracker: Tracker
    ) -> StreamTracks:
        """Of the points that were added last, those of `rows`, over a window's stamps (T,).

        rest: (N,) bool, which of them are known to be at rest: these are everywhere where they are now. confidence:
        (N,). A point that moves has positions at those stamps that were the newest of a window.
        """
        _, ids, newest = self._placed[-1]
        ids, newest = ids[rows], newest[rows]
        shape = len(ids), len(stamps)
        positions, pixels = np.full((*shape, 3), np.nan, np.float32), np.full((*shape, 2), np.nan, np.float32)
        seen = np.zeros(shape, bool)
        placed = {stamp: (known, where) for stamp, known, where in self._placed}
        for t, stamp in enumerate(stamps):
            points = tracker.at(int(stamp))
            if points is not None:
                found, there = rows_among(ids, points.ids)
                pixels[found, t], seen[found, t] = points.pixels[there], points.seen[there]
                positions[found, t] = np.where(rest[found, None], newest[found], np.nan)
            if int(stamp) in placed:
                known, where = placed[int(stamp)]
                found, there = rows_among(ids, known)
                moving = ~rest[found]
                positions[found[moving], t] = where[there[moving]]
        finite = np.isfinite(positions).all(-1)
        visible, confidence = seen & finite, np.where(finite, confidence[:, None], 0).astype(np.float32)
        speed, moves = np.zeros((len(ids), 3), np.float32), ~(rest & np.isfinite(newest).all(-1))
        speed[moves] = velocities(positions[moves], stamps, (visible * confidence)[moves])
        return StreamTracks(ids, stamps, positions, visible, confidence, pixels, speed)
