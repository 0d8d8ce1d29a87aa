"""The field's metrics of depth and pose, as short functions."""

from __future__ import annotations

import numpy as np


class MetricError(ValueError):
    """Arrays that a metric cannot be computed from."""


def depth_errors(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(absolute relative error, share of pixels with max(p/t, t/p) < 1.25) after median scaling.

    predicted, truth: depth of one shape; pixels where truth is not positive and finite do not count, nor do
    pixels where the prediction is NaN. Raises MetricError where nothing is left to compare.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape:
        raise MetricError(f"predicted depth has shape {predicted.shape}, the true one {truth.shape}")
    good = np.isfinite(predicted) & np.isfinite(truth) & (truth > 0) & (predicted > 0)
    if not good.any():
        raise MetricError("no pixel has both a predicted and a true depth")
    p, t = predicted[good], truth[good]
    p = p * (np.median(t) / np.median(p))
    return float(np.mean(np.abs(p - t) / t)), float(np.mean(np.maximum(p / t, t / p) < 1.25))


def constant_depth_errors(truth: np.ndarray) -> tuple[float, float]:
    """`depth_errors` of the trivial answer: the same depth everywhere."""
    return depth_errors(np.ones_like(truth, dtype=np.float64), truth)


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two vectors (3,), degrees; 90 where one of them is zero."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(a @ b / lengths, -1, 1)))) if lengths > 1e-12 else 90.0
