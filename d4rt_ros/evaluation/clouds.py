"""How far a point cloud is off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError
from d4rt_ros.geometry.alignment import AlignmentError, umeyama


@dataclass(frozen=True)
class CloudErrors:
    """Errors of a cloud after the similarity that fits its points best to the true ones; in the truth's unit.

    l1: mean of |x| + |y| + |z| between each point and the true point of the same pixel.
    accuracy, accuracy_median: distance from the cloud's points to the nearest true one, mean and median.
    completeness, completeness_median: from the true points to the cloud's nearest.
    """

    l1: float
    accuracy: float
    accuracy_median: float
    completeness: float
    completeness_median: float


def cloud_errors(predicted: np.ndarray, truth: np.ndarray) -> CloudErrors:
    """Errors of points (N, 3) of any scale and frame against the true points (N, 3) of the same pixels.

    Rows where a true point is not finite do not count; where only the predicted one is not, its truth stays to be
    completed. Raises MetricError where fewer than 3 points are left to align, or they lie on one line.
    """
    from scipy.spatial import cKDTree

    predicted, truth = (np.asarray(x, np.float64).reshape(-1, 3) for x in (predicted, truth))
    if predicted.shape != truth.shape:
        raise MetricError(f"{len(predicted)} points against {len(truth)}; expected as many")
    known = np.isfinite(truth).all(1)
    predicted, truth = predicted[known], truth[known]
    answered = np.isfinite(predicted).all(1)
    try:
        cloud = umeyama(predicted, truth).apply(predicted[answered])
    except AlignmentError as error:
        raise MetricError(f"the clouds cannot be aligned: {error}") from error
    to_truth, _ = cKDTree(truth).query(cloud)
    to_cloud, _ = cKDTree(cloud).query(truth)
    return CloudErrors(
        float(np.abs(cloud - truth[answered]).sum(1).mean()),
        *(float(f(d)) for d in (to_truth, to_cloud) for f in (np.mean, np.median)),
    )
