"""Poses at any time between poses that were measured."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from d4rt_ros.geometry.transforms import interpolate, pose_from_quaternion


class PoseTrack:
    """A moving thing's poses, in the order of their stamps, whatever order they come in.

    stamps: in one unit of time, that in which it is asked as well.
    """

    def __init__(self) -> None:
        self.stamps: list = []
        self._poses: list[tuple] = []  # x y z, and the quaternion's x y z w

    def insert(self, stamp, pose: tuple) -> None:
        """Add a pose, x y z and the quaternion's x y z w; of several with one stamp the last counts."""
        place = bisect_left(self.stamps, stamp)
        if place < len(self.stamps) and self.stamps[place] == stamp:
            self._poses[place] = pose
        else:
            self.stamps.insert(place, stamp)
            self._poses.insert(place, pose)

    def forget_before(self, stamp) -> None:
        """Keep only what is as new as this."""
        if self.stamps and self.stamps[0] < stamp:
            count = bisect_left(self.stamps, stamp)
            del self.stamps[:count], self._poses[:count]

    def at(self, stamp, gap, beyond=None) -> np.ndarray | None:
        """Pose (4, 4) at a time, straight and at constant turn between its neighbours.

        None where the neighbours are more than `gap` apart, or where the time lies more than `beyond` (if it is
        not given, `gap`) outside of all; nearer than that, the outermost pose is taken.
        """
        after = bisect_left(self.stamps, stamp)
        if after in (0, len(self.stamps)) or self.stamps[after] == stamp:
            if not self.stamps:
                return None
            near = min(after, len(self.stamps) - 1)
            far = abs(self.stamps[near] - stamp) > (gap if beyond is None else beyond)
            return None if far else self._pose(near)
        start, end = self.stamps[after - 1], self.stamps[after]
        if end - start > gap:
            return None
        return interpolate(self._pose(after - 1), self._pose(after), (stamp - start) / (end - start))

    def _pose(self, index: int) -> np.ndarray:
        pose = self._poses[index]
        return pose_from_quaternion(pose[3:], pose[:3])


def pose_track(stamps, positions, quaternions) -> PoseTrack:
    """From measurements in any order; of several with one stamp the last counts. Rows with NaN are kept out."""
    track = PoseTrack()
    rows = np.hstack([np.asarray(positions, np.float64), np.asarray(quaternions, np.float64)])
    for stamp, row in zip(np.asarray(stamps, np.float64).tolist(), rows):
        if np.isfinite(row).all() and np.linalg.norm(row[3:]) > 1e-9:
            track.insert(stamp, tuple(row.tolist()))
    return track
