"""k-means as VGGT4D uses it."""

from __future__ import annotations

import warnings

import numpy as np

SEED = 42


def kmeans(points: np.ndarray, count: int) -> np.ndarray:
    """(n,) int: the cluster of each of n points (n, d), of `count` clusters, or of n where that is fewer."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if not len(points):
        return np.empty(0, int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters: so be it
        return KMeans(min(count, len(points)), random_state=SEED).fit_predict(
            points.astype(np.float32, copy=False)
        )
