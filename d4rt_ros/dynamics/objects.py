"""Moving bodies: connected points that move, with an identity through time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
