"""Moving bodies: connected points that move, with an identity through time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from d4rt_ros.dynamics.bodies import SeenBody, seen_bodies

UNSEEN = 1.0  # seconds after which a body that is not seen is forgotten
GATE = 3.0  # sd that a body may be from where it is expected
NEVER = 1e6  # what it costs to take one body for another that it cannot be
CHANGED = 0.1  # what a body twice or half as large as expected costs, where a gate's distance costs 1

# In the distance from the camera, so that the unit of length does not matter.
FASTEST = 1.0  # sd a second of the velocity of a body that is seen the first time
ACCELERATION = 0.125  # (a second)², a second: by how much the variance of the velocity grows


@dataclass(frozen=True, eq=False)
class Objects:
    """K moving bodies at one moment, in the world.

    ids: (K,) uint64, unique in the stream. centroids: (K, 3) float64, of the points that are seen of it.
    extents: (K, 3), full size of the box around these, along the world's axes.
    velocities: (K, 3) a second, NaN where not known yet. covariances: (K, 6, 6) of centroid and velocity, NaN where
        not known yet.
    tracks: K arrays of the ids (n,) uint64 of the tracks that are on it.
    """

    ids: np.ndarray
    centroids: np.ndarray
    extents: np.ndarray
    velocities: np.ndarray
    covariances: np.ndarray
    tracks: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.ids)


def scaled(objects: Objects, metres: float, offset: np.ndarray | float = 0.0) -> Objects:
    """The bodies with lengths so many times as large, shifted by `offset` (3,) then."""
    return replace(
        objects,
        centroids=objects.centroids * metres + offset,
        extents=objects.extents * metres,
        velocities=objects.velocities * metres,
        covariances=objects.covariances * metres**2,
    )


class ObjectTracker:
    """Finds the bodies of one moment after another and knows them again. Lengths are in one unit all the time.

    Each has a Kalman filter of its centroid at constant velocity (white-noise acceleration: Bar-Shalom, Li and
    Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, 6.2.2), and is expected where that says;
    bodies are assigned to those expected so that all together are nearest, with common tracks and a like size counting
    for nearness. Of bodies that merge, and of one that splits, the larger part keeps the id. A body that is not seen is
    waited for, for UNSEEN seconds.

    first_id: of the first new body. next_id: that of the next; none is used twice.
    """

    def __init__(self, first_id: int = 1) -> None:
        self.next_id = first_id
        self._bodies: list[_Body] = []
        self._stamp: int | None = None

    def update(
        self,
        stamp: int,
        xyz: np.ndarray,
        dynamic: np.ndarray,
        camera: np.ndarray,
        ids: np.ndarray = np.empty(0, np.uint64),
        positions: np.ndarray = np.empty((0, 3)),
        velocities: np.ndarray = np.empty((0, 3)),
    ) -> Objects:
        """The bodies at a stamp (ns); an earlier one than the last begins anew, with new ids.

        xyz: (h, w, 3) in the world, what a grid of the image shows, NaN where that is not known.
        dynamic: (h, w) bool, what moves. camera: (3,), its place in the world.
        ids, positions, velocities: of the N tracks that move, now, (N,), (N, 3), (N, 3) a second; NaN where not known.
        """
        if self._stamp is not None and stamp < self._stamp:
            self._bodies = []
        self._stamp = stamp
        seen = seen_bodies(xyz, dynamic, camera, np.asarray(ids, np.uint64), positions, velocities)
        waited = [body.at(stamp) for body in self._bodies if stamp - body.stamp <= UNSEEN * 1e9]
        rows, columns = _assigned(waited, seen)
        known = dict(zip(columns.tolist(), rows.tolist()))
        found = []
        for k, body in enumerate(seen):
            if k in known:
                found.append(waited[known[k]].updated(body))
            else:
                found.append(_Body.new(self.next_id, stamp, body))
                self.next_id += 1
        # Those that are not seen stay as they were then.
        missing = {body.id for body in waited} - {body.id for body in found}
        self._bodies = found + [body for body in self._bodies if body.id in missing]
        found.sort(key=lambda body: body.id)
        return Objects(
            ids=np.array([body.id for body in found], np.uint64),
            centroids=np.array([body.state[:3] for body in found]).reshape(-1, 3),
            extents=np.array([body.seen.extent for body in found]).reshape(-1, 3),
            velocities=np.array([body.velocity for body in found]).reshape(-1, 3),
            covariances=np.array([body.told_covariance for body in found]).reshape(-1, 6, 6),
            tracks=tuple(body.seen.tracks for body in found),
        )


@dataclass(frozen=True, eq=False)
class _Body:
    """A body as it is known. state: (6,) centroid and velocity. covariance: (6, 6). moving: whether anything says the
    velocity. stamp: ns."""

    id: int
    stamp: int
    seen: SeenBody
    state: np.ndarray
    covariance: np.ndarray
    moving: bool

    @classmethod
    def new(cls, number: int, stamp: int, seen: SeenBody) -> _Body:
        state = np.concatenate([seen.centroid, np.zeros(3)])
        covariance = np.diag([seen.variance] * 3 + [(FASTEST * seen.range) ** 2] * 3)
        return cls(number, stamp, seen, state, covariance, False)._told_by_tracks(seen)

    @property
    def velocity(self) -> np.ndarray:
        return self.state[3:] if self.moving else np.full(3, np.nan)

    @property
    def told_covariance(self) -> np.ndarray:
        told = self.covariance.copy()
        if not self.moving:
            told[3:], told[:, 3:] = np.nan, np.nan
        return told

    def at(self, stamp: int) -> _Body:
        """As it is expected at a later stamp."""
        dt = (stamp - self.stamp) / 1e9
        motion = np.eye(6)
        motion[:3, 3:] = dt * np.eye(3)
        growth = np.kron([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], np.eye(3))
        covariance = motion @ self.covariance @ motion.T + ACCELERATION * self.seen.range**2 * growth
        return replace(
            self,
            stamp=stamp,
            state=motion @ self.state,
            covariance=covariance,
            moving=self.moving or dt > 0,  # once it is seen again
        )

    def reach(self, variance: float) -> float:
        """How far from where it is expected a body of that variance may be."""
        return GATE * np.sqrt(self._spread + variance)

    @cached_property
    def _spread(self) -> float:
        """The variance of the place that is expected, where it is largest."""
        return float(np.linalg.eigvalsh(self.covariance[:3, :3])[-1])

    def updated(self, seen: SeenBody) -> _Body:
        """As it is seen now, of what was expected."""
        if np.linalg.norm(seen.centroid - self.state[:3]) > self.reach(seen.variance):
            # Another part of it is seen than before, which is no motion.
            state, covariance = self.state.copy(), self.covariance.copy()
            state[:3] = seen.centroid
            covariance[:3], covariance[:, :3] = 0.0, 0.0
            covariance[:3, :3] = seen.variance * np.eye(3)
            return replace(self, seen=seen, state=state, covariance=covariance)._told_by_tracks(seen)
        return replace(self._measured(0, seen.centroid, seen.variance), seen=seen)._told_by_tracks(seen)

    def _told_by_tracks(self, seen: SeenBody) -> _Body:
        if np.isnan(seen.velocity).any():
            return self
        return replace(self._measured(3, seen.velocity, seen.velocity_variance), moving=True)

    def _measured(self, first: int, value: np.ndarray, variance: float) -> _Body:
        """With three coordinates of the state, from the first on, measured."""
        rows = slice(first, first + 3)
        gain = np.linalg.solve(self.covariance[rows, rows] + variance * np.eye(3), self.covariance[rows]).T
        left = np.eye(6)
        left[:, rows] -= gain
        # Joseph's form, which stays symmetric and positive.
        covariance = left @ self.covariance @ left.T + variance * gain @ gain.T
        return replace(self, state=self.state + gain @ (value - self.state[rows]), covariance=covariance)


def _assigned(expected: list[_Body], seen: list[SeenBody]) -> tuple[np.ndarray, np.ndarray]:
    """Which of the expected bodies, and which of those that are seen, are one."""
    from scipy.optimize import linear_sum_assignment

    if not expected or not seen:
        return np.empty(0, int), np.empty(0, int)
    then, now = [body.seen for body in expected], seen
    sizes = np.maximum.outer(*([np.linalg.norm(one.extent) for one in side] for side in (then, now)))
    reach = [[body.reach(one.variance) for one in now] for body in expected]
    places = np.array([body.state[:3] for body in expected])
    away = np.linalg.norm(places[:, None] - [one.centroid for one in now], axis=-1)
    distances = away / (reach + sizes / 2)  # where a part of it is hidden
    common = np.array([[_common(one.tracks, other.tracks) for other in now] for one in then])
    change = np.abs(np.log2(np.divide.outer(*([one.share for one in side] for side in (then, now)))))
    possible = (distances <= 1) | (common > 0.5)
    costs = np.where(possible, distances - common + CHANGED * change, NEVER)
    rows, columns = linear_sum_assignment(costs)
    good = possible[rows, columns]
    return rows[good], columns[good]


def _common(some: np.ndarray, others: np.ndarray) -> float:
    """Which share of the fewer tracks (n,), (m,) are among the others; 0 where there are none."""
    fewest = min(len(some), len(others))
    return len(np.intersect1d(some, others, assume_unique=True)) / fewest if fewest else 0.0
