"""Poses at any time between poses that were measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.geometry.transforms import pose_from_quaternion


@dataclass(frozen=True)
class PoseTrack:
    """Poses over time: stamps (N,) seconds, increasing; positions (N, 3) metres; quaternions (N, 4) x y z w."""

    stamps: np.ndarray
    positions: np.ndarray
    quaternions: np.ndarray

    def at(self, stamp: float, gap: float) -> np.ndarray | None:
        """Pose (4, 4) at a time, straight and at constant turn between its neighbours.

        None where the neighbours are more than `gap` seconds apart, or where the time lies more than `gap`
        outside of all (nearer than that, the outermost pose is taken).
        """
        after = int(np.searchsorted(self.stamps, stamp))
        if after in (0, len(self.stamps)):
            near = min(after, len(self.stamps) - 1)
            if abs(self.stamps[near] - stamp) > gap:
                return None
            return pose_from_quaternion(self.quaternions[near], self.positions[near])
        start, end = self.stamps[after - 1], self.stamps[after]
        if end == stamp:
            return pose_from_quaternion(self.quaternions[after], self.positions[after])
        if end - start > gap:
            return None
        share = (stamp - start) / (end - start)
        position = (1 - share) * self.positions[after - 1] + share * self.positions[after]
        return pose_from_quaternion(
            slerp(self.quaternions[after - 1], self.quaternions[after], share), position
        )


def pose_track(stamps, positions, quaternions) -> PoseTrack:
    """From measurements in any order; of several with one stamp the last counts. Rows with NaN are kept out."""
    stamps, positions, quaternions = (np.asarray(a, np.float64) for a in (stamps, positions, quaternions))
    good = np.isfinite(positions).all(-1) & (np.linalg.norm(quaternions, axis=-1) > 1e-9)
    stamps, positions, quaternions = stamps[good], positions[good], quaternions[good]
    # Of a reversed array the first of equals is the last that was measured.
    kept = len(stamps) - 1 - np.unique(stamps[::-1], return_index=True)[1]
    return PoseTrack(stamps[kept], positions[kept], quaternions[kept])


def slerp(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """The quaternion `share` of the way from a to b (4,), along the shorter way (Shoemake 1985)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    b = b if a @ b >= 0 else -b
    # From the chord, which is exact for small angles where the arc cosine is not.
    angle = 2 * np.arcsin(min(1.0, float(np.linalg.norm(b - a)) / 2))
    if angle < 1e-9:
        return b
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
