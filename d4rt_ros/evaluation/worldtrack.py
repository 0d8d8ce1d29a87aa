"""The metrics of WorldTrack (St4RTrack, Feng et al. 2025): tracks in one world, that of the first camera."""

from __future__ import annotations

import numpy as np

from d4rt_ros.evaluation.metrics import MetricError

THRESHOLDS = (0.1, 0.3, 0.5, 1.0)  # metres


def world_track_errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(APD, EPE) of tracks (N, T, 3) after one scale for all: the ratio of the median distances from the origin.

    APD: mean over the thresholds 0.1, 0.3, 0.5 and 1 m of the share of points that are off by no more. EPE: mean
    distance in metres. All frames count, seen or hidden. predicted, truth: metres in the first camera's frame;
    points that are not finite in the truth do not count, others that are not finite in the prediction count as
    a miss for APD and not for EPE.
    Raises MetricError for different shapes and where nothing is left to compare.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape or truth.shape[-1] != 3:
        raise MetricError(
            f"tracks of shapes {predicted.shape} and {truth.shape}; expected two of one (N, T, 3)"
        )
    known = np.isfinite(truth).all(-1)
    both = known & np.isfinite(predicted).all(-1)
    if not both.any():
        raise MetricError("no point has both a predicted and a true place")
    distances = (np.median(np.linalg.norm(x[both], axis=-1)) for x in (truth, predicted))
    true_distance, distance = distances
    error = np.linalg.norm(predicted[both] * (true_distance / max(distance, 1e-12)) - truth[both], axis=-1)
    shares = [np.count_nonzero(error <= metres) / known.sum() for metres in THRESHOLDS]
    return float(np.mean(shares)), float(error.mean())
