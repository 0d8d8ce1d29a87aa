"""Bodies in a grid of points at one moment: what is connected, in the image and in depth, and moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REACH = 2  # points of the grid from one to the next of a body, with a hole of one between
EDGE = 0.15  # share by which the distance from the camera differs where one thing is before another
LEAST_POINTS, LEAST_SHARE = 4, 0.002  # of a body; of the grid
OUTLYING = 3.0  # times the median distance from a body's middle: no point of it
NEAR_TRACK = 0.1  # of the distance from the camera, by which a track may miss the grid's points

# In the distance from the camera, so that the unit of length does not matter.
CENTROID_NOISE = 0.015  # sd of a centroid, by the depth's errors
EXTENT_NOISE = 0.05  # the same, of the body's size, which is not seen whole
TRACK_NOISE = 0.05  # sd a second of the velocity of a body's tracks


@dataclass(frozen=True, eq=False)
class SeenBody:
    """A body as it is seen once. centroid, extent: (3,). variance: of each coordinate of the centroid.
    range: from the camera. share: of the grid's points. tracks: their ids (n,). velocity: (3,) by the tracks, NaN where
    there are none; velocity_variance: of each coordinate."""

    centroid: np.ndarray
    extent: np.ndarray
    variance: float
    range: float
    share: float
    tracks: np.ndarray
    velocity: np.ndarray
    velocity_variance: float


def labels_of(xyz: np.ndarray, dynamic: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """(h, w) int, -1 where nothing moves: which connected body a point of a grid is of.

    Two points are of one where they are neighbours, or one is between them, at about one distance from the camera.
    Arguments as of `ObjectTracker.update`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    moves = dynamic & np.isfinite(xyz).all(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.log(np.linalg.norm(xyz - camera, axis=-1))
    number = np.arange(moves.size).reshape(moves.shape)
    height, width = moves.shape
    ends = []
    for down in range(REACH + 1):
        for right in range(-REACH if down else 1, REACH + 1):
            one = np.s_[: height - down, max(-right, 0) : width - max(right, 0)]
            other = np.s_[down:, max(right, 0) : width - max(-right, 0)]
            with np.errstate(invalid="ignore"):
                joined = moves[one] & moves[other] & (np.abs(away[one] - away[other]) < EDGE)
            ends.append((number[one][joined], number[other][joined]))
    first, second = (np.concatenate(side) for side in zip(*ends))
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(moves.size, moves.size))
    labels = connected_components(graph, directed=False)[1].reshape(moves.shape)
    return np.where(moves, labels, -1)


def seen_bodies(xyz, dynamic, camera, ids, positions, velocities) -> list[SeenBody]:
    """The bodies of one moment. Arguments as of `ObjectTracker.update`."""
    labels = labels_of(xyz, dynamic, camera).ravel()
    points = xyz.reshape(-1, 3).astype(np.float64)
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    least = max(LEAST_POINTS, round(LEAST_SHARE * dynamic.size))
    parts = [_without_outliers(points[labels == name]) for name in names[counts >= least]]
    owners = _owners(parts, camera, positions)
    shares = counts[counts >= least] / dynamic.size
    found = []
    for k, (part, share) in enumerate(zip(parts, shares)):
        centroid, extent = part.mean(axis=0), np.ptp(part, axis=0)
        away = float(np.linalg.norm(centroid - camera))
        variance = (CENTROID_NOISE * away) ** 2 + (EXTENT_NOISE * np.linalg.norm(extent)) ** 2
        velocity, spread = _velocity(velocities[owners == k])
        velocity_variance = spread + (TRACK_NOISE * away) ** 2
        found.append(
            SeenBody(centroid, extent, variance, away, share, ids[owners == k], velocity, velocity_variance)
        )
    return found


def _without_outliers(points: np.ndarray) -> np.ndarray:
    """Of points (n, 3) those that are not far from where most are."""
    away = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    return points[away <= OUTLYING * np.median(away)]


def _owners(parts: list[np.ndarray], camera: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(N,) int: which of the bodies' points (n, 3) a track at positions (N, 3) is among; -1: none's."""
    from scipy.spatial import cKDTree

    owners, known = np.full(len(positions), -1), np.isfinite(positions).all(axis=1)
    if not parts or not known.any():
        return owners
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    distances, nearest = cKDTree(np.concatenate(parts)).query(positions[known])
    near = distances <= NEAR_TRACK * np.linalg.norm(positions[known] - camera, axis=1)
    owners[known] = np.where(near, numbers[nearest], -1)
    return owners


def _velocity(velocities: np.ndarray) -> tuple[np.ndarray, float]:
    """The median (3,) of velocities (n, 3), and the variance of each of its coordinates by how they differ; NaN where
    there are none."""
    known = velocities[np.isfinite(velocities).all(axis=1)]
    if not len(known):
        return np.full(3, np.nan), np.nan
    median = np.median(known, axis=0)
    spread = 1.4826 * np.median(np.abs(known - median))
    return median, float(spread**2 * np.pi / 2 / len(known))  # that of a median, of normal errors
